//! Events about what is amiss with a validator for several heights: the one way from a [`Trouble`] to what is said of it.

use bftap_model::{Address, CaptureTime};

use crate::facts::EventFact;
use crate::who::Resolved;

use super::state::{MISSING, PARTIAL, RuleState, SILENT, SLOW, Trouble};
use super::view::HeightView;
use super::whereabouts::Whereabouts;
use super::{RuleOptions, missing_proposer, partial_sender, silent_validator, slow_proposer};

/// What is needed to say it.
#[derive(Debug)]
pub(super) struct Teller<'a> {
    pub(super) options: &'a RuleOptions,
    pub(super) places: &'a Whereabouts,
    pub(super) who: &'a Resolved,
    /// How long proposals of the chain take.
    pub(super) usual: Option<i64>,
}

impl<'a> Teller<'a> {
    pub(super) fn of(view: &HeightView<'a>) -> Self {
        Self {
            options: view.options(),
            places: view.chain.places,
            who: view.chain.who,
            usual: None,
        }
    }

    /// The event, if it is enough to be one. `base`: an event of a rule at a time. `silent`: until when a silence lasts, and whether it is
    /// still going on.
    pub(super) fn event(
        &self,
        base: impl FnOnce(&'static str, CaptureTime) -> EventFact,
        validator: Address,
        trouble: &Trouble,
        (to, open): (CaptureTime, bool),
    ) -> Option<EventFact> {
        let label = self.who.names.label_of(validator);
        let (options, from) = (self.options, trouble.from);
        let mut event = match trouble.kind {
            SILENT => {
                let base = base(silent_validator::RULE, from);
                silent_validator::describe(options, base, &label, trouble, to, open)
            }
            MISSING => {
                missing_proposer::describe(options, base(missing_proposer::RULE, from), &label, trouble)
            }
            SLOW => {
                let base = base(slow_proposer::RULE, from);
                slow_proposer::describe(options, base, &label, trouble, self.usual)
            }
            PARTIAL => partial_sender::describe(options, base(partial_sender::RULE, from), &label, trouble),
            _ => None,
        }?;
        self.places.blame_signer(&mut event, validator, self.who);
        Some(event)
    }
}

/// It is over: what is said of it, if it is enough. `to`: until when it lasted.
pub(super) fn over(
    view: &HeightView<'_>,
    validator: Address,
    trouble: &Trouble,
    to: CaptureTime,
) -> Option<EventFact> {
    let base = |rule, time| view.event(rule, time, String::new());
    Teller::of(view).event(base, validator, trouble, (to, false))
}

/// Who is no validator any more has nothing to do, and nothing to fail at: what was amiss with it is over.
pub(super) fn close_of_former(view: &HeightView<'_>, state: &mut RuleState, events: &mut Vec<EventFact>) {
    if view.validators.is_empty() {
        return;
    }
    let usual = slow_proposer::usual(&state.paces);
    let former = |(address, _): &mut (Address, Trouble)| !view.is_validator(*address);
    for (validator, trouble) in state.troubles.extract_if(.., former) {
        let base = |rule, time| view.event(rule, time, String::new());
        let teller = Teller {
            usual,
            ..Teller::of(view)
        };
        let to = trouble.back.unwrap_or(trouble.last);
        events.extend(teller.event(base, validator, &trouble, (to, false)));
    }
}
