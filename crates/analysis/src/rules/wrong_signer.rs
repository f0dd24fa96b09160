//! `wrong_signer`: a message that claims to be from one node and is signed by another.
//!
//! **Condition**: a key is recovered from the signature, it is that of a validator or of a node that was seen, and the message claims
//! another address. Klaytn up to v1.12.1 files such a vote under the claimed address: one validator can vote for all.
//! **Blame**: the signer; its key made the signature. (Whoever passes it on may be honest: those clients do.)
//! **Severity**: critical, suspicious. One event a signer and height. No threshold: honest nodes send none.

use bftap_model::Address;

use crate::facts::EventFact;

use super::bad_signature::is_nobodys;
use super::view::{HeightView, number, show};

pub(super) const RULE: &str = "wrong_signer";

/// `known`: keys of validators and nodes.
pub(super) fn judge(view: &HeightView<'_>, known: &dyn Fn(Address) -> bool, events: &mut Vec<EventFact>) {
    let mut found: Vec<_> = view
        .payloads()
        .filter(|(entry, _)| entry.invalid && !is_nobodys(known, entry))
        .filter_map(|(entry, sight)| Some((entry.signer?, sight.first, entry.hash, entry, sight)))
        .collect();
    found.sort_unstable_by_key(|found| (found.0, found.1, found.2));
    for group in found.chunk_by(|a, b| a.0 == b.0) {
        let (signer, time, _, entry, sight) = group[0];
        let names = &view.chain.who.names;
        let claims = entry
            .claimed
            .map_or_else(|| "nobody".into(), |claimed| names.label_of(claimed));
        let detail = format!(
            "{} signed {} message(s) that claim to be from another; the first one, a {} of round {}, from {claims}",
            names.label_of(signer),
            group.len(),
            entry.kind,
            entry.round
        );
        let mut event = view.event(RULE, time, detail);
        event.severity = "critical";
        event.suspicious = true;
        event.round = Some(entry.round);
        event.kind = Some(entry.kind);
        view.chain.places.blame_signer(&mut event, signer, view.chain.who);
        event.sender = Some(view.party(sight.sender).label.clone());
        event.numbers.insert("messages", number(group.len() as u64));
        event
            .numbers
            .insert("copies", number(group.iter().map(|found| found.4.copies).sum()));
        for found in group {
            show(&mut event, found.2);
        }
        events.push(event);
    }
}
