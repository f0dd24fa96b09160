//! Rules: what of all this is worth a person's attention, and who is to blame. One file a rule; its condition, threshold, severity and
//! blame stand at its head, and in a table in `docs/rules.md`.
//!
//! Three kinds. *Content* blames the signer, whose key made it, or where no key did, whoever handed it over. *Volume* blames the sender.
//! *Absence* names a validator and is never suspicious: an honest node may be down, and a rule may speak of what was not seen only where
//! the captures show that nothing is hidden. What an honest crash, a new start, a chain that begins again, a step of the clock or a late secret
//! looks like is no reason for blame; each rule's head says how it tells them apart.
//!
//! [`of_height`] judges a height when it is closed; what goes on over heights is in [`RuleState`]. [`of_run`] judges what is known of the
//! whole run: sessions, sums, minutes, and what lasts until its end.

mod bad_signature;
mod clock_step;
mod conflicting_lock;
mod connection_churn;
mod deliveries;
mod equivocation;
mod forbidden_code;
mod future_flood;
mod list;
mod missing_proposer;
mod not_validator;
mod options;
mod oversized;
mod partial_sender;
mod per_minute;
mod presence;
mod repeated_payload;
mod roundchange_storm;
mod run;
mod silent_validator;
mod slow_proposer;
mod stale_flood;
mod stalled_chain;
mod state;
mod troubles;
mod undecodable_flood;
mod view;
mod volume;
mod whereabouts;
mod wrong_signer;

use bftap_model::Address;

pub(crate) use list::EventList;
pub use options::{MOST_FUTURE_HEIGHTS, RULES, RuleOptions};
pub(crate) use per_minute::MinuteBook;
pub(crate) use run::{RunView, of_run};
pub(crate) use state::RuleState;
pub(crate) use view::HeightView;
pub(crate) use whereabouts::Whereabouts;

use self::deliveries::Odd;
use crate::closing::ChainState;
use crate::facts::EventFact;
use crate::score;
use crate::tally::Tally;

/// Judges one height: adds to `events`, and to what later heights and the run are judged by.
pub(crate) fn of_height(
    view: &HeightView<'_>,
    state: &mut ChainState,
    tally: &mut Tally,
    events: &mut Vec<EventFact>,
) {
    let known = |address: Address| {
        view.is_validator(address)
            || state.rules.former.binary_search(&address).is_ok()
            || view.chain.places.is_known(address)
    };
    bad_signature::judge(view, &known, events);
    wrong_signer::judge(view, &known, events);
    not_validator::judge(view, state, events);
    equivocation::judge(view, events);
    conflicting_lock::judge(view, events);

    let horizon = future_flood::horizon(view, &state.rules);
    let odd = Odd::new(view, horizon.map(|horizon| horizon.before));
    deliveries::judge(view, &odd, events);
    roundchange_storm::judge(view, events);
    if let Some(horizon) = horizon {
        future_flood::count(view, horizon, &odd, tally);
    }

    score::count(view, &known, tally);

    let rounds = presence::presence(view);
    let rules = &mut state.rules;
    silent_validator::judge(view, &rounds, rules, events);
    missing_proposer::judge(view, &rounds, rules, events);
    slow_proposer::judge(view, rules, events);
    partial_sender::judge(view, rules, events);
    stalled_chain::judge(view, &rounds, rules, events);
    clock_step::judge(view, rules, events);
    troubles::close_of_former(view, rules, events);
    remember(view, rules);
}

/// What later heights have to know of this one.
fn remember(view: &HeightView<'_>, state: &mut RuleState) {
    if let Some((time, _)) = view.decided() {
        state.latest = state.latest.max(Some(time));
        state.decided.push((view.sequence, time));
        let most = view.options().future_heights.min(MOST_FUTURE_HEIGHTS) as usize + 2;
        if state.decided.len() > most {
            state.decided.remove(0);
        }
    }
    state.lives.retain(|(address, _)| view.is_validator(*address));
    if !state.former.is_empty() {
        state.former.retain(|address| !view.is_validator(*address));
    }
}

/// Validators that are none any more are remembered: they may say goodbye late.
pub(crate) fn replaced(state: &mut RuleState, before: &[Address], now: &[Address]) {
    for address in before {
        if now.binary_search(address).is_err()
            && let Err(at) = state.former.binary_search(address)
            && state.former.len() < MOST_FORMER
        {
            state.former.insert(at, *address);
        }
    }
}

const MOST_FORMER: usize = 4096;
