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
    /// Copies of no use.
    pub(crate) waste: Waste,
    pub(crate) participation: Participation,
    pub(crate) phases: Phases,
    /// First deliveries, by receiver's IP address.
    pub(crate) delays: Delays,
    pub(crate) what_if: WhatIf,
    /// Messages that came long before their height's turn, by sender (address, IP address) and start of the minute.
    pub(crate) early: BTreeMap<(Option<Address>, IpAddr, i64), u64>,
    /// What nodes handed over, for their scores.
    pub(crate) peers: BTreeMap<PeerKey, PeerSums>,
}

summed! {
    Tally { copies, messages, skipped_rounds, waste, participation, phases, delays, what_if, early, peers }
    MessageSums { messages, useful, repeats, echoes }
}

crate::kept! {
    Tally { copies, messages, skipped_rounds, waste, participation, phases, delays, what_if, early, peers }
    MessageSums { messages, useful, repeats, echoes }
}

impl Tally {
    /// About how many numbers it holds.
    pub(crate) fn len(&self) -> usize {
        let steps =
            16 * (self.participation.len() + self.phases.len() + self.delays.len() + self.what_if.len());
        self.copies.len() + self.messages.len() + self.waste.len() + steps
    }
}

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
