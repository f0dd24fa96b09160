//! Heights that were judged: what each gave to what runs through all heights, so that it can be taken back.
//!
//! Those judged lately are in memory, the others in a temporary file. Of each a few dozen bytes stay here for as long as the run goes on.

use std::collections::BTreeMap;
use std::io;

use hashbrown::HashMap;

use crate::closing::ChainState;
use crate::facts::{ChainName, EventFact};
use crate::provisional::NamedHeight;
use crate::record::{RecordReader, RecordWriter};
use crate::spill::{Place, Spill};
use crate::tally::Tally;

/// What a height that was judged gave to what runs through all heights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Judged {
    pub(crate) tally: Tally,
    /// What rules found in it.
    pub(crate) events: Vec<EventFact>,
    /// What it leaves to the next height of its chain.
    pub(crate) after: ChainState,
}

/// All heights that were judged, those judged lately in memory.
#[derive(Debug, Default)]
pub(crate) struct JudgedHeights {
    places: BTreeMap<NamedHeight, Option<Place>>,
    lately: HashMap<NamedHeight, (u64, Judged)>,
    spill: Spill,
    clock: u64,
    /// Numbers in `lately`.
    len: usize,
}

/// Judgements kept in memory, and numbers in them (about 40 bytes each): a height of a hundred validators has tens of thousands.
pub(crate) const JUDGED_LATELY: usize = 4096;
pub(crate) const NUMBERS_LATELY: usize = 1 << 18;

impl JudgedHeights {
    /// Judgements in memory, and numbers in them.
    pub(crate) fn residents(&self) -> (usize, usize) {
        (self.lately.len(), self.len)
    }

    pub(crate) fn contains(&self, at: &NamedHeight) -> bool {
        self.places.contains_key(at)
    }

    pub(crate) fn get(&mut self, at: &NamedHeight) -> io::Result<Option<Judged>> {
        if let Some((_, judged)) = self.lately.get(at) {
            return Ok(Some(judged.clone()));
        }
        let Some(&Some(place)) = self.places.get(at) else {
            return Ok(None);
        };
        let mut record = Vec::new();
        self.spill.read(place, &mut record)?;
        Judged::read(&record).map(Some)
    }

    /// What rules found in a height.
    pub(crate) fn events(&mut self, at: &NamedHeight) -> io::Result<Vec<EventFact>> {
        if let Some((_, judged)) = self.lately.get(at) {
            return Ok(judged.events.clone());
        }
        Ok(self.get(at)?.map(|judged| judged.events).unwrap_or_default())
    }

    pub(crate) fn remove(&mut self, at: &NamedHeight) -> io::Result<Option<Judged>> {
        let judged = self.get(at)?;
        self.places.remove(at);
        if let Some((_, judged)) = self.lately.remove(at) {
            self.len -= judged.len();
        }
        Ok(judged)
    }

    pub(crate) fn insert(&mut self, at: NamedHeight, judged: Judged) -> io::Result<()> {
        self.clock += 1;
        self.places.insert(at.clone(), None);
        self.len += judged.len();
        if let Some((_, earlier)) = self.lately.insert(at, (self.clock, judged)) {
            self.len -= earlier.len();
        }
        // One that is too large alone stays until the next one comes.
        while (self.lately.len() > JUDGED_LATELY || self.len > NUMBERS_LATELY) && self.lately.len() > 1 {
            let mut clocks: Vec<u64> = self.lately.values().map(|(clock, _)| *clock).collect();
            let half = clocks.len() / 2;
            let (_, &mut middle, _) = clocks.select_nth_unstable(half);
            for (at, (_, judged)) in self.lately.extract_if(|_, (clock, _)| *clock < middle) {
                self.len -= judged.len();
                let place = self.spill.append(&judged.write())?;
                self.places.insert(at, Some(place));
            }
        }
        Ok(())
    }

    /// What the height judged before this one of its chain leaves to it.
    pub(crate) fn state_before(&mut self, at: &NamedHeight) -> io::Result<Option<ChainState>> {
        let earlier = self.places.range((at.0.clone(), 0)..at.clone()).next_back();
        let Some(earlier) = earlier.map(|(earlier, _)| earlier.clone()) else {
            return Ok(None);
        };
        if let Some((_, judged)) = self.lately.get(&earlier) {
            return Ok(Some(judged.after.clone()));
        }
        Ok(self.get(&earlier)?.map(|judged| judged.after))
    }

