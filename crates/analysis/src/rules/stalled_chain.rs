//! `stalled_chain`: no block for a long time.
//!
//! **Condition**: `stalled_seconds` (30) and more between the blocks of two heights in a row, with rounds left in between (a step of the
//! capture's clock alone leaves none); or since the last block, up to the last message of a height that more validators than may fail work
//! on, or up to the last packet of the chain's sessions. Nothing may be lost anywhere meanwhile.
//! **Blame**: nobody; `silent_validator`, `missing_proposer` and `conflicting_lock` say why. Not suspicious.
//! **Severity**: critical. One event a height: `seconds`, `rounds`, `from_ns`, `to_ns`; `open` while it lasts.

use bftap_model::CaptureTime;

use crate::coverage::Losses;
use crate::facts::EventFact;

use super::RuleOptions;
use super::presence::Presence;
use super::state::{RuleState, Undecided};
use super::view::{HeightView, number};

pub(super) const RULE: &str = "stalled_chain";

/// A stretch of time without a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stall {
    pub(super) from: CaptureTime,
    pub(super) to: CaptureTime,
    /// Height that takes so long.
    pub(super) sequence: u64,
    /// Rounds asked for.
    pub(super) rounds: u64,
    pub(super) open: bool,
}

pub(super) fn judge(
    view: &HeightView<'_>,
    rounds: &[Presence],
    state: &mut RuleState,
    events: &mut Vec<EventFact>,
) {
    let worked = rounds.iter().filter(|presence| presence.enough.is_some());
    let last = worked.clone().filter_map(|presence| presence.enough).max();
    let highest = worked.map(|presence| presence.round).max().unwrap_or(0);
    match (view.decided(), last) {
        (Some((to, _)), _) => {
            if let Some(from) = state.decided_before(view.sequence).filter(|_| highest > 0) {
                let stall = Stall {
                    from,
                    to,
                    sequence: view.sequence,
                    rounds: highest,
                    open: false,
                };
                let base = view.event(RULE, from, String::new());
                events.extend(describe(view.options(), view.chain.losses, base, &stall));
            }
            state.undecided = None;
        }
        (None, Some(last)) => {
            let next = state
                .decided
                .last()
                .is_none_or(|(decided, _)| decided.checked_add(1) == Some(view.sequence));
            if next {
                state.undecided = Some(Undecided {
                    sequence: view.sequence,
                    rounds: highest,
                    last,
                });
            }
        }
        (None, None) => {}
    }
}

/// Fills in what is said of a stall, if it is one.
pub(super) fn describe(
    options: &RuleOptions,
    losses: &Losses,
    mut event: EventFact,
    stall: &Stall,
) -> Option<EventFact> {
    let length = stall.to.since(stall.from);
    if length < options.stalled || losses.overlap_anywhere(stall.from, stall.to) {
        return None;
    }
    event.severity = "critical";
    event.sequence = Some(stall.sequence);
    event.round = Some(stall.rounds);
    event.detail = format!(
        "no block for {:.1} s: height {} {}, after {} round change(s)",
        length.0 as f64 / 1e9,
        stall.sequence,
        if stall.open {
            "is not decided"
        } else {
            "took so long"
        },
        stall.rounds
    );
    event.numbers.insert("seconds", length.0 / 1_000_000_000);
    event.numbers.insert("rounds", number(stall.rounds));
    event.numbers.insert("from_ns", stall.from.nanos());
    event.numbers.insert("to_ns", stall.to.nanos());
    event.numbers.insert("open", i64::from(stall.open));
    Some(event)
}
