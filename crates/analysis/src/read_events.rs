//! Events of reading: what did not decode, where bytes were lost, when a monitor did not run. Whoever sends garbage makes as many of them as
//! it likes, so each rule has its share, and keeps the earliest: which those are does not depend on who brings them first.

use std::collections::{BTreeMap, BinaryHeap};

use bftap_model::CaptureTime;

use crate::facts::EventFact;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct ReadEvents {
    all: Vec<EventFact>,
    /// Of each rule those that are kept, the latest first: when, what, and the place in `all`.
    of_rule: BTreeMap<&'static str, BinaryHeap<(CaptureTime, String, usize)>>,
}

impl ReadEvents {
    /// All that are kept; one keeps its place, unless an earlier one takes it.
    pub(crate) const fn all(&self) -> &Vec<EventFact> {
        &self.all
    }

    /// Adds one that has its place already.
    pub(crate) fn recall(&mut self, event: EventFact) {
        let kept = self.of_rule.entry(event.rule).or_default();
        kept.push((event.time_ns, event.detail.clone(), self.all.len()));
        self.all.push(event);
    }

    /// Takes one, with room for `share` of a rule and `most` in all; whether all are still there. The first `told` stay: a journal has them.
    pub(crate) fn add(&mut self, event: EventFact, share: usize, most: usize, told: usize) -> bool {
        let kept = self.of_rule.entry(event.rule).or_default();
        if kept.len() < share && self.all.len() < most {
            self.recall(event);
            return true;
        }
        if let Some(mut latest) = kept.peek_mut()
            && latest.2 >= told
            && (event.time_ns, &event.detail) < (latest.0, &latest.1)
        {
            let place = latest.2;
            *latest = (event.time_ns, event.detail.clone(), place);
            self.all[place] = event;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_are_kept_whoever_comes_first() {
        let event = |time| EventFact::new("undecodable", CaptureTime::from_nanos(time), String::new());
        let kept = |times: &[i64], told| {
            let mut events = ReadEvents::default();
            let over = times
                .iter()
                .filter(|time| !events.add(event(**time), 3, 99, told))
                .count();
            let mut kept: Vec<i64> = events.all().iter().map(|event| event.time_ns.nanos()).collect();
            kept.sort_unstable();
            (kept, over)
        };
        for times in [[1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1], [4, 1, 6, 3, 5, 2]] {
            assert_eq!(kept(&times, 0), (vec![1, 2, 3], 3));
        }
        assert_eq!(
            kept(&[6, 5, 4, 1], 3),
            (vec![4, 5, 6], 1),
            "those that were told stay"
        );
        let mut events = ReadEvents::default();
        assert!(events.add(event(1), 3, 1, 0));
        let other = EventFact::new("restart", CaptureTime::from_nanos(0), String::new());
        assert!(!events.add(other, 3, 1, 0), "one rule does not push out another");
        assert_eq!(events.all().len(), 1);
    }
}
