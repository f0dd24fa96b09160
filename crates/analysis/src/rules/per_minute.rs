//! What links carried, minute by minute, boiled down to what rules over minutes need: at most a few numbers for each sender.
//!
//! While a run goes on, minutes change and come again; each is boiled down again then. The latest hours stay for comparison, and of
//! earlier ones what was found.

use std::collections::BTreeMap;

use bftap_model::CaptureTime;
use hashbrown::HashMap;

use super::run::RunView;
use super::{stale_flood, volume};
use crate::facts::{ChainName, EventFact};
use crate::knowledge::Knowledge;
use crate::minutes::Minute;

/// Nanoseconds of a minute.
const MINUTE: i64 = 60_000_000_000;

/// A sender on a chain: index of the chain's slot, and of the party.
pub(super) type Sender = (u32, u32);

/// What one sender did in one minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SenderMinute {
    /// Messages on its link that stands out most against others at the same receiver.
    pub(super) messages: u64,
    /// What the busiest other sender handed to that receiver.
    pub(super) rival: u64,
    /// How many other senders handed anything to it.
    pub(super) rivals: u64,
    /// That receiver.
    pub(super) receiver: u32,
    /// Most messages of views long left behind on one link, and the receiver there.
    pub(super) stale: u64,
    pub(super) stale_receiver: u32,
}

/// Minutes in a row in which a rule spoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) from: i64,
    /// Start of the last minute.
    pub(super) to: i64,
    pub(super) messages: u64,
    /// The most in one minute, and what stood against it.
    pub(super) most: u64,
    pub(super) against: u64,
    pub(super) receiver: u32,
}

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub(crate) struct MinuteBook {
    recent: BTreeMap<i64, BTreeMap<Sender, SenderMinute>>,
    /// What was found in minutes that are not in `recent` any more.
    old: BTreeMap<(&'static str, Sender, i64), Found>,
}

/// One minute in which a rule spoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) messages: u64,
    pub(super) against: u64,
    pub(super) receiver: u32,
}

/// Minutes that are kept for comparison.
const RECENT: usize = 60;
/// Minutes of before that a minute is compared with.
const HISTORY: i64 = 10;
/// Findings of minutes long past that are kept.
const MOST_OLD: usize = 10_000;

impl MinuteBook {
    /// A minute as it is known now.
    pub(crate) fn note(
        &mut self,
        start: CaptureTime,
        minute: &Minute,
        knowledge: &Knowledge,
        options: &super::RuleOptions,
    ) {
        let mut links: HashMap<(u32, u32, u32), (u64, u64)> = HashMap::new();
        for (key, sum) in minute {
            let rank = knowledge.rank_of(key.receiver);
            let link = links.entry((key.chain, rank, key.sender)).or_default();
            link.0 += sum.messages;
            link.1 += sum.stale;
        }
        // The two busiest senders at each receiver.
        let mut busiest: HashMap<(u32, u32), (u64, u64, u64)> = HashMap::new();
        for (&(chain, receiver, _), &(messages, _)) in &links {
            let most = busiest.entry((chain, receiver)).or_default();
            if messages >= most.0 {
                *most = (messages, most.0, most.2 + 1);
            } else {
                *most = (most.0, most.1.max(messages), most.2 + 1);
            }
        }
        let mut senders: BTreeMap<Sender, SenderMinute> = BTreeMap::new();
        for (&(chain, receiver, sender), &(messages, stale)) in &links {
            let (first, second, number) = busiest[&(chain, receiver)];
            let rival = if messages == first { second } else { first };
            let sum = senders.entry((chain, sender)).or_default();
            // The link that stands out most: far above its rival, then busiest; ties by receiver.
            let stands_out = |messages: u64, rival: u64, receiver: u32| {
                (messages / rival.max(1), messages, std::cmp::Reverse(receiver))
            };
            if sum.messages == 0
                || stands_out(messages, rival, receiver) > stands_out(sum.messages, sum.rival, sum.receiver)
            {
                sum.messages = messages;
                sum.rival = rival;
                sum.rivals = number - 1;
                sum.receiver = receiver;
            }
            if (stale, std::cmp::Reverse(receiver)) > (sum.stale, std::cmp::Reverse(sum.stale_receiver)) {
                sum.stale = stale;
                sum.stale_receiver = receiver;
            }
        }
        self.recent.insert(start.nanos(), senders);
        while self.recent.len() > RECENT
            && let Some((&first, _)) = self.recent.first_key_value()
        {
            for (rule, sender, found) in self.found_in(first, options) {
                if self.old.len() < MOST_OLD {
                    self.old.insert((rule, sender, first), found);
                }
            }
            self.recent.pop_first();
        }
    }

