//! `repeated_payload`: one node hands the same payload to the same node again and again.
//!
//! **Condition**: more than `repeated_copies` (4) copies of a payload from one sender to one receiver. Klaytn and GoQuorum remember what
//! they sent to whom and send each payload to each peer at most once; only a new start of the sender makes it forget.
//! **Blame**: the sender, whoever signed.
//! **Severity**: warning, suspicious. One event a sender and height, with the worst payloads.

use crate::facts::EventFact;
use crate::height::{Delivery, DeliveryKey};

use super::view::{HeightView, number, show};

pub(super) const RULE: &str = "repeated_payload";

/// `found`: sorted by sender.
pub(super) fn judge(view: &HeightView<'_>, found: &[(&DeliveryKey, &Delivery)], events: &mut Vec<EventFact>) {
    for group in found.chunk_by(|a, b| view.chain.rank(a.0.sender) == view.chain.rank(b.0.sender)) {
        let most = group.iter().map(|(_, delivery)| u64::from(delivery.copies)).max();
        let copies: u64 = group.iter().map(|(_, delivery)| u64::from(delivery.copies)).sum();
        let time = group.iter().map(|(_, delivery)| delivery.first_seen).min();
        let (Some(most), Some(time)) = (most, time) else {
            continue;
        };
        let worst = group
            .iter()
            .rev()
            .max_by_key(|(_, delivery)| delivery.copies)
            .map(|(key, _)| *key);
        let Some(worst) = worst else { continue };
        let entry = &view.height.payloads[worst.payload as usize];
        let sender = view.party(worst.sender);
        let detail = format!(
            "{} handed {} payload(s) of height {} to the same node more than {} times, one of them {most} times to {}",
            sender.label,
            group.len(),
            view.sequence,
            view.options().repeated_copies,
            view.party(worst.receiver).label
        );
        let mut event = view.event(RULE, time, detail);
        event.suspicious = true;
        event.round = Some(entry.round);
        event.kind = Some(entry.kind);
        view.chain.places.blame_sender(&mut event, sender);
        event.numbers.insert("payloads", number(group.len() as u64));
        event.numbers.insert("copies", number(copies));
        event.numbers.insert("most", number(most));
        show(&mut event, entry.hash);
        for (key, _) in group {
            show(&mut event, view.height.payloads[key.payload as usize].hash);
        }
        events.push(event);
    }
}
