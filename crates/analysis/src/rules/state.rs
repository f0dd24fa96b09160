//! What rules remember from one height of a chain to the next.
//!
//! It is kept for every height that was judged, so it is small: some bytes a validator, and more only for those in trouble.

use bftap_model::{Address, CaptureTime};

/// See the module's documentation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RuleState {
    /// The heights decided last, with the time when the median node had its quorum.
    pub(crate) decided: Vec<(u64, CaptureTime)>,
    /// A height behind them that is not decided.
    pub(crate) undecided: Option<Undecided>,
    /// Validators of earlier heights that are none now; sorted.
    pub(crate) former: Vec<Address>,
    /// When each validator was heard last; sorted.
    pub(crate) lives: Vec<(Address, Life)>,
    /// The latest time at which a block was decided: behind the last one, if the clock was set back since.
    pub(crate) latest: Option<CaptureTime>,
    /// Validators of which something is amiss; sorted by address and [`Trouble::kind`].
    pub(crate) troubles: Vec<(Address, Trouble)>,
    /// How long the latest proposals took, in nanoseconds; the oldest first.
    pub(crate) paces: Vec<i64>,
}

/// The latest signs of life of a validator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    /// The last message of its own that came in time.
    pub(crate) last: CaptureTime,
    /// The first one of the same round that came too late.
    pub(crate) late: Option<CaptureTime>,
}

/// A height that validators work on without an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Undecided {
    pub(crate) sequence: u64,
    /// Rounds asked for so far.
    pub(crate) rounds: u64,
    /// When enough validators had shown that they work on it.
    pub(crate) last: CaptureTime,
}

/// Something that is amiss with a validator for several heights, until it is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// Which of [`SILENT`], [`MISSING`], [`SLOW`], [`PARTIAL`].
    pub(crate) kind: u8,
    /// Since when.
    pub(crate) from: CaptureTime,
    /// Height in which it began.
    pub(crate) sequence: u64,
    pub(crate) round: u64,
    /// How often.
    pub(crate) count: u64,
    /// When it was seen last.
    pub(crate) last: CaptureTime,
    /// What it was at its worst, in nanoseconds or in numbers.
    pub(crate) worst: i64,
    /// Silent: the first sign of life since, though too late for its round.
    pub(crate) back: Option<CaptureTime>,
}

/// No messages.
pub(crate) const SILENT: u8 = 0;
/// No proposals.
pub(crate) const MISSING: u8 = 1;
/// Late proposals.
pub(crate) const SLOW: u8 = 2;
/// Messages to some only.
pub(crate) const PARTIAL: u8 = 3;

crate::kept! {
    RuleState { decided, undecided, former, lives, latest, troubles, paces }
    Life { last, late }
    Undecided { sequence, rounds, last }
    Trouble { kind, from, sequence, round, count, last, worst, back }
}

impl RuleState {
    /// The block before this one, if it is the latest that was decided.
    pub(crate) fn decided_before(&self, sequence: u64) -> Option<CaptureTime> {
        let &(last, time) = self.decided.last()?;
        (last.checked_add(1) == Some(sequence)).then_some(time)
    }

    /// When this validator was heard last.
    pub(crate) fn life(&self, address: Address) -> Option<Life> {
        let at = self.lives.binary_search_by_key(&address, |life| life.0).ok()?;
        Some(self.lives[at].1)
    }

    pub(crate) fn set_life(&mut self, address: Address, life: Life) {
        match self.lives.binary_search_by_key(&address, |life| life.0) {
            Ok(at) => self.lives[at].1 = life,
            Err(at) => self.lives.insert(at, (address, life)),
        }
    }

    fn place(&self, address: Address, kind: u8) -> Result<usize, usize> {
        self.troubles
            .binary_search_by_key(&(address, kind), |(address, trouble)| (*address, trouble.kind))
    }

    /// What is amiss, to be counted on; begun if it is new.
    pub(crate) fn trouble(
        &mut self,
        address: Address,
        kind: u8,
        begin: impl FnOnce() -> (CaptureTime, u64, u64),
    ) -> &mut Trouble {
        let at = match self.place(address, kind) {
            Ok(at) => at,
            Err(at) => {
                let (from, sequence, round) = begin();
                let trouble = Trouble {
                    kind,
                    from,
                    sequence,
                    round,
                    count: 0,
                    last: from,
                    worst: 0,
                    back: None,
                };
                self.troubles.insert(at, (address, trouble));
                at
            }
        };
        &mut self.troubles[at].1
    }

    /// It is over.
    pub(crate) fn settle(&mut self, address: Address, kind: u8) -> Option<Trouble> {
        let at = self.place(address, kind).ok()?;
        Some(self.troubles.remove(at).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn troubles_of_one_validator_stay_apart() {
        let [a, b] = [Address([1; 20]), Address([2; 20])];
        let at = CaptureTime::from_nanos;
        let mut state = RuleState::default();
        for (address, kind) in [(b, SILENT), (a, SLOW), (a, SILENT), (a, SLOW)] {
            state.trouble(address, kind, || (at(5), 7, 0)).count += 1;
        }
        assert!(
            state
                .troubles
                .is_sorted_by_key(|(address, trouble)| (*address, trouble.kind))
        );
        assert_eq!(state.settle(a, SLOW).unwrap().count, 2);
        assert_eq!(state.settle(a, SLOW), None);
        assert_eq!(state.troubles.len(), 2);
        let life = |time| Life {
            last: at(time),
            late: None,
        };
        state.set_life(b, life(1));
        state.set_life(a, life(2));
        state.set_life(b, life(3));
        assert_eq!((state.life(a), state.life(b)), (Some(life(2)), Some(life(3))));
        state.decided.push((8, at(9)));
        assert_eq!(
            (state.decided_before(9), state.decided_before(10)),
            (Some(at(9)), None)
        );
    }
}
