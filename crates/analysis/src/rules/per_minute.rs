//! What links carried, minute by minute, boiled down to what rules over minutes need: at most a few numbers for each sender.
//!
//! While a run goes on, minutes change and come again; each is boiled down again then, and judged, and so are those that are compared
//! with it. The latest hour stays for comparison, and of earlier minutes what was found while those before them were there.

use std::collections::BTreeMap;
use std::ops::Range;

use bftap_model::CaptureTime;
use hashbrown::HashMap;

use super::run::RunView;
use super::{stale_flood, volume};
use crate::facts::{ChainName, EventFact};
use crate::minutes::{LinkSum, Minute};

/// Nanoseconds of a minute.
const MINUTE: i64 = 60_000_000_000;

/// A sender on a chain: index of the chain's slot, and of the party.
pub(super) type Sender = (u32, u32);

/// What one sender did in one minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SenderMinute {
    /// Messages on its link that stands out most against others at the same receiver: of those with enough others to compare with, if
    /// there are any.
    pub(super) messages: u64,
    /// What the busiest other sender handed to that receiver.
    pub(super) rival: u64,
    /// How many other senders handed anything to it.
    pub(super) rivals: u64,
    /// That receiver.
    pub(super) receiver: u32,
    /// Most messages on any one link: what later minutes are compared with.
    pub(super) busiest: u64,
    /// Its first message to anybody.
    pub(super) first: CaptureTime,
    /// Most messages of views long left behind on one link, and the receiver there.
    pub(super) stale: u64,
    pub(super) stale_receiver: u32,
    /// The first of them to anybody.
    pub(super) first_stale: CaptureTime,
}

impl Default for SenderMinute {
    fn default() -> Self {
        Self {
            messages: 0,
            rival: 0,
            rivals: 0,
            receiver: 0,
            busiest: 0,
            first: CaptureTime::MAX,
            stale: 0,
            stale_receiver: 0,
            first_stale: CaptureTime::MAX,
        }
    }
}

/// Minutes in a row in which a rule spoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    /// Start of the first minute.
    from: i64,
    /// Start of the last minute.
    to: i64,
    /// The first message that counts.
    pub(super) first: CaptureTime,
    pub(super) messages: u64,
    /// The most in one minute, and what stood against it.
    pub(super) most: u64,
    pub(super) against: u64,
    pub(super) receiver: u32,
}

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub(crate) struct MinuteBook {
    recent: BTreeMap<i64, Noted>,
    /// What was found, by minute.
    found: BTreeMap<(i64, &'static str, Sender), Found>,
    /// The latest minute that was in `recent` and is not any more.
    forgotten: Option<i64>,
    /// Findings of such minutes that there was no room for.
    left_out: u64,
}

/// A minute as it was known when it was noted last.
#[derive(Clone, Debug, Default)]
struct Noted {
    senders: BTreeMap<Sender, SenderMinute>,
    /// Findings that there was no room for.
    left_out: u64,
}

/// One minute in which a rule spoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) messages: u64,
    pub(super) against: u64,
    pub(super) receiver: u32,
    /// The first message that counts.
    pub(super) first: CaptureTime,
}

/// Minutes that are kept for comparison.
const RECENT: usize = 60;
/// Minutes of before that a minute is compared with.
const HISTORY: i64 = 10;
/// Findings that are kept.
const MOST_FOUND: usize = 10_000;

impl MinuteBook {
    /// A minute as it is known now. `rank`: the rank of a party's IP address.
    pub(crate) fn note(
        &mut self,
        start: CaptureTime,
        minute: &Minute,
        rank: &dyn Fn(u32) -> u32,
        options: &super::RuleOptions,
    ) {
        let start = start.nanos();
        let senders = senders(minute, rank);
        self.recent.insert(start, Noted { senders, left_out: 0 });
        // What was handed over in it, those behind it are compared with.
        let last = start.saturating_add(HISTORY * MINUTE);
        let shaken: Vec<i64> = self.recent.range(start..=last).map(|(&start, _)| start).collect();
        for start in shaken {
            self.judge(start, options);
        }
        while self.recent.len() > RECENT
            && let Some((first, noted)) = self.recent.pop_first()
        {
            self.forgotten = self.forgotten.max(Some(first));
            self.left_out = self.left_out.saturating_add(noted.left_out);
        }
    }

