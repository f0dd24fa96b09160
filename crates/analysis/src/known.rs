//! Payloads that came lately: what a later run has to know to tell a repeat from a first copy.
//!
//! Where one run ends and the next one begins, copies of one payload stand on both sides. The later run is told what came before, so
//! that of all copies exactly one is useful, in whichever run it came.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bftap_model::{CaptureTime, Hash256};
use hashbrown::HashMap;

use crate::facts::ChainName;

/// Copies of payloads by height, receiver and content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownPayloads {
    heights: BTreeMap<(ChainName, u64), KnownHeight>,
    entries: usize,
}

/// What came of one height.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownHeight {
    /// Its latest message.
    pub last_seen: CaptureTime,
    copies: HashMap<(IpAddr, Hash256), KnownCopies>,
}

/// How often a payload reached a receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KnownCopies {
    /// All copies.
    pub copies: u64,
    /// Of those, the ones that the receiver signed itself.
    pub echoes: u64,
}

impl KnownPayloads {
    /// Heights kept of a chain, those with the latest messages.
    pub const HEIGHTS: usize = 64;
    /// Payloads kept in all, each once per receiver. Of heights that do not fit, those with the latest messages stay.
    pub const ENTRIES: usize = 1 << 18;

    /// Adds copies of a payload.
    pub fn add(
        &mut self,
        height: (ChainName, u64),
        last_seen: CaptureTime,
        payload: (IpAddr, Hash256),
        copies: KnownCopies,
    ) {
        let known = self.heights.entry(height).or_insert_with(|| KnownHeight {
            last_seen,
            copies: HashMap::new(),
        });
        known.last_seen = known.last_seen.max(last_seen);
        let sum = known.copies.entry(payload).or_insert_with(|| {
            self.entries += 1;
            KnownCopies::default()
        });
        sum.copies = sum.copies.saturating_add(copies.copies);
        sum.echoes = sum.echoes.saturating_add(copies.echoes);
    }

    /// Lets heights go that are over the limits.
    pub fn keep_latest(&mut self) {
        self.keep_within(Self::HEIGHTS, Self::ENTRIES);
    }

    /// As [`keep_latest`](Self::keep_latest), if there is much to let go: for use after every height.
    pub(crate) fn keep_near_limits(&mut self) {
        if self.heights.len() > 64 * Self::HEIGHTS || self.entries > 4 * Self::ENTRIES {
            self.keep_latest();
        }
    }

    fn keep_within(&mut self, heights: usize, entries: usize) {
        let mut by_time: Vec<(CaptureTime, (ChainName, u64))> = self
            .heights
            .iter()
            .map(|(key, height)| (height.last_seen, key.clone()))
            .collect();
        by_time.sort_unstable_by(|a, b| b.cmp(a));
        let mut of_chain: HashMap<ChainName, usize> = HashMap::new();
        let mut kept = 0;
        for (_, key) in by_time {
            let count = of_chain.entry(key.0.clone()).or_default();
            let len = self.heights[&key].copies.len();
            if *count < heights && kept + len <= entries {
                *count += 1;
                kept += len;
            } else {
                self.heights.remove(&key);
            }
        }
        self.entries = kept;
    }

    /// What is known of a height.
    pub fn height(&self, chain: &ChainName, sequence: u64) -> Option<&KnownHeight> {
        self.heights.get(&(chain.clone(), sequence))
    }

    /// All heights, sorted by chain and sequence.
    pub fn heights(&self) -> impl Iterator<Item = (&ChainName, u64, &KnownHeight)> {
        self.heights
            .iter()
            .map(|((chain, sequence), height)| (chain, *sequence, height))
    }

    /// Payloads, each once per receiver.
    pub fn len(&self) -> usize {
        self.entries
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }
}

impl KnownHeight {
    /// Copies of a payload that reached a receiver.
    pub fn copies(&self, receiver: IpAddr, payload: Hash256) -> Option<KnownCopies> {
        self.copies.get(&(receiver, payload)).copied()
    }

    /// All of them, sorted by receiver and content.
    pub fn all(&self) -> Vec<(IpAddr, Hash256, KnownCopies)> {
        let mut all: Vec<_> = self
            .copies
            .iter()
            .map(|(&(receiver, payload), &copies)| (receiver, payload, copies))
            .collect();
        all.sort_unstable_by_key(|(receiver, payload, _)| (*receiver, *payload));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(heights: &[(&str, u64, i64, u8)]) -> KnownPayloads {
        let mut known = KnownPayloads::default();
        for &(chain, sequence, seen, payloads) in heights {
            for payload in 0..payloads {
                known.add(
                    (chain.into(), sequence),
                    CaptureTime::from_nanos(seen),
                    ([10, 0, 0, 1].into(), Hash256([payload; 32])),
                    KnownCopies { copies: 1, echoes: 0 },
                );
            }
        }
        known
    }

    fn left(known: &KnownPayloads) -> Vec<(String, u64)> {
        known
            .heights()
            .map(|(chain, sequence, _)| (chain.to_string(), sequence))
            .collect()
    }

    #[test]
    fn the_heights_with_the_latest_messages_stay() {
        let heights = [
            ("a", 1, 10, 2),
            ("a", u64::MAX, 5, 2),
            ("a", 2, 20, 2),
            ("b", 7, 1, 2),
        ];
        let mut two = known(&heights);
        two.keep_within(2, 100);
        assert_eq!(left(&two), [("a".into(), 1), ("a".into(), 2), ("b".into(), 7)]);
        assert_eq!(two.len(), 6);
        let mut few = known(&heights);
        few.keep_within(9, 5);
        assert_eq!(left(&few), [("a".into(), 1), ("a".into(), 2)]);
        assert_eq!(few.len(), 4);
        let mut same = known(&heights);
        same.keep_latest();
        assert_eq!(same, known(&heights));
    }

    #[test]
    fn copies_add_up() {
        let twice = known(&[("a", 1, 3, 1), ("a", 1, 9, 2)]);
        let height = twice.height(&"a".into(), 1).unwrap();
        assert_eq!(height.last_seen, CaptureTime::from_nanos(9));
        let copies: Vec<u64> = height.all().iter().map(|(.., copies)| copies.copies).collect();
        assert_eq!((copies, twice.len()), (vec![2, 1], 2));
    }
}
