//! `stale_flood`: many messages for heights that both ends left behind long ago.
//!
//! **Condition**: in a minute, `stale_per_minute` (50) messages or more from one sender to one receiver for heights more than
//! `stale_heights` (20) below what *both* have sent in that session before. The order of the session's own bytes tells, not the clock. A node
//! that was paused or cut off goes through old heights in order, and so do messages that waited for it: none of them is stale in this sense.
//! **Blame**: the sender. **Severity**: warning, suspicious. One event a sender and span of minutes, at the first such message.

use crate::facts::{ChainName, EventFact};

use super::RuleOptions;
use super::per_minute::{Found, SenderMinute, Stretch};
use super::run::RunView;

pub(super) const RULE: &str = "stale_flood";

impl RuleOptions {
    /// Whether a message is of a height that both ends of its session left behind long ago.
    ///
    /// `tops`: the highest heights that each of them has sent messages of before.
    #[inline]
    pub fn is_stale(&self, sequence: u64, tops: [u64; 2]) -> bool {
        sequence.saturating_add(self.stale_heights) < tops[0].min(tops[1])
    }
}

/// Whether there were too many.
pub(super) fn is(sum: &SenderMinute, options: &RuleOptions) -> Option<Found> {
    (sum.stale > 0 && sum.stale >= options.stale_per_minute).then_some(Found {
        messages: sum.stale,
        against: 0,
        receiver: sum.stale_receiver,
        first: sum.first_stale,
    })
}

pub(super) fn event(run: &RunView<'_>, chain: &ChainName, sender: u32, stretch: &Stretch) -> EventFact {
    let party = run.party(sender);
    let detail = format!(
        "{} handed {} messages of heights more than {} below what both had sent before to {} in a minute",
        party.label,
        stretch.most,
        run.options.stale_heights,
        run.knowledge.receiver_at(stretch.receiver)
    );
    let mut event = run.event(RULE, chain, stretch.first, detail);
    event.suspicious = true;
    run.places().blame_sender(&mut event, party);
    stretch.tell(&mut event);
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stale_is_what_both_left_behind() {
        let options = RuleOptions::default();
        assert!(options.is_stale(79, [100, 120]));
        assert!(!options.is_stale(80, [100, 120]), "twenty heights are none");
        assert!(
            !options.is_stale(79, [99, 1_000_000]),
            "one end alone may say anything"
        );
        assert!(
            !options.is_stale(79, [0, 120]),
            "the other end has said nothing yet"
        );
        assert!(!options.is_stale(u64::MAX, [u64::MAX; 2]));
    }
}
