//! `silent_validator`: a validator that sent nothing of its own for a while, though others were at work.
//!
//! **Condition**: at least `silent_seconds` (5) pass between two messages that it signed (or since the first round that was seen), and in at
//! least `silent_rounds` (3) rounds meanwhile enough others showed up, at least one more than may fail, and it did not, or came more than
//! `silent_seconds` behind them. What it sends for rounds that are long over, when it goes on, is a sign of life that ends the silence and
//! no vote. Only where nothing can be hidden: its own port was captured, or those of all other validators, without a loss at that time.
//! Where a committee is chosen (more validators than `committee`) nobody is expected to vote.
//! **Blame**: the validator, not suspicious: it may be down, paused, cut off, or far too slow.
//! **Severity**: warning. One event a silence, at its begin: `from_ns`, `to_ns`, `seconds`, `rounds`; `open` while it lasts.

use bftap_model::{CaptureTime, Nanos};

use crate::facts::EventFact;

use super::RuleOptions;
use super::presence::Presence;
use super::state::{Life, RuleState, SILENT, Trouble};
use super::troubles::over;
use super::view::{HeightView, number};

pub(super) const RULE: &str = "silent_validator";

pub(super) fn judge(
    view: &HeightView<'_>,
    rounds: &[Presence],
    state: &mut RuleState,
    events: &mut Vec<EventFact>,
) {
    if !view.all_vote() {
        return;
    }
    let grace = view.options().silent;
    for presence in rounds {
        let (Some(enough), Some(until)) = (presence.enough, presence.until(grace)) else {
            continue;
        };
        let timely = presence.seen.iter().filter(|seen| seen.first <= until).count();
        for &validator in view.validators {
            let seen = presence
                .seen
                .binary_search_by_key(&validator, |seen| seen.validator)
                .ok()
                .map(|at| presence.seen[at]);
            if let Some(seen) = seen.filter(|seen| seen.first <= until) {
                if let Some(trouble) = state.settle(validator, SILENT) {
                    let to = trouble.back.map_or(seen.first, |back| back.min(seen.first));
                    events.extend(over(view, validator, &trouble, to));
                }
                continue;
            }
            // Others count without it, and it is not there.
            if timely <= view.faulty() {
                continue;
            }
            if !view.visible(validator, (presence.begin, enough)) {
                if let Some(trouble) = state.settle(validator, SILENT) {
                    events.extend(over(view, validator, &trouble, trouble.last));
                }
                continue;
            }
            let life = state.life(validator);
            let since = life.map_or(presence.begin, |life| life.last);
            let late = life.and_then(|life| life.late).into_iter();
            let trouble = state.trouble(validator, SILENT, || (since, view.sequence, presence.round));
            trouble.count += 1;
            trouble.last = enough;
            let signs = late.chain(seen.map(|seen| seen.first));
            trouble.back = trouble.back.into_iter().chain(signs).min();
        }
        for seen in presence.seen.iter().filter(|seen| seen.first <= until) {
            let life = Life {
                last: seen.last,
                late: seen.late,
            };
            state.set_life(seen.validator, life);
        }
    }
}

/// Fills in what is said of a silence, if it is long enough to be one.
pub(super) fn describe(
    options: &RuleOptions,
    mut event: EventFact,
    label: &str,
    trouble: &Trouble,
    to: CaptureTime,
    open: bool,
) -> Option<EventFact> {
    let length = to.since(trouble.from);
    if length < options.silent || trouble.count < options.silent_rounds {
        return None;
    }
    event.sequence = Some(trouble.sequence);
    event.round = Some(trouble.round);
    let Nanos(nanos) = length;
    event.detail = format!(
        "{label} sent nothing of its own for {:.1} s, from {} to {}, while others were at work in {} round(s){}",
        nanos as f64 / 1e9,
        trouble.from,
        to,
        trouble.count,
        if open { "; it has not come back" } else { "" }
    );
    event.numbers.insert("from_ns", trouble.from.nanos());
    event.numbers.insert("to_ns", to.nanos());
    event.numbers.insert("seconds", nanos / 1_000_000_000);
    event.numbers.insert("rounds", number(trouble.count));
    event.numbers.insert("open", i64::from(open));
    Some(event)
}
