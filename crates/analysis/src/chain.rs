//! What is learnt of each chain, and which sessions belong to which.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bftap_ibft_decode::Kind;
use bftap_model::Address;
use hashbrown::HashMap;

use crate::facts::ChainName;
use crate::observation::{ChainId, Payload};
use crate::proposer::{PolicyEvidence, Proposed};

/// Where messages are filed until the run is over: under their chain, or under the two ends of a session whose
/// Status was not seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Slot {
    Chain(ChainId),
    Ends(IpAddr, IpAddr),
}

/// What the messages of one slot tell.
#[derive(Clone, Debug, Default)]
pub(crate) struct SlotBook {
    pub(crate) evidence: PolicyEvidence,
    /// From headers of proposals whose signer is among them.
    pub(crate) validators: BTreeSet<Address>,
    /// Of votes with a good signature.
    pub(crate) signers: BTreeSet<Address>,
    pub(crate) dialects: BTreeSet<&'static str>,
}

crate::kept! {
    SlotBook { evidence, validators, signers, dialects }
}

/// How many validators and signers are kept per chain: far more than any Istanbul network has.
pub(crate) const KEPT_VALIDATORS: usize = 4096;

impl SlotBook {
    /// Learns from a payload that is new.
    pub(crate) fn learn(&mut self, payload: &Payload) {
        let message = &payload.message;
        self.dialects.insert(payload.dialect);
        let (Some(signer), false) = (message.signer, message.validity.is_invalid()) else {
            return;
        };
        match message.kind {
            Kind::Preprepare => {
                let Some(proposal) = &message.proposal else { return };
                let mut validators = proposal.validators.clone();
                validators.sort_unstable();
                if validators.binary_search(&signer).is_err() {
                    return;
                }
                extend_bounded(&mut self.validators, validators.iter().copied());
                let author = proposal.proposer.unwrap_or(signer);
                self.evidence.note(
                    message.view.sequence,
                    message.view.round,
                    Proposed {
                        signer,
                        author,
                        validators,
                    },
                );
            }
            Kind::Prepare | Kind::Commit => extend_bounded(&mut self.signers, [signer]),
            Kind::RoundChange => {}
        }
    }

    /// Everybody with a vote: from headers, else from votes.
    pub(crate) fn known_validators(&self) -> &BTreeSet<Address> {
        if self.validators.is_empty() {
            &self.signers
        } else {
            &self.validators
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.evidence.merge(&other.evidence);
        extend_bounded(&mut self.validators, other.validators.iter().copied());
        extend_bounded(&mut self.signers, other.signers.iter().copied());
        self.dialects.extend(&other.dialects);
    }
}

fn extend_bounded(set: &mut BTreeSet<Address>, more: impl IntoIterator<Item = Address>) {
    for address in more {
        if set.len() < KEPT_VALIDATORS {
            set.insert(address);
        }
    }
}

/// All slots of a run.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    slots: Vec<Slot>,
    index: HashMap<Slot, u32>,
    pub(crate) books: Vec<SlotBook>,
    /// Chains that the sessions of an IP address told.
    chains_at: BTreeMap<IpAddr, BTreeSet<ChainId>>,
    /// The same, one by one in the order in which they were told.
    chains_told: Vec<(IpAddr, ChainId)>,
}

impl Slots {
    /// The slot of a session between two IP addresses.
    pub(crate) fn of(&mut self, chain: Option<ChainId>, ips: [IpAddr; 2]) -> u32 {
        let slot = match chain {
            Some(chain) => {
                for ip in ips {
                    self.tell_chain(ip, chain);
                }
                Slot::Chain(chain)
            }
            None => Slot::Ends(ips[0].min(ips[1]), ips[0].max(ips[1])),
        };
        self.number(slot)
    }

    fn number(&mut self, slot: Slot) -> u32 {
        *self.index.entry(slot).or_insert_with(|| {
            self.slots.push(slot);
            self.books.push(SlotBook::default());
            self.slots.len() as u32 - 1
        })
    }

    /// Sessions of an IP address told this chain.
    pub(crate) fn tell_chain(&mut self, ip: IpAddr, chain: ChainId) {
        if self.chains_at.entry(ip).or_default().insert(chain) {
            self.chains_told.push((ip, chain));
        }
    }

