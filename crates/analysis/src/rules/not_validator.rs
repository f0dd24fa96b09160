//! `not_validator`: a rightly signed message of somebody who has no vote.
//!
//! **Condition**: signed by the claimed address, which stands neither in the validators of this height nor in those of an earlier one
//! (a validator that was voted out says goodbye late). The set must be known for sure: from the configuration, or from headers while a
//! quorum of it votes at this height; where the height's own proposal was not seen, an address that any header of the chain names is
//! given the benefit of the doubt. Sessions must have told their chain, or the message must name this chain's parent block: the
//! validators of a lab's earlier chain are no strangers.
//! **Blame**: the signer; `sender` is who handed it over first, which no honest node does.
//! **Severity**: critical, suspicious. One event a signer and height. No threshold: honest nodes send none.

use std::collections::BTreeSet;

use bftap_ibft_decode::Kind;
use bftap_model::Address;

use crate::closing::ChainState;
use crate::facts::EventFact;

use super::view::{HeightView, number, show};

pub(super) const RULE: &str = "not_validator";

pub(super) fn judge(view: &HeightView<'_>, state: &ChainState, events: &mut Vec<EventFact>) {
    let strange =
        |address: Address| !view.is_validator(address) && state.rules.former.binary_search(&address).is_err();
    let mut found: Vec<_> = view
        .payloads()
        .filter(|(entry, _)| !entry.invalid && entry.checked)
        .filter_map(|(entry, sight)| Some((entry.signer?, sight.first, entry.hash, entry, sight)))
        .filter(|found| strange(found.0))
        .collect();
    if found.is_empty() || view.validators.is_empty() {
        return;
    }
    let voters: BTreeSet<Address> = view.votes().map(|(signer, ..)| signer).collect();
    let sure =
        view.chain.fixed_validators.is_some() || view.quorum().is_some_and(|quorum| voters.len() >= quorum);
    if !sure {
        return;
    }
    // What the validators of this height build on.
    let parents: BTreeSet<_> = view.votes().filter_map(|(_, entry, _)| entry.parent).collect();
    let proposed = view.votes().any(|(_, entry, _)| entry.kind == Kind::Preprepare);
    found.retain(|(signer, .., entry, _)| {
        let of_this_chain = match entry.parent {
            Some(parent) if !parents.is_empty() => parents.contains(&parent),
            _ => view.chain.told,
        };
        of_this_chain
            && (proposed || view.chain.fixed_validators.is_some() || !view.chain.listed.contains(signer))
    });
    found.sort_unstable_by_key(|found| (found.0, found.1, found.2));
    for group in found.chunk_by(|a, b| a.0 == b.0) {
        let (signer, time, _, entry, sight) = group[0];
        let sender = &view.party(sight.sender).label;
        let detail = format!(
            "{} has no vote and signed {} message(s), the first one a {} of round {}; {sender} handed it over first",
            view.chain.who.names.label_of(signer),
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
        event.sender = Some(sender.clone());
        if event.ip.is_none() {
            // A key that no node showed: the only way to it is the node that handed it over.
            event.ip = Some(view.party(sight.sender).ip);
        }
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
