//! A list of events in which no rule takes all the room.

use std::collections::{BTreeMap, BTreeSet};

use crate::facts::EventFact;
use crate::options::AnalysisOptions;

/// Keeps the events that come first, at most so many of each rule and so many in all, and counts the others.
#[derive(Debug)]
pub(crate) struct EventList<'a> {
    pub(crate) events: Vec<EventFact>,
    /// How many more there were.
    pub(crate) more: u64,
    off: &'a BTreeSet<String>,
    of_rule: BTreeMap<&'static str, usize>,
    share: usize,
    most: usize,
}

impl<'a> EventList<'a> {
    pub(crate) fn new(options: &'a AnalysisOptions) -> Self {
        Self {
            events: Vec::new(),
            more: 0,
            off: &options.rules.off,
            of_rule: BTreeMap::new(),
            share: options.rules.listed.max(1),
            most: options.listed_events.max(1),
        }
    }

    pub(crate) fn add(&mut self, events: impl IntoIterator<Item = EventFact>) {
        for event in events {
            if self.off.contains(event.rule) {
                continue;
            }
            let of_rule = self.of_rule.entry(event.rule).or_default();
            if *of_rule < self.share && self.events.len() < self.most {
                *of_rule += 1;
                self.events.push(event);
            } else {
                self.more += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bftap_model::CaptureTime;

    use super::*;

    #[test]
    fn one_rule_cannot_take_all_the_room() {
        let mut options = AnalysisOptions {
            listed_events: 5,
            ..AnalysisOptions::default()
        };
        options.rules.listed = 3;
        options.rules.off.insert("off".to_owned());
        let mut list = EventList::new(&options);
        let event = |rule| EventFact::new(rule, CaptureTime::from_nanos(0), String::new());
        list.add((0..100).map(|_| event("loud")));
        list.add(["off", "one", "two", "three"].map(event));
        let rules: Vec<_> = list.events.iter().map(|event| event.rule).collect();
        assert_eq!(rules, ["loud", "loud", "loud", "one", "two"]);
        assert_eq!(list.more, 98);
    }
}