    /// Notes what rules find in a minute, in the place of what they found before.
    fn judge(&mut self, start: i64, options: &super::RuleOptions) {
        let Some(noted) = self.recent.get(&start) else {
            return;
        };
        let begin = start.saturating_sub(HISTORY * MINUTE);
        // Where the minutes before it are not kept any more nobody can say what was ordinary: what was found while they were stays.
        let comparable = self.forgotten.is_none_or(|forgotten| forgotten < begin);
        let mut found = Vec::new();
        for (&sender, sum) in &noted.senders {
            if let Some(stale) = stale_flood::is(sum, options) {
                found.push((stale_flood::RULE, sender, stale));
            }
            if comparable && volume::may_be(sum, options) {
                let ordinary = self.ordinary(begin..start, sender, sum, options);
                if let Some(loud) = volume::is(sum, ordinary, options) {
                    found.push((volume::RULE, sender, loud));
                }
            }
        }
        let of_minute = (start, "", (0, 0))..(start.saturating_add(1), "", (0, 0));
        let outdated: Vec<_> = self
            .found
            .range(of_minute)
            .map(|(key, _)| *key)
            .filter(|(_, rule, _)| comparable || *rule != volume::RULE)
            .collect();
        for key in outdated {
            self.found.remove(&key);
        }
        let mut left_out = 0;
        for (rule, sender, found) in found {
            if self.found.len() < MOST_FOUND {
                self.found.insert((start, rule, sender), found);
            } else {
                left_out += 1;
            }
        }
        if let Some(noted) = self.recent.get_mut(&start) {
            noted.left_out = left_out;
        }
    }

    /// The most that a sender handed over in an ordinary one of the minutes before the one that is judged.
    fn ordinary(
        &self,
        before: Range<i64>,
        sender: Sender,
        judged: &SenderMinute,
        options: &super::RuleOptions,
    ) -> Option<u64> {
        let of = |start: i64| self.recent.get(&start)?.senders.get(&sender);
        let is_loud = |start: i64| of(start).is_some_and(|sum| volume::may_be(sum, options));
        let quiet = self
            .recent
            .range(before)
            .filter(|&(&start, _)| !is_loud(start))
            .filter_map(|(&start, noted)| Some((start, noted.senders.get(&sender)?)));
        let quiet: Vec<_> = quiet
            .map(|(start, sum)| {
                let touches = is_loud(start.saturating_sub(MINUTE)) || is_loud(start.saturating_add(MINUTE));
                (touches, sum)
            })
            .collect();
        let most = |alone: bool| {
            quiet
                .iter()
                .filter(|(touches, sum)| !(*touches && volume::may_be_a_part(sum, judged, alone, options)))
                .map(|(_, sum)| sum.busiest)
                .max()
        };
        most(false).or_else(|| most(true))
    }

    /// Findings that there was no room for.
    pub(crate) fn left_out(&self) -> u64 {
        let recent = self.recent.values().map(|noted| noted.left_out);
        recent.fold(self.left_out, u64::saturating_add)
    }

