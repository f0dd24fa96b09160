//! What heights give to the lists that run through all of them.
//!
//! Everything here is a sum over heights. While a run goes on a height is judged again and again: what it gave is taken back and
//! what it gives now is added, so the sums are always those of one judgement of each height.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bftap_ibft_decode::Kind;
use bftap_model::Address;

use crate::delays::Delays;
use crate::facts::ChainName;
use crate::participation::Participation;
use crate::phases::Phases;
use crate::provisional::MessageSums;
use crate::score::{PeerKey, PeerSums};
use crate::waste::Waste;
use crate::what_if::WhatIf;

/// Something that is added up over heights.
pub(crate) trait Summed: Default + PartialEq {
    /// Adds what one height, or several, gave.
    fn add(&mut self, other: &Self);

    /// Takes back what was added before.
    fn take_back(&mut self, other: &Self);
}

impl Summed for u64 {
    fn add(&mut self, other: &Self) {
        *self = self.saturating_add(*other);
    }

    fn take_back(&mut self, other: &Self) {
        *self = self.saturating_sub(*other);
    }
}

/// Only keys with something behind them are kept.
impl<K: Ord + Clone, V: Summed> Summed for BTreeMap<K, V> {
    fn add(&mut self, other: &Self) {
        for (key, value) in other {
            match self.get_mut(key) {
                Some(known) => known.add(value),
                None => self.entry(key.clone()).or_default().add(value),
            }
        }
    }

    fn take_back(&mut self, other: &Self) {
        for (key, value) in other {
            if let Some(known) = self.get_mut(key) {
                known.take_back(value);
                if *known == V::default() {
                    self.remove(key);
                }
            }
        }
    }
}

/// Structs that are added up field by field.
macro_rules! summed {
    ($($name:ident { $($field:ident),* $(,)? })*) => {$(
        impl $crate::tally::Summed for $name {
            fn add(&mut self, other: &Self) {
                // A field that is added and forgotten here does not compile.
                let Self { $($field),* } = self;
                $($crate::tally::Summed::add($field, &other.$field);)*
            }

            fn take_back(&mut self, other: &Self) {
                let Self { $($field),* } = self;
                $($crate::tally::Summed::take_back($field, &other.$field);)*
            }
        }
    )*};
}

pub(crate) use summed;

/// What heights of one chain gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Payloads by receiver's IP address and number of copies.
    pub(crate) copies: BTreeMap<(IpAddr, u64), u64>,
    /// Messages by receiver's IP address and kind.
    pub(crate) messages: BTreeMap<(IpAddr, Kind), MessageSums>,
    /// Rounds without a row.
    pub(crate) skipped_rounds: u64,
    /// The same of those that no more validators than may be faulty speak of.
    pub(crate) claimed_rounds: u64,
    /// Copies of no use.
    pub(crate) waste: Waste,
    pub(crate) participation: Participation,
    pub(crate) phases: Phases,
    /// First deliveries, by receiver's IP address.
    pub(crate) delays: Delays,
    pub(crate) what_if: WhatIf,
    /// Messages that came long before their height's turn, by sender (address, IP address) and second: minima
    /// cannot be taken back, and a rule has to say when it began.
    pub(crate) early: BTreeMap<(Option<Address>, IpAddr, i64), u64>,
    /// What nodes handed over, for their scores.
    pub(crate) peers: BTreeMap<PeerKey, PeerSums>,
}

summed! {
    Tally { copies, messages, skipped_rounds, claimed_rounds, waste, participation, phases, delays, what_if, early, peers }
    MessageSums { messages, useful, repeats, echoes }
}

crate::kept! {
    Tally { copies, messages, skipped_rounds, claimed_rounds, waste, participation, phases, delays, what_if, early, peers }
    MessageSums { messages, useful, repeats, echoes }
}

impl Tally {
    /// About how many numbers it holds.
    pub(crate) fn len(&self) -> usize {
        let steps =
            16 * (self.participation.len() + self.phases.len() + self.delays.len() + self.what_if.len());
        let minutes = 2 * self.early.len() + 3 * self.peers.len();
        self.copies.len() + self.messages.len() + self.waste.len() + steps + minutes
    }

    /// Lets go what there is no room for of the lists that grow with time, and tells how much that was.
    ///
    /// Stretches of scores before `oldest` count for nothing any more. Else the oldest go first; and of messages that came too early, the
    /// minutes with fewest, since floods are what they are kept for. It depends on what is in the lists only. What a height gave may have left
    /// when it is judged again: then it is added once more.
    pub(crate) fn keep_within(&mut self, oldest: i64) -> Evicted {
        self.keep_most(oldest, MOST_PEER_SUMS, MOST_EARLY_MINUTES)
    }

