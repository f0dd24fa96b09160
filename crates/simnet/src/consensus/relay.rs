//! Who is known to have which payload: the caches that keep Klaytn's and GoQuorum's gossip from going round for ever.
//!
//! `knownMessages` and `recentMessages` of `consensus/istanbul/backend` (WIRE-FORMATS 7.1). A peer is marked when a payload came
//! from it or went to it, so each payload goes to each peer at most once; its author gets it back from every neighbour that
//! heard it from someone else first.

use bftap_model::Hash256;
use hashbrown::HashMap;

/// Most validators that a [`NodeSet`] holds.
pub const MAX_VALIDATORS: usize = 128;

/// A set of validators, by their index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NodeSet(pub u128);

impl NodeSet {
    /// The first `count` validators.
    pub const fn first(count: usize) -> Self {
        if count >= MAX_VALIDATORS {
            Self(u128::MAX)
        } else {
            Self((1 << count) - 1)
        }
    }

    /// Adds a validator; tells whether it is new.
    pub const fn insert(&mut self, index: usize) -> bool {
        let new = !self.contains(index);
        self.0 |= 1 << index;
        new
    }

    /// Takes a validator out.
    pub const fn remove(&mut self, index: usize) {
        self.0 &= !(1 << index);
    }

    /// Whether a validator is in it.
    pub const fn contains(&self, index: usize) -> bool {
        self.0 >> index & 1 == 1
    }

    /// How many are in it.
    pub const fn len(&self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether none is in it.
    pub const fn is_empty(&self) -> bool {
        self.0 == 0
    }

    /// Those that are not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Those of either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The indices, ascending.
    pub fn iter(self) -> impl Iterator<Item = usize> + Clone {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let index = left.trailing_zeros() as usize;
            left &= left.wrapping_sub(1);
            (index < MAX_VALIDATORS).then_some(index)
        })
    }
}

/// The caches of one node.
#[derive(Debug)]
pub struct Relay {
    /// Payloads since the last turn, and those before it: forgetting half at a time bounds memory.
    recent: HashMap<Hash256, Known>,
    older: HashMap<Hash256, Known>,
    capacity: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    by_us: bool,
    by_peers: NodeSet,
}

impl Relay {
    /// Caches that hold between `capacity / 2` and `capacity` payloads.
    pub fn new(capacity: usize) -> Self {
        Self {
            recent: HashMap::new(),
            older: HashMap::new(),
            capacity,
        }
    }

    /// A payload came from `peer`; true when this node had not seen it.
    pub fn received(&mut self, payload: &Hash256, peer: usize) -> bool {
        let known = self.entry(payload);
        known.by_peers.insert(peer);
        !std::mem::replace(&mut known.by_us, true)
    }

    /// To whom of `targets` the payload must go now; they are marked as having it.
    pub fn forward(&mut self, payload: &Hash256, targets: NodeSet) -> NodeSet {
        let known = self.entry(payload);
        known.by_us = true;
        let missing = targets.without(known.by_peers);
        known.by_peers = known.by_peers.union(missing);
        missing
    }

    fn entry(&mut self, payload: &Hash256) -> &mut Known {
        if self.recent.len() >= self.capacity / 2 && !self.recent.contains_key(payload) {
            self.older = std::mem::take(&mut self.recent);
        }
        let older = &mut self.older;
        self.recent
            .entry(*payload)
            .or_insert_with(|| older.remove(payload).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use bftap_model::keccak256;

    use super::*;

    #[test]
    fn a_payload_goes_to_each_peer_once() {
        let mut relay = Relay::new(16);
        let payload = keccak256(b"prepare");
        assert!(relay.received(&payload, 2));
        assert!(!relay.received(&payload, 3), "second copy");
        let others = NodeSet(0b1_1110);
        assert_eq!(relay.forward(&payload, others).iter().collect::<Vec<_>>(), [1, 4]);
        assert!(relay.forward(&payload, others).is_empty());
    }

    #[test]
    fn own_payloads_are_known_once_they_left() {
        let mut relay = Relay::new(16);
        let payload = keccak256(b"own");
        assert_eq!(relay.forward(&payload, NodeSet::first(3)).len(), 3);
        assert!(!relay.received(&payload, 1), "an echo is dropped");
    }

    #[test]
    fn memory_is_bounded_and_recent_payloads_stay() {
        let mut relay = Relay::new(8);
        let favourite = keccak256(b"again and again");
        relay.received(&favourite, 0);
        for i in 0..1000_u32 {
            relay.received(&keccak256(&i.to_be_bytes()), 0);
            assert!(!relay.received(&favourite, 0), "after {i}");
            assert!(relay.recent.len() + relay.older.len() <= 8);
        }
        assert!(
            relay.received(&keccak256(&0_u32.to_be_bytes()), 0),
            "forgotten long ago"
        );
    }

    #[test]
    fn sets_hold_up_to_their_limit() {
        let all = NodeSet::first(MAX_VALIDATORS);
        assert_eq!(all.len(), MAX_VALIDATORS);
        assert_eq!(all.iter().last(), Some(MAX_VALIDATORS - 1));
        let mut set = NodeSet::first(2);
        assert!(set.insert(127) && !set.insert(0));
        set.remove(1);
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 127]);
    }
}
