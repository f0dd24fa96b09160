//! `clock_step`: by the capture's clock a block was decided before the one that it builds on.
//!
//! **Condition**: the median node had its quorum for a height earlier than for the height before. No network does that: the clock was
//! set back, or captures whose clocks differ were joined. It says of the times around it that they cannot be compared: `block_time_ns` of
//! this height is not known, and durations over it count nowhere. All sessions must have told their chain: where one did not, heights of
//! another chain with the same keys may be among these. A clock that is set forward cannot be told from a network that waits.
//! **Blame**: nobody, and never suspicious. **Severity**: warning. One event a height: `back_ns`, at least so much.

use crate::facts::EventFact;

use super::state::RuleState;
use super::view::HeightView;

const RULE: &str = "clock_step";

pub(super) fn judge(view: &HeightView<'_>, state: &RuleState, events: &mut Vec<EventFact>) {
    let (Some((now, round)), Some(before)) = (view.decided(), state.decided_before(view.sequence)) else {
        return;
    };
    if now >= before || !view.chain.told {
        return;
    }
    let back = before.since(now).0;
    let detail = format!(
        "height {} was decided {:.3} s before the height that it builds on: the clock was set back, or the clocks of captures differ",
        view.sequence,
        back as f64 / 1e9
    );
    let mut event = view.event(RULE, now, detail);
    event.round = Some(round);
    event.numbers.insert("back_ns", back);
    events.push(event);
}
