//! `forbidden_code`: consensus messages of a node that says it takes no part in consensus.
//!
//! **Condition**: Klaytn and Kaia begin each connection with a byte that says what the node is. A session in which the end that calls itself
//! `en`, `pn` or `bn` sends consensus messages: those go between consensus nodes only (`GossipSubPeer` sends to CN peers, and only CNs run
//! consensus). GoQuorum's connections have no such byte.
//! **Blame**: the sender. **Severity**: critical, suspicious. One event a sender, with its first such message: `messages`, `sessions`.
//! No threshold: honest nodes send none.

use std::collections::BTreeMap;

use bftap_model::CaptureTime;

use crate::facts::EventFact;

use super::run::RunView;
use super::view::number;

pub(super) const RULE: &str = "forbidden_code";

#[derive(Clone, Copy, Debug)]
struct Sum {
    first: CaptureTime,
    messages: u64,
    sessions: u64,
    slot: u32,
}

pub(super) fn judge(run: &RunView<'_>, events: &mut Vec<EventFact>) {
    let mut found: BTreeMap<(u32, &'static str), Sum> = BTreeMap::new();
    for (end, session) in run.sessions {
        for at in [0, 1] {
            let spoken = end.spoken[at];
            if let (Some(role @ ("en" | "pn" | "bn")), Some(first)) = (end.roles[at], spoken.first) {
                let sum = found.entry((session.parties[at], role)).or_insert(Sum {
                    first,
                    messages: 0,
                    sessions: 0,
                    slot: session.slot,
                });
                if first < sum.first {
                    sum.first = first;
                    sum.slot = session.slot;
                }
                sum.messages += spoken.messages;
                sum.sessions += 1;
            }
        }
    }
    for ((sender, role), sum) in found {
        let party = run.party(sender);
        let detail = format!(
            "{} calls itself {role} and sent {} consensus message(s) in {} session(s)",
            party.label, sum.messages, sum.sessions
        );
        let chain = run.knowledge.names[sum.slot as usize].clone();
        let mut event = run.event(RULE, &chain, sum.first, detail);
        event.severity = "critical";
        event.suspicious = true;
        run.places().blame_sender(&mut event, party);
        event.numbers.insert("messages", number(sum.messages));
        event.numbers.insert("sessions", number(sum.sessions));
        events.push(event);
    }
}
