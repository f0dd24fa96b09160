//! `undecodable_flood`: many frames of one sender that say nothing.
//!
//! **Condition**: in a minute, `undecodable_per_minute` (10) frames or more of one sender that hold no readable code, no Snappy, or a
//! consensus code and nothing that decodes, in sessions whose Hellos both told what codes mean. Each such frame is an event
//! `undecodable`, which blames nobody.
//! **Blame**: the sender. **Severity**: warning, and suspicious, unless half of all senders do the same: then it is bftap that does
//! not know their version. One event a sender and span of minutes, at the first such frame.

use std::collections::{BTreeMap, BTreeSet};

use crate::facts::EventFact;

use super::per_minute::{Found, stretches};
use super::run::RunView;

pub(super) const RULE: &str = "undecodable_flood";

pub(super) fn judge(run: &RunView<'_>, events: &mut Vec<EventFact>) {
    let mut senders: BTreeMap<u32, BTreeMap<i64, Found>> = BTreeMap::new();
    for (&(party, minute), &(frames, first)) in run.undecodable {
        if frames >= run.options.undecodable_per_minute {
            let found = Found {
                messages: frames,
                against: 0,
                receiver: 0,
                first,
            };
            senders.entry(party).or_default().insert(minute, found);
        }
    }
    if senders.is_empty() {
        return;
    }
    let speakers: BTreeSet<u32> = run
        .sessions
        .iter()
        .flat_map(|(end, session)| {
            let spoke = |at: &usize| end.frames[*at] > 0;
            [0, 1].into_iter().filter(spoke).map(|at| session.parties[at])
        })
        .collect();
    let usual = senders.len() * 2 >= speakers.len().max(1) && senders.len() > 1;
    for (sender, minutes) in senders {
        let party = run.party(sender);
        for stretch in stretches(minutes.into_iter()) {
            let mut detail = format!(
                "{} sent {} frame(s) that cannot be decoded, up to {} in a minute",
                party.label, stretch.messages, stretch.most
            );
            if usual {
                detail.push_str("; so do many others: this version of bftap may not know their messages");
            }
            let mut event = run.event(RULE, &run.chain_of(sender), stretch.first, detail);
            event.suspicious = !usual;
            run.places().blame_sender(&mut event, party);
            stretch.tell(&mut event);
            events.push(event);
        }
    }
}
