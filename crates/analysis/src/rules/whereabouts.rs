//! Where the node behind a key was seen, and whether it can have been started anew in between.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bftap_model::{Address, CaptureTime, Nanos, NodeId};
use hashbrown::HashMap;

use crate::coverage::{CoverageMap, Losses};
use crate::facts::{ChainName, Coverage, EventFact};
use crate::spans::Spans;
use crate::who::{Resolved, ResolvedParty};

/// What sessions and the user say of the nodes behind keys.
#[derive(Debug, Default)]
pub(crate) struct Whereabouts {
    nodes: HashMap<Address, Known>,
    /// Latest packet of the sessions of each chain that carried consensus messages.
    latest: BTreeMap<ChainName, CaptureTime>,
}

#[derive(Debug, Default)]
struct Known {
    id: Option<NodeId>,
    /// Sorted.
    ips: Vec<IpAddr>,
    /// From the begin of each session to the last consensus message that the node sent in it.
    talks: Vec<(CaptureTime, CaptureTime)>,
    /// When it had a session; joined once settled.
    sessions: Spans,
}

impl Whereabouts {
    /// From the keys and places known of parties.
    pub(crate) fn new(who: &Resolved, ids: impl Iterator<Item = NodeId>) -> Self {
        let mut all = Self::default();
        for party in &who.parties {
            if let Some(address) = party.address {
                let known = all.nodes.entry(address).or_default();
                if let Err(at) = known.ips.binary_search(&party.ip) {
                    known.ips.insert(at, party.ip);
                }
            }
        }
        for id in ids {
            all.nodes.entry(id.address()).or_default().id = Some(id);
        }
        all
    }

    /// The node behind `address` had a session, and sent its last consensus message in it at `last`.
    pub(crate) fn session(
        &mut self,
        address: Address,
        span: (CaptureTime, CaptureTime),
        last: Option<CaptureTime>,
    ) {
        let known = self.nodes.entry(address).or_default();
        known.talks.extend(last.map(|last| (span.0, last)));
        known.sessions.push(span);
    }

    /// Joins what was told of sessions, so that it can be searched.
    pub(crate) fn settle(&mut self) {
        for known in self.nodes.values_mut() {
            known.sessions.join();
        }
    }

    /// Whether a node had a session at a time.
    pub(crate) fn connected(&self, address: Address, at: CaptureTime) -> bool {
        let known = self.nodes.get(&address);
        known.is_some_and(|known| known.sessions.hold((at, at)))
    }

    /// Whatever the captures have of its sessions between two times was read: none is without a secret, or has a gap.
    pub(crate) fn is_read(
        &self,
        address: Address,
        (from, to): (CaptureTime, CaptureTime),
        losses: &Losses,
    ) -> bool {
        self.nodes
            .get(&address)
            .is_some_and(|known| !known.ips.iter().any(|&ip| losses.overlap(ip, from, to)))
    }

    /// How long it had any session.
    pub(crate) fn connected_for(&self, address: Address) -> Nanos {
        let known = self.nodes.get(&address);
        known.map_or(Nanos(0), |known| known.sessions.total())
    }

    /// The latest packet of all sessions.
    pub(crate) fn end(&self) -> Option<CaptureTime> {
        self.latest.values().max().copied()
    }

    /// A session of the chain, with consensus messages, had a packet at this time.
    pub(crate) fn lasted(&mut self, chain: &ChainName, seen: CaptureTime) {
        let latest = self.latest.entry(chain.clone()).or_insert(seen);
        *latest = (*latest).max(seen);
    }

    /// Latest packet of the chain's sessions.
    pub(crate) fn latest(&self, chain: &ChainName) -> Option<CaptureTime> {
        self.latest.get(chain).copied()
    }

    /// A node with this key was seen, or named by the user.
    pub(crate) fn is_known(&self, address: Address) -> bool {
        self.nodes.contains_key(&address)
    }

    /// The key of a node, if it is known.
    pub(crate) fn id_of(&self, address: Address) -> Option<NodeId> {
        self.nodes.get(&address)?.id
    }

    /// One session carried messages of the node before (or at) `from` and behind `to`: it did not start anew meanwhile.
    pub(crate) fn ran_through(&self, address: Address, from: CaptureTime, to: CaptureTime) -> bool {
        let talks = self.nodes.get(&address).map(|known| &*known.talks);
        talks
            .unwrap_or_default()
            .iter()
            .any(|&(begin, last)| begin <= from && to <= last)
    }

    /// Everything that the node sent or got between two times is in the captures.
    pub(crate) fn visible(
        &self,
        address: Address,
        (from, to): (CaptureTime, CaptureTime),
        coverage: &CoverageMap,
        losses: &Losses,
    ) -> bool {
        // A gap somewhere in the run makes it lossy; only one at this time matters here.
        self.nodes.get(&address).is_some_and(|known| {
            !known.ips.is_empty()
                && known
                    .ips
                    .iter()
                    .all(|&ip| coverage.of(ip) != Coverage::Partial && !losses.overlap(ip, from, to))
        })
    }

    /// Names the node that signed as the one to blame.
    pub(crate) fn blame_signer(&self, event: &mut EventFact, address: Address, who: &Resolved) {
        event.signer = Some(who.names.label_of(address));
        self.describe(event, address);
    }

    /// Names the node that handed something over as the one to blame.
    pub(crate) fn blame_sender(&self, event: &mut EventFact, party: &ResolvedParty) {
        event.sender = Some(party.label.clone());
        if let Some(address) = party.address {
            self.describe(event, address);
        }
        event.ip = Some(party.ip);
    }

    fn describe(&self, event: &mut EventFact, address: Address) {
        event.address = Some(address);
        if let Some(known) = self.nodes.get(&address) {
            event.node_id = known.id;
            event.ip = known.ips.first().copied();
        }
    }
}