    /// What the last height of each chain leaves.
    pub(crate) fn last_states(&mut self) -> io::Result<BTreeMap<ChainName, ChainState>> {
        let mut last: Vec<NamedHeight> = Vec::new();
        let mut behind = None;
        // From the end: the chain before the one that was found.
        loop {
            let range = match &behind {
                None => self.places.range::<NamedHeight, _>(..),
                Some(name) => self.places.range(..(ChainName::clone(name), 0)),
            };
            let Some((at, _)) = range.into_iter().next_back() else {
                break;
            };
            behind = Some(at.0.clone());
            last.push(at.clone());
        }
        let mut states = BTreeMap::new();
        for at in last {
            if let Some(judged) = self.get(&at)? {
                states.insert(at.0, judged.after);
            }
        }
        Ok(states)
    }

    pub(crate) fn next(&self, at: &NamedHeight) -> Option<NamedHeight> {
        let behind = (at.0.clone(), at.1.checked_add(1)?);
        let (next, _) = self.places.range(behind..).next()?;
        (next.0 == at.0).then(|| next.clone())
    }
}

/// An event takes about a kilobyte.
const NUMBERS_OF_EVENT: usize = 24;

crate::kept! {
    Judged { tally, events, after }
}

impl Judged {
    /// About how many numbers it holds.
    fn len(&self) -> usize {
        self.tally.len() + self.after.len() + NUMBERS_OF_EVENT * self.events.len()
    }

    fn write(&self) -> Vec<u8> {
        let mut record = RecordWriter::default();
        record.put(self);
        record.0
    }

    fn read(record: &[u8]) -> io::Result<Self> {
        RecordReader(record).get()
    }
}

#[cfg(test)]
mod tests {
    use bftap_ibft_decode::Kind;
    use bftap_model::{Address, CaptureTime};

    use super::*;
    use crate::provisional::MessageSums;
    use crate::rules::RuleState;

    fn judged(number: u64) -> Judged {
        Judged {
            tally: Tally {
                copies: [
                    (([10, 0, 0, 1].into(), number), 3),
                    (("fe80::1".parse().unwrap(), 2), number),
                    (("::ffff:10.0.0.1".parse().unwrap(), 7), 1),
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
                ..Tally::default()
            },
            events: vec![
                EventFact::new("restart", CaptureTime::from_nanos(3), "why".to_owned());
                number as usize % 3
            ],
            after: ChainState {
                validators: vec![Address([number as u8; 20]); 3],
                last_block: number.is_multiple_of(2).then_some((number, Address([9; 20]))),
                last_commit: number
                    .is_multiple_of(3)
                    .then_some((number, CaptureTime::from_nanos(number as i64))),
                rules: RuleState {
                    latest: Some(CaptureTime::from_nanos(number as i64)),
                    ..RuleState::default()
                },
            },
        }
    }

    #[test]
    fn judgements_come_back_from_the_temporary_file() {
        let mut heights = JudgedHeights::default();
        let chain: ChainName = "1/0x".into();
        let other: ChainName = "2/0x".into();
        let many = 3 * JUDGED_LATELY as u64;
        for sequence in 0..many {
            heights
                .insert((chain.clone(), sequence), judged(sequence))
                .unwrap();
        }
        let (judgements, numbers) = heights.residents();
        assert!(judgements <= JUDGED_LATELY && numbers <= NUMBERS_LATELY);
        let counted: usize = heights.lately.values().map(|(_, judged)| judged.len()).sum();
        assert_eq!(counted, numbers);
        for sequence in [0, 1, many / 2, many - 1] {
            let at = (chain.clone(), sequence);
            assert_eq!(heights.get(&at).unwrap(), Some(judged(sequence)), "{sequence}");
        }
        let at = (chain.clone(), 2);
        assert_eq!(heights.state_before(&at).unwrap(), Some(judged(1).after));
        assert_eq!(heights.next(&at), Some((chain.clone(), 3)));
        assert_eq!(heights.next(&(chain, many - 1)), None);
        assert_eq!(heights.state_before(&(other, 5)).unwrap(), None);
    }
}
