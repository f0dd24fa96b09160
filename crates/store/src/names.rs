//! Short ids for texts that repeat in millions of rows.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

use bftap_analysis::facts::{ChainName, Label};

use crate::store::Batch;

/// Most texts of one kind that are remembered between batches.
///
/// Real networks have hundreds; a peer that signs with a new key every time could make millions. What was forgotten is
/// looked up in the database again.
const REMEMBERED: usize = 65_536;

/// Ids that a run's tables `chain` and `label` hold, as far as remembered.
///
/// Every id found here is committed, or will be with the transaction at work: after a transaction that failed, start anew.
#[derive(Debug, Default)]
pub(crate) struct Names {
    chains: HashMap<ChainName, i64>,
    labels: HashMap<Label, i64>,
    /// The same ids as `labels`, without making a text of every row's address.
    ips: HashMap<IpAddr, i64>,
}

/// A text that has no id here yet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unnamed {
    Chain(ChainName),
    Label(Label),
    Ip(IpAddr),
}

impl Names {
    /// Forgets, if too much is remembered. Only between batches: a batch needs all its ids at once.
    pub(crate) fn trim(&mut self) {
        fn trim<K: Eq + Hash>(map: &mut HashMap<K, i64>) {
            if map.len() > REMEMBERED {
                map.clear();
            }
        }
        trim(&mut self.chains);
        trim(&mut self.labels);
        trim(&mut self.ips);
    }

    /// Texts of a batch that have no id yet, in order of first sight, once each.
    pub(crate) fn unnamed(&mut self, batch: &Batch) -> Vec<Unnamed> {
        let mut unnamed = Vec::new();
        let chains = batch.counts.iter().map(|row| &row.chain);
        let chains = chains.chain(batch.deliveries.iter().map(|row| &row.chain));
        let chains = chains.chain(batch.rounds.iter().map(|row| &row.chain));
        let chains = chains.chain(batch.node_rounds.iter().map(|row| &row.chain));
        let chains = chains.chain(batch.votes.iter().map(|height| &height.chain));
        let chains = chains.chain(batch.links.iter().map(|row| &row.chain));
        for chain in chains {
            self.miss_chain(chain, &mut unnamed);
        }
        for row in &batch.deliveries {
            self.miss_ip(row.receiver_ip, &mut unnamed);
            self.miss_label(&row.sender, &mut unnamed);
            self.miss_label(&row.signer, &mut unnamed);
        }
        unnamed
    }

    /// Chains that have no id yet.
    pub(crate) fn unnamed_chains<'a>(&mut self, chains: impl Iterator<Item = &'a ChainName>) -> Vec<Unnamed> {
        let mut unnamed = Vec::new();
        for chain in chains {
            self.miss_chain(chain, &mut unnamed);
        }
        unnamed
    }

    /// Remembers the id of a text.
    pub(crate) fn set(&mut self, text: Unnamed, id: i64) {
        match text {
            Unnamed::Chain(chain) => self.chains.insert(chain, id),
            Unnamed::Label(label) => self.labels.insert(label, id),
            Unnamed::Ip(ip) => self.ips.insert(ip, id),
        };
    }

    /// Id of a chain; every chain of a batch has one once [`unnamed`](Self::unnamed) is worked off.
    pub(crate) fn chain(&self, chain: &str) -> i64 {
        self.chains.get(chain).copied().unwrap_or(PENDING)
    }

    /// Id of a node's label.
    pub(crate) fn label(&self, label: &str) -> i64 {
        self.labels.get(label).copied().unwrap_or(PENDING)
    }

    /// Id of an IP address.
    pub(crate) fn ip(&self, ip: IpAddr) -> i64 {
        self.ips.get(&ip).copied().unwrap_or(PENDING)
    }

    fn miss_chain(&mut self, chain: &ChainName, unnamed: &mut Vec<Unnamed>) {
        if !self.chains.contains_key(&**chain) {
            self.chains.insert(Arc::clone(chain), PENDING);
            unnamed.push(Unnamed::Chain(Arc::clone(chain)));
        }
    }

    fn miss_label(&mut self, label: &Label, unnamed: &mut Vec<Unnamed>) {
        if !self.labels.contains_key(&**label) {
            self.labels.insert(Arc::clone(label), PENDING);
            unnamed.push(Unnamed::Label(Arc::clone(label)));
        }
    }

    fn miss_ip(&mut self, ip: IpAddr, unnamed: &mut Vec<Unnamed>) {
        if let std::collections::hash_map::Entry::Vacant(entry) = self.ips.entry(ip) {
            entry.insert(PENDING);
            unnamed.push(Unnamed::Ip(ip));
        }
    }
}

/// Stands for an id that is being fetched; no row is written with it.
const PENDING: i64 = -1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_asked_for_once() {
        let chain: ChainName = "1000/0x00".into();
        let mut names = Names::default();
        let unnamed = names.unnamed_chains([&chain, &chain].into_iter());
        assert_eq!(unnamed, [Unnamed::Chain(Arc::clone(&chain))]);
        for text in unnamed {
            names.set(text, 7);
        }
        assert_eq!(names.unnamed_chains([&chain].into_iter()), []);
        assert_eq!(names.chain(&chain), 7);
    }

    #[test]
    fn memory_is_bounded_between_batches() {
        let mut names = Names::default();
        for id in 0..=REMEMBERED as u32 {
            names.set(Unnamed::Ip(IpAddr::from(id.to_be_bytes())), i64::from(id));
        }
        names.trim();
        assert_eq!(names.ip([0, 0, 0, 1].into()), PENDING);
    }
}
