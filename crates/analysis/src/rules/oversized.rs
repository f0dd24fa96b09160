//! `oversized`: a message far larger than its kind needs.
//!
//! **Condition**: frames of a prepare, commit or round change that are larger than `oversized_vote_bytes` (4096; honest ones have some
//! 300), or of a preprepare larger than `oversized_proposal_bytes` (10 MiB: Klaytn up to v1.9.0 takes no larger message, and later ones
//! no more than 12 MiB). Nodes read one value and ignore what stands behind it, so such messages decode.
//! **Blame**: the sender, who makes the frame; what is signed may be of ordinary size, and so may other copies of it.
//! **Severity**: warning, suspicious. One event a sender and height.

use bftap_ibft_decode::Kind;

use crate::facts::EventFact;
use crate::height::{Delivery, DeliveryKey};

use super::RuleOptions;
use super::view::{HeightView, number, show};

pub(super) const RULE: &str = "oversized";

/// Bytes that its kind may have.
fn limit(options: &RuleOptions, kind: Kind) -> u64 {
    match kind {
        Kind::Preprepare => options.oversized_proposal_bytes,
        Kind::Prepare | Kind::Commit | Kind::RoundChange => options.oversized_vote_bytes,
    }
}

/// Whether one of the copies is too large.
#[inline]
pub(super) fn is(options: &RuleOptions, kind: Kind, delivery: &Delivery) -> bool {
    u64::from(delivery.largest) > limit(options, kind)
}

/// `found`: sorted by sender.
pub(super) fn judge(view: &HeightView<'_>, found: &[(&DeliveryKey, &Delivery)], events: &mut Vec<EventFact>) {
    for group in found.chunk_by(|a, b| view.chain.rank(a.0.sender) == view.chain.rank(b.0.sender)) {
        let worst = group.iter().rev().max_by_key(|(_, delivery)| delivery.largest);
        let Some(&(key, delivery)) = worst else { continue };
        let entry = &view.height.payloads[key.payload as usize];
        let sender = view.party(key.sender);
        let copies: u64 = group.iter().map(|(_, delivery)| u64::from(delivery.copies)).sum();
        let time = group.iter().map(|(_, delivery)| delivery.first_seen).min();
        let detail = format!(
            "{} sent {} message(s) of height {} that are far larger than they need to be, a {} of {} bytes among them (at most {}), in {copies} copies of all sizes",
            sender.label,
            group.len(),
            view.sequence,
            entry.kind,
            delivery.largest,
            limit(view.options(), entry.kind)
        );
        let mut event = view.event(RULE, time.unwrap_or(delivery.first_seen), detail);
        event.suspicious = true;
        event.round = Some(entry.round);
        event.kind = Some(entry.kind);
        view.chain.places.blame_sender(&mut event, sender);
        event.numbers.insert("messages", number(group.len() as u64));
        event.numbers.insert("copies", number(copies));
        event.numbers.insert("bytes", i64::from(delivery.largest));
        show(&mut event, entry.hash);
        for (key, _) in group {
            show(&mut event, view.height.payloads[key.payload as usize].hash);
        }
        events.push(event);
    }
}
