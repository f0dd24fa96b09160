//! `volume`: one node sends far more than others, and than itself before.
//!
//! **Condition**: in a minute, a sender hands at least `volume_per_minute` (2000) messages to one receiver, `volume_factor` (8) times as
//! many as the busiest other sender of that receiver (at least two others are needed to compare), and as many times what it handed
//! to any one receiver in the busiest of the ten minutes before that were ordinary ones (if there are any). Minutes of a flood are not. Nor
//! are those before and behind one, in which it began or ended, if the sender outdid the others in it, with half as much as in the minute in
//! question at most: by a quarter, or `volume_factor` times where there is no other minute to compare with. A minute that
//! comes when those before it are not remembered any more, an hour later, is not judged.
//! What honest nodes hand over differs little: each payload goes to each peer at most once.
//! **Blame**: the sender. **Severity**: warning, suspicious. One event a sender and span of minutes, at its first message in them.

use crate::facts::{ChainName, EventFact};

use super::RuleOptions;
use super::per_minute::{Found, SenderMinute, Stretch};
use super::run::RunView;
use super::view::number;

pub(super) const RULE: &str = "volume";

/// So many other senders at a receiver are needed to compare with.
pub(super) const RIVALS: u64 = 2;

/// Whether it stands out against others.
pub(super) fn may_be(sum: &SenderMinute, options: &RuleOptions) -> bool {
    sum.rivals >= RIVALS
        && sum.messages >= options.volume_per_minute
        && sum.messages >= sum.rival.saturating_mul(options.volume_factor)
}

/// Whether a minute that touches a flood's may have a part of the flood, judged for the minute `of`. `alone`: there is no other one to
/// compare with, and then it takes more to leave it out.
pub(super) fn may_be_a_part(
    sum: &SenderMinute,
    of: &SenderMinute,
    alone: bool,
    options: &RuleOptions,
) -> bool {
    let outdoes = if alone {
        sum.messages >= sum.rival.saturating_mul(options.volume_factor)
    } else {
        sum.messages.saturating_mul(4) >= sum.rival.saturating_mul(5)
    };
    sum.rivals >= RIVALS && outdoes && of.messages >= sum.busiest.saturating_mul(2)
}

/// Whether it stands out against itself, too.
pub(super) fn is(sum: &SenderMinute, ordinary: Option<u64>, options: &RuleOptions) -> Option<Found> {
    let more = ordinary.is_none_or(|ordinary| sum.messages >= ordinary.saturating_mul(options.volume_factor));
    (may_be(sum, options) && more).then_some(Found {
        messages: sum.messages,
        against: sum.rival,
        receiver: sum.receiver,
        first: sum.first,
    })
}

pub(super) fn event(run: &RunView<'_>, chain: &ChainName, sender: u32, stretch: &Stretch) -> EventFact {
    let party = run.party(sender);
    let detail = format!(
        "{} handed {} messages to {} in a minute; of the other senders none handed more than {} to it",
        party.label,
        stretch.most,
        run.knowledge.receiver_at(stretch.receiver),
        stretch.against
    );
    let mut event = run.event(RULE, chain, stretch.first, detail);
    event.suspicious = true;
    run.places().blame_sender(&mut event, party);
    stretch.tell(&mut event);
    event.numbers.insert("busiest_other", number(stretch.against));
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(messages: u64, rival: u64, rivals: u64) -> SenderMinute {
        SenderMinute {
            messages,
            rival,
            rivals,
            ..SenderMinute::default()
        }
    }

    #[test]
    fn it_takes_others_and_the_past_to_be_loud() {
        let options = RuleOptions::default();
        let loud = |sum: SenderMinute, ordinary| is(&sum, ordinary, &options).is_some();
        assert!(loud(sum(4000, 500, 2), None));
        assert!(loud(sum(4000, 500, 2), Some(500)));
        assert!(!loud(sum(4000, 501, 2), None), "others are nearly as busy");
        assert!(!loud(sum(4000, 500, 2), Some(501)), "it was as busy before");
        assert!(!loud(sum(1999, 10, 2), None), "that is not much");
        assert!(!loud(sum(4000, 0, 1), None), "nobody to compare with");
    }
}
