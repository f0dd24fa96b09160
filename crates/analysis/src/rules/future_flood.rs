//! `future_flood`: many messages for heights that the chain is far from.
//!
//! **Condition**: in a minute, `future_per_minute` (20) messages or more of one sender for heights more than `future_heights` (5) above
//! the highest one that was decided when they came. A node works on a height once the one before is decided, and keeps messages of later ones to
//! itself, so honest nodes send none. Two guards keep the blame from the honest:
//! - where the chain is known to have reached the height later, only messages from before a height `future_heights` below it was
//!   decided count, and only if at most half of the senders of that height were early: a step of the capture's clock makes all early, and so
//!   does an earlier chain of the lab whose sessions were joined in the middle;
//! - where it is not (or a gap hides how it got there), at most F validators may have signed for that height.
//!
//! **Blame**: the sender. **Severity**: warning, suspicious. One event a sender and span of minutes, at the
//! second of the first such message.

use std::collections::BTreeSet;

use bftap_model::CaptureTime;

use crate::height::Delivery;
use crate::tally::Tally;

use super::deliveries::Odd;
use super::state::RuleState;
use super::view::HeightView;

pub(super) const RULE: &str = "future_flood";

/// What came before this was early; whether the chain was seen to come near the height.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Horizon {
    pub(super) before: CaptureTime,
    reached: bool,
}

/// When messages of this height begin to be in time.
pub(super) fn horizon(view: &HeightView<'_>, state: &RuleState) -> Option<Horizon> {
    let far = |sequence: u64| sequence.saturating_add(view.options().future_heights) < view.sequence;
    let &(last, _) = state.decided.last()?;
    if far(last) {
        return Some(Horizon {
            before: CaptureTime::MAX,
            reached: false,
        });
    }
    let (_, before) = state.decided.iter().rev().find(|(sequence, _)| far(*sequence))?;
    Some(Horizon {
        before: *before,
        reached: true,
    })
}

/// Copies that came too early.
#[inline]
pub(super) fn early_copies(delivery: &Delivery, before: CaptureTime) -> u64 {
    if delivery.first_seen >= before {
        0
    } else if delivery.last_seen < before {
        u64::from(delivery.copies)
    } else {
        1
    }
}

/// Adds the early messages of a height to the sums.
pub(super) fn count(view: &HeightView<'_>, horizon: Horizon, odd: &Odd<'_>, tally: &mut Tally) {
    if odd.early.is_empty() {
        return;
    }
    let blamed = if horizon.reached {
        // Nodes, not parties: of one node, sessions without Hello are another party.
        let nodes = odd.early.keys().map(|(sender, _)| view.chain.rank(*sender));
        nodes.collect::<BTreeSet<_>>().len() * 2 <= odd.senders
    } else {
        let signers: BTreeSet<_> = view.votes().map(|(signer, ..)| signer).collect();
        signers.len() <= view.faulty()
    };
    if !blamed {
        return;
    }
    for (&(sender, second), &messages) in &odd.early {
        let party = view.party(sender);
        let key = (party.address, party.ip, second);
        *tally.early.entry(key).or_default() += messages;
    }
}