    fn keep_most(&mut self, oldest: i64, most_peers: usize, most_early: usize) -> Evicted {
        let mut evicted = Evicted::default();
        if self.peers.len() > most_peers {
            self.peers.retain(|key, _| key.2 >= oldest);
            let mut stretches: BTreeMap<i64, usize> = BTreeMap::new();
            for key in self.peers.keys() {
                *stretches.entry(key.2).or_default() += 1;
            }
            let mut left = self.peers.len();
            let mut first_kept = i64::MIN;
            for (stretch, sums) in stretches {
                if left <= most_peers {
                    break;
                }
                left -= sums;
                first_kept = stretch.saturating_add(1);
                evicted.score_sums += sums as u64;
            }
            self.peers.retain(|key, _| key.2 >= first_kept);
        }
        if self.early.len() > most_early {
            let mut by_messages: Vec<_> = self
                .early
                .iter()
                .map(|(key, messages)| (*messages, *key))
                .collect();
            by_messages.sort_unstable();
            by_messages.truncate(by_messages.len() - most_early / 2);
            evicted.early_minutes += by_messages.len() as u64;
            for (_, key) in by_messages {
                self.early.remove(&key);
            }
        }
        evicted
    }
}

/// What had to leave the sums of the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Evicted {
    pub(crate) score_sums: u64,
    pub(crate) early_minutes: u64,
}

impl Evicted {
    pub(crate) fn add(&mut self, more: Self) {
        self.score_sums += more.score_sums;
        self.early_minutes += more.early_minutes;
    }

    /// Adds it to the limits that were reached.
    pub(crate) fn tell(self, limits: &mut BTreeMap<String, u64>) {
        for (limit, number) in [
            ("score_sums", self.score_sums),
            ("early_minutes", self.early_minutes),
        ] {
            if number > 0 {
                *limits.entry(limit.to_owned()).or_default() += number;
            }
        }
    }
}

/// Nodes and stretches of time with sums for scores, of one chain: a hundred nodes over four days, about 100 bytes each.
pub(crate) const MOST_PEER_SUMS: usize = 1 << 16;
/// Senders and minutes with messages that came too early, of one chain.
pub(crate) const MOST_EARLY_MINUTES: usize = 1 << 16;

/// The sums of each chain.
pub(crate) type Tallies = BTreeMap<ChainName, Tally>;

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(number: u64) -> Tally {
        Tally {
            copies: [
                (([10, 0, 0, 1].into(), number), 3),
                (([10, 0, 0, 2].into(), 1), 1),
            ]
            .into(),
            messages: [(
                ([10, 0, 0, 1].into(), Kind::Commit),
                MessageSums {
                    messages: number,
                    useful: 1,
                    repeats: 2,
                    echoes: 3,
                },
            )]
            .into(),
            skipped_rounds: number,
            early: [((None, [10, 0, 0, 1].into(), 0), number)].into(),
            peers: [(
                (Some(Address([1; 20])), None, 0),
                PeerSums {
                    firsts: number,
                    ..PeerSums::default()
                },
            )]
            .into(),
            ..Tally::default()
        }
    }

    #[test]
    fn what_there_is_no_room_for_goes_and_is_counted() {
        let ip = IpAddr::from([10, 0, 0, 1]);
        let mut sums = Tally::default();
        for stretch in 0..100 {
            for node in 0..10 {
                let one = PeerSums {
                    firsts: 1,
                    ..PeerSums::default()
                };
                sums.peers.insert((Some(Address([node; 20])), None, stretch), one);
            }
            // A flood, long ago, among minutes with a few each.
            sums.early
                .insert((None, ip, stretch), if stretch == 3 { 500 } else { 2 });
        }
        let whole = sums.clone();
        assert_eq!(sums.keep_within(0), Evicted::default());
        assert_eq!(sums, whole, "there is room");
        let evicted = sums.keep_most(20, 505, 40);
        assert_eq!(
            (evicted.score_sums, sums.peers.len()),
            (300, 500),
            "those before 20 count for nothing, and are not counted"
        );
        assert_eq!(sums.peers.keys().map(|key| key.2).min(), Some(50));
        assert_eq!((evicted.early_minutes, sums.early.len()), (80, 20));
        assert_eq!(sums.early[&(None, ip, 3)], 500);
        let mut limits = BTreeMap::new();
        evicted.tell(&mut limits);
        assert_eq!(
            limits,
            [("score_sums".to_owned(), 300), ("early_minutes".to_owned(), 80)].into()
        );
        // Taking back what is not there any more does no harm.
        sums.take_back(&whole);
        assert!(sums.peers.is_empty() && sums.early.is_empty());
    }

    #[test]
    fn what_is_taken_back_leaves_no_trace() {
        let mut sums = Tally::default();
        sums.add(&tally(4));
        let alone = sums.clone();
        sums.add(&tally(7));
        assert_eq!(sums.skipped_rounds, 11);
        assert_eq!(sums.copies[&([10, 0, 0, 2].into(), 1)], 2);
        sums.take_back(&tally(7));
        assert_eq!(sums, alone);
        sums.take_back(&tally(4));
        assert_eq!(sums, Tally::default());
    }
}