    /// What rules find in a minute.
    fn found_in(&self, start: i64, options: &super::RuleOptions) -> Vec<(&'static str, Sender, Found)> {
        let mut found = Vec::new();
        let Some(minute) = self.recent.get(&start) else {
            return found;
        };
        for (&sender, sum) in minute {
            if let Some(stale) = stale_flood::is(sum, options) {
                found.push((stale_flood::RULE, sender, stale));
            }
            if volume::may_be(sum, options) {
                let before = self.recent.range(start.saturating_sub(HISTORY * MINUTE)..start);
                let ordinary = before
                    .filter_map(|(_, minute)| minute.get(&sender))
                    .filter(|sum| !volume::may_be(sum, options))
                    .map(|sum| sum.messages)
                    .max();
                if let Some(loud) = volume::is(sum, ordinary, options) {
                    found.push((volume::RULE, sender, loud));
                }
            }
        }
        found
    }

    /// Events of all minutes.
    pub(super) fn events(&self, run: &RunView<'_>, events: &mut Vec<EventFact>) {
        let mut all: BTreeMap<(&'static str, Sender), BTreeMap<i64, Found>> = BTreeMap::new();
        for (&(rule, sender, start), &found) in &self.old {
            all.entry((rule, sender)).or_default().insert(start, found);
        }
        for &start in self.recent.keys() {
            for (rule, sender, found) in self.found_in(start, run.options) {
                all.entry((rule, sender)).or_default().insert(start, found);
            }
        }
        for ((rule, sender), minutes) in all {
            for stretch in stretches(minutes.into_iter()) {
                let chain: &ChainName = &run.knowledge.names[sender.0 as usize];
                let event = if rule == volume::RULE {
                    volume::event(run, chain, sender.1, &stretch)
                } else {
                    stale_flood::event(run, chain, sender.1, &stretch)
                };
                events.push(event);
            }
        }
    }
}

/// Minutes joined to stretches without a gap.
pub(super) fn stretches(minutes: impl Iterator<Item = (i64, Found)>) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::new();
    for (start, found) in minutes {
        match stretches.last_mut() {
            Some(last) if last.to.saturating_add(MINUTE) == start => {
                last.to = start;
                last.messages += found.messages;
                if found.messages > last.most {
                    last.most = found.messages;
                    last.against = found.against;
                    last.receiver = found.receiver;
                }
            }
            _ => stretches.push(Stretch {
                from: start,
                to: start,
                messages: found.messages,
                most: found.messages,
                against: found.against,
                receiver: found.receiver,
            }),
        }
    }
    stretches
}

impl Stretch {
    /// Puts its numbers into an event.
    pub(super) fn tell(&self, event: &mut EventFact) {
        event.numbers.insert("from_ns", self.from);
        event.numbers.insert("to_ns", self.to.saturating_add(MINUTE));
        event
            .numbers
            .insert("minutes", (self.to.saturating_sub(self.from)) / MINUTE + 1);
        event
            .numbers
            .insert("messages", super::view::number(self.messages));
        event
            .numbers
            .insert("most_per_minute", super::view::number(self.most));
    }
}
