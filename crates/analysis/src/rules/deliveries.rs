//! What one pass over a height's deliveries tells: payloads handed over again and again, frames of impossible size, and messages
//! that came before their time. The rules of their names stand beside it.

use std::collections::{BTreeMap, BTreeSet};

use bftap_model::CaptureTime;

use crate::height::{Delivery, DeliveryKey};

use super::view::HeightView;
use super::{future_flood, oversized, repeated_payload};

/// Deliveries that stand out, in an order of their own.
#[derive(Debug, Default)]
pub(super) struct Odd<'a> {
    pub(super) repeated: Vec<(&'a DeliveryKey, &'a Delivery)>,
    pub(super) oversized: Vec<(&'a DeliveryKey, &'a Delivery)>,
    /// Messages that came before their time, by sender's place and second.
    pub(super) early: BTreeMap<(u32, i64), u64>,
    /// How many nodes handed over anything, early or not.
    pub(super) senders: usize,
}

impl<'a> Odd<'a> {
    /// `early`: what came before was early.
    pub(super) fn new(view: &HeightView<'a>, early: Option<CaptureTime>) -> Self {
        let options = view.options();
        let mut odd = Self::default();
        let mut senders = BTreeSet::new();
        for (key, delivery) in &view.height.deliveries {
            if u64::from(delivery.copies) > options.repeated_copies {
                odd.repeated.push((key, delivery));
            }
            let entry = &view.height.payloads[key.payload as usize];
            if oversized::is(options, entry.kind, delivery) {
                odd.oversized.push((key, delivery));
            }
            let Some(early) = early else { continue };
            senders.insert(view.chain.rank(key.sender));
            let copies = future_flood::early_copies(delivery, early);
            if copies > 0 {
                let seen = delivery.first_seen.nanos();
                let second = seen.saturating_sub(seen.rem_euclid(SECOND));
                *odd.early.entry((key.sender, second)).or_default() += copies;
            }
        }
        odd.senders = senders.len();
        let sort = |found: &mut Vec<(&DeliveryKey, &Delivery)>| {
            found.sort_unstable_by_key(|(key, _)| {
                let hash = view.height.payloads[key.payload as usize].hash;
                (view.chain.rank(key.sender), view.chain.rank(key.receiver), hash)
            });
        };
        sort(&mut odd.repeated);
        sort(&mut odd.oversized);
        odd
    }
}

/// Nanoseconds of a second.
const SECOND: i64 = 1_000_000_000;

/// Events of the rules that go by single deliveries.
pub(super) fn judge(view: &HeightView<'_>, odd: &Odd<'_>, events: &mut Vec<crate::facts::EventFact>) {
    repeated_payload::judge(view, &odd.repeated, events);
    oversized::judge(view, &odd.oversized, events);
}