    /// Events of all minutes.
    pub(super) fn events(&self, run: &RunView<'_>, events: &mut Vec<EventFact>) {
        let mut all: BTreeMap<(&'static str, Sender), BTreeMap<i64, Found>> = BTreeMap::new();
        for (&(start, rule, sender), &found) in &self.found {
            all.entry((rule, sender)).or_default().insert(start, found);
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

/// What each sender did in a minute.
fn senders(minute: &Minute, rank: &dyn Fn(u32) -> u32) -> BTreeMap<Sender, SenderMinute> {
    let mut links: HashMap<(u32, u32, u32), LinkSum> = HashMap::new();
    for (key, sum) in minute {
        let link = links
            .entry((key.chain, rank(key.receiver), key.sender))
            .or_default();
        link.messages = link.messages.saturating_add(sum.messages);
        link.stale = link.stale.saturating_add(sum.stale);
        link.first = link.first.min(sum.first);
        link.first_stale = link.first_stale.min(sum.first_stale);
    }
    // The two busiest senders at each receiver.
    let mut busiest: HashMap<(u32, u32), (u64, u64, u64)> = HashMap::new();
    for (&(chain, receiver, _), link) in &links {
        let most = busiest.entry((chain, receiver)).or_default();
        if link.messages >= most.0 {
            *most = (link.messages, most.0, most.2 + 1);
        } else {
            *most = (most.0, most.1.max(link.messages), most.2 + 1);
        }
    }
    let mut senders: BTreeMap<Sender, SenderMinute> = BTreeMap::new();
    for (&(chain, receiver, sender), link) in &links {
        let (first, second, number) = busiest[&(chain, receiver)];
        let rival = if link.messages == first { second } else { first };
        let sum = senders.entry((chain, sender)).or_default();
        // The link that stands out most: where there are others to compare with, far above its rival, then busiest; ties by receiver.
        let stands_out = |messages: u64, rival: u64, rivals: u64, receiver: u32| {
            (
                rivals >= volume::RIVALS,
                messages / rival.max(1),
                messages,
                std::cmp::Reverse(receiver),
            )
        };
        if sum.messages == 0
            || stands_out(link.messages, rival, number - 1, receiver)
                > stands_out(sum.messages, sum.rival, sum.rivals, sum.receiver)
        {
            sum.messages = link.messages;
            sum.rival = rival;
            sum.rivals = number - 1;
            sum.receiver = receiver;
        }
        sum.busiest = sum.busiest.max(link.messages);
        sum.first = sum.first.min(link.first);
        if (link.stale, std::cmp::Reverse(receiver)) > (sum.stale, std::cmp::Reverse(sum.stale_receiver)) {
            sum.stale = link.stale;
            sum.stale_receiver = receiver;
        }
        sum.first_stale = sum.first_stale.min(link.first_stale);
    }
    senders
}

/// Minutes joined to stretches without a gap.
pub(super) fn stretches(minutes: impl Iterator<Item = (i64, Found)>) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::new();
    for (start, found) in minutes {
        match stretches.last_mut() {
            Some(last) if last.to.saturating_add(MINUTE) == start => {
                last.to = start;
                last.first = last.first.min(found.first);
                last.messages = last.messages.saturating_add(found.messages);
                if found.messages > last.most {
                    last.most = found.messages;
                    last.against = found.against;
                    last.receiver = found.receiver;
                }
            }
            _ => stretches.push(Stretch {
                from: start,
                to: start,
                first: found.first,
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
        event.numbers.insert("from_ns", self.first.nanos());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::minutes::{LinkKey, add};
    use bftap_ibft_decode::Kind;

    /// Receiver, sender and messages of links; the first message of sender s comes s milliseconds into the minute.
    fn minute(start: i64, links: &[(u32, u32, u64)]) -> Minute {
        let mut minute = Minute::new();
        for &(receiver, sender, messages) in links {
            let key = LinkKey {
                chain: 0,
                receiver,
                sender,
                kind: Kind::Commit,
            };
            let first = CaptureTime::from_nanos(start * MINUTE + i64::from(sender) * 1_000_000);
            let mut sum = LinkSum::one(100, false, first);
            sum.messages = messages;
            add(&mut minute, key, sum);
        }
        minute
    }

    fn note(book: &mut MinuteBook, start: i64, links: &[(u32, u32, u64)]) {
        let at = CaptureTime::from_nanos(start * MINUTE);
        book.note(
            at,
            &minute(start, links),
            &|party| party,
            &super::super::RuleOptions::default(),
        );
    }

    fn loud(book: &MinuteBook) -> Vec<(i64, u32)> {
        let found = book.found.keys().filter(|(_, rule, _)| *rule == volume::RULE);
        found
            .map(|(start, _, sender)| (start / MINUTE, sender.1))
            .collect()
    }

    const ORDINARY: [(u32, u32, u64); 3] = [(9, 1, 1000), (9, 2, 1000), (9, 3, 1000)];
    /// The others are nearly silent, and the first is no busier than its own past lets expect.
    const OTHERS_AWAY: [(u32, u32, u64); 3] = [(9, 1, 4000), (9, 2, 100), (9, 3, 100)];

    #[test]
    fn a_minute_that_leaves_the_book_is_judged_by_the_minutes_before_it() {
        let mut book = MinuteBook::default();
        for start in 0..300 {
            note(
                &mut book,
                start,
                if start == 20 { &OTHERS_AWAY } else { &ORDINARY },
            );
        }
        assert_eq!(loud(&book), []);
        assert_eq!(book.recent.len(), RECENT);
        // Nor when it comes again, long after its past is forgotten.
        note(&mut book, 20, &OTHERS_AWAY);
        assert_eq!(loud(&book), []);
        // What was found stays found, though it comes again.
        let mut book = MinuteBook::default();
        for start in 0..300 {
            let links = if start == 20 {
                vec![(9, 1, 9000), (9, 2, 100), (9, 3, 100)]
            } else {
                ORDINARY.to_vec()
            };
            note(&mut book, start, &links);
        }
        assert_eq!(loud(&book), [(20, 1)]);
        note(&mut book, 20, &ORDINARY);
        assert_eq!(loud(&book), [(20, 1)]);
    }

    /// The first sender's messages in each minute, those of each other one, and the minutes in which it is loud.
    fn minutes(all: &[(u64, u64)]) -> Vec<i64> {
        let mut book = MinuteBook::default();
        for (start, &(own, others)) in (0..).zip(all) {
            note(&mut book, start, &[(9, 1, own), (9, 2, others), (9, 3, others)]);
        }
        loud(&book).into_iter().map(|(start, _)| start).collect()
    }

    #[test]
    fn minutes_in_which_a_flood_begins_or_ends_are_no_past_to_compare_with() {
        assert_eq!(minutes(&[(100, 100), (600, 100), (4000, 100)]), [2]);
        assert_eq!(
            minutes(&[(500, 500), (750, 500), (5500, 500)]),
            [2],
            "three seconds of it"
        );
        assert_eq!(minutes(&[(1900, 100), (5000, 100)]), [1], "there from the start");
        let pulsing = [(100, 100), (4000, 100), (767, 100), (100, 100), (4000, 100)];
        assert_eq!(minutes(&pulsing), [1, 4]);
        // Who always hands over more than others is loud when it is so against its own past.
        assert_eq!(minutes(&[(600, 100), (600, 100), (600, 100), (4000, 100)]), []);
        // Nor is one to blame that goes on as before while others are away.
        assert_eq!(minutes(&[(4000, 2000), (4000, 467)]), []);
        assert_eq!(minutes(&[(667, 667), (4000, 2000), (4000, 467)]), []);
        assert_eq!(minutes(&[(10, 10), (1000, 1000), (4000, 100)]), []);
    }

    #[test]
    fn a_past_that_comes_later_is_heard_too() {
        let mut book = MinuteBook::default();
        note(&mut book, 20, &OTHERS_AWAY);
        assert_eq!(loud(&book), [(20, 1)]);
        note(&mut book, 19, &ORDINARY);
        assert_eq!(loud(&book), []);
    }

    #[test]
    fn a_receiver_with_nobody_to_compare_with_hides_no_other() {
        let mut book = MinuteBook::default();
        // Of receiver 8 only this session was captured, and there it is even louder.
        note(
            &mut book,
            0,
            &[(8, 1, 9000), (9, 1, 4000), (9, 2, 100), (9, 3, 100)],
        );
        assert_eq!(loud(&book), [(0, 1)]);
        let found = book.found.values().next().unwrap();
        assert_eq!((found.receiver, found.messages, found.against), (9, 4000, 100));
        assert_eq!(
            found.first,
            CaptureTime::from_nanos(1_000_000),
            "its first message"
        );
        // And what it handed over there before counts as its past.
        let mut book = MinuteBook::default();
        note(&mut book, 0, &[(8, 1, 1000), (9, 1, 10), (9, 2, 10), (9, 3, 10)]);
        note(&mut book, 1, &OTHERS_AWAY);
        assert_eq!(loud(&book), []);
    }

    #[test]
    fn findings_without_room_are_counted() {
        let mut book = MinuteBook::default();
        let minutes = MOST_FOUND as i64 + 70;
        let flood = [(9, 1, 9000), (9, 2, 100), (9, 3, 100)];
        for start in 0..minutes {
            note(&mut book, start, &flood);
        }
        assert_eq!((book.found.len(), book.left_out()), (MOST_FOUND, 70));
        note(&mut book, minutes - 1, &flood);
        assert_eq!(book.left_out(), 70, "once each");
    }
}