    /// Adds the next slot as it was numbered in an earlier life; `None` if it cannot be the next one.
    pub(crate) fn recall(&mut self, slot: Slot) -> Option<()> {
        let next = self.slots.len() as u32;
        (self.number(slot) == next).then_some(())
    }

    /// Whether a slot is of sessions that told their chain.
    pub(crate) fn is_told(&self, slot: usize) -> bool {
        matches!(self.slots.get(slot), Some(Slot::Chain(_)))
    }

    /// All slots, by number.
    pub(crate) fn all(&self) -> &[Slot] {
        &self.slots
    }

    /// Chains that the sessions of an IP address told, in the order in which they did.
    pub(crate) fn chains_told(&self) -> &[(IpAddr, ChainId)] {
        &self.chains_told
    }

    /// The chain's name of each slot, when the run is over.
    ///
    /// A session without Status is on the chain of its nodes' other sessions, if those tell exactly one: the one that both
    /// nodes were on, or the one that the only node with such sessions was on.
    pub(crate) fn names(&self) -> Vec<ChainName> {
        let none = BTreeSet::new();
        let chains_at = self.joined_chains();
        let name = |slot: &Slot| match *slot {
            Slot::Chain(chain) => chain.to_string().into(),
            Slot::Ends(a, b) => {
                let [a, b] = [a, b].map(|ip| chains_at.get(&ip).unwrap_or(&none));
                let joined: BTreeSet<ChainId> = if a.is_empty() || b.is_empty() {
                    a | b
                } else {
                    a & b
                };
                match joined.first() {
                    Some(chain) if joined.len() == 1 => chain.to_string().into(),
                    _ => "unknown".into(),
                }
            }
        };
        self.slots.iter().map(name).collect()
    }

    /// Chains of each IP address: those that its sessions told; where none did, the one that its peers are on, as far as that
    /// leads. Most sessions of a monitor that begins late are without Status, and one that reconnects tells for all.
    fn joined_chains(&self) -> BTreeMap<IpAddr, BTreeSet<ChainId>> {
        let mut chains = self.chains_at.clone();
        // All at once of each distance, so that the order of slots makes no difference.
        loop {
            let mut next: BTreeMap<IpAddr, BTreeSet<ChainId>> = BTreeMap::new();
            for slot in &self.slots {
                let Slot::Ends(a, b) = *slot else { continue };
                for (known, unknown) in [(a, b), (b, a)] {
                    if let (Some(told), false) = (chains.get(&known), chains.contains_key(&unknown))
                        && told.len() == 1
                    {
                        next.entry(unknown).or_default().extend(told);
                    }
                }
            }
            if next.is_empty() {
                return chains;
            }
            chains.append(&mut next);
        }
    }
}

#[cfg(test)]
mod tests {
    use bftap_model::Hash256;

    use super::*;

    fn ip(number: u8) -> IpAddr {
        [10, 0, 0, number].into()
    }

    fn chain(number: u8) -> ChainId {
        ChainId {
            network_id: 1000,
            genesis: Hash256([number; 32]),
        }
    }

    #[test]
    fn one_status_tells_for_all_whom_its_nodes_reach() {
        let mut slots = Slots::default();
        // The far ones first: their names do not depend on who was seen when.
        for (a, b) in [(3, 4), (2, 3), (1, 2), (8, 9)] {
            slots.of(None, [ip(a), ip(b)]);
        }
        slots.of(Some(chain(1)), [ip(1), ip(5)]);
        let told = chain(1).to_string();
        let names: Vec<_> = slots.names().iter().map(ToString::to_string).collect();
        assert_eq!(names, [&told, &told, &told, "unknown", &told]);
    }

    #[test]
    fn between_two_chains_nothing_is_guessed() {
        let mut slots = Slots::default();
        slots.of(Some(chain(1)), [ip(1), ip(5)]);
        slots.of(Some(chain(2)), [ip(2), ip(6)]);
        let between = [[1, 3], [2, 3], [3, 4], [1, 2]];
        let between = between.map(|ends| slots.of(None, ends.map(ip)) as usize);
        let names = slots.names();
        let [one, two, behind, both] = between.map(|slot| names[slot].to_string());
        assert_eq!([one, two], [chain(1), chain(2)].map(|chain| chain.to_string()));
        assert_eq!([behind, both], ["unknown", "unknown"]);
    }
}
