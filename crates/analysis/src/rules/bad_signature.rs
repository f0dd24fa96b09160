//! `bad_signature`: a message whose signature is nobody's.
//!
//! **Condition**: no key can be recovered from the signature; or one can, but it is not that of the claimed address, and belongs to
//! no validator and no node that was ever seen (random bytes give some key in half of all cases).
//! **Blame**: whoever handed it over first. The claimed address is not proven, and no honest node passes such a message on: Klaytn,
//! Kaia and GoQuorum forward what their own consensus accepted, and that checks first that the signer is a validator.
//! **Severity**: critical, suspicious. One event a sender and height. No threshold: honest nodes send none.

use bftap_model::Address;

use crate::facts::EventFact;
use crate::height::PayloadEntry;

use super::view::{HeightView, number, show};

pub(super) const RULE: &str = "bad_signature";

/// Nobody known made the signature.
pub(super) fn is_nobodys(known: &dyn Fn(Address) -> bool, entry: &PayloadEntry) -> bool {
    entry.invalid && entry.signer.is_none_or(|signer| !known(signer))
}

/// `known`: keys of validators and nodes.
pub(super) fn judge(view: &HeightView<'_>, known: &dyn Fn(Address) -> bool, events: &mut Vec<EventFact>) {
    let mut found: Vec<_> = view
        .payloads()
        .filter(|(entry, _)| is_nobodys(known, entry))
        .map(|(entry, sight)| {
            (
                view.chain.rank(sight.sender),
                sight.first,
                entry.hash,
                entry,
                sight,
            )
        })
        .collect();
    found.sort_unstable_by_key(|found| (found.0, found.1, found.2));
    for group in found.chunk_by(|a, b| a.0 == b.0) {
        let (_, time, _, entry, sight) = group[0];
        let sender = view.party(sight.sender);
        let claims = entry.claimed.map_or_else(
            || "nobody".into(),
            |claimed| view.chain.who.names.label_of(claimed),
        );
        let detail = format!(
            "{} handed over {} message(s) whose signature is nobody's; the first one, a {} of round {}, claims to be from {claims}",
            sender.label,
            group.len(),
            entry.kind,
            entry.round
        );
        let mut event = view.event(RULE, time, detail);
        event.severity = "critical";
        event.suspicious = true;
        event.round = Some(entry.round);
        event.kind = Some(entry.kind);
        view.chain.places.blame_sender(&mut event, sender);
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
