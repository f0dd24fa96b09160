//! The whole run as rules see it: sessions, sums over heights and minutes, and what each chain's heights left.

use std::collections::BTreeMap;

use bftap_model::{Address, CaptureTime};

use super::per_minute::{Found, MinuteBook, stretches};
use super::stalled_chain::{self, Stall};
use super::state::{MISSING, PARTIAL, SILENT, SLOW, Trouble};
use super::whereabouts::Whereabouts;
use super::{
    RuleOptions, connection_churn, forbidden_code, future_flood, missing_proposer, partial_sender,
    silent_validator, slow_proposer, undecodable_flood,
};
use crate::aggregator::SessionParties;
use crate::closing::ChainState;
use crate::facts::{ChainName, EventFact};
use crate::knowledge::Knowledge;
use crate::observation::SessionEnd;
use crate::tally::Tallies;
use crate::who::ResolvedParty;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct RunView<'a> {
    pub(crate) knowledge: &'a Knowledge,
    pub(crate) options: &'a RuleOptions,
    /// No message is left out on the user's wish.
    pub(crate) whole: bool,
    pub(crate) sessions: &'a [(SessionEnd, SessionParties)],
    pub(crate) tallies: &'a Tallies,
    /// What the last height of each chain left.
    pub(crate) states: &'a BTreeMap<ChainName, ChainState>,
    pub(crate) minutes: &'a MinuteBook,
    /// Frames that do not decode, by party and start of the minute.
    pub(crate) undecodable: &'a BTreeMap<(u32, i64), u64>,
}

impl<'a> RunView<'a> {
    pub(super) fn party(&self, party: u32) -> &'a ResolvedParty {
        &self.knowledge.resolved.parties[party as usize]
    }

    pub(super) fn places(&self) -> &'a Whereabouts {
        &self.knowledge.places
    }

    pub(super) fn event(
        &self,
        rule: &'static str,
        chain: &ChainName,
        time: i64,
        detail: String,
    ) -> EventFact {
        let mut event = EventFact::new(rule, CaptureTime::from_nanos(time), detail);
        event.chain = chain.clone();
        event
    }

    /// A chain that a party's sessions are on: of several the first.
    pub(super) fn chain_of(&self, party: u32) -> ChainName {
        let names = self
            .sessions
            .iter()
            .filter(|(_, session)| session.parties.contains(&party))
            .map(|(_, session)| &self.knowledge.names[session.slot as usize]);
        names.min().cloned().unwrap_or_else(|| "unknown".into())
    }
}

/// Events over the whole run, and of what lasts until its end.
pub(crate) fn of_run(run: &RunView<'_>, events: &mut Vec<EventFact>) {
    for (chain, state) in run.states {
        for (validator, trouble) in &state.rules.troubles {
            events.extend(lasting(run, chain, *validator, trouble, state));
        }
        events.extend(stalled(run, chain, state));
    }
    early(run, events);
    run.minutes.events(run, events);
    undecodable_flood::judge(run, events);
    forbidden_code::judge(run, events);
    connection_churn::judge(run, events);
}

/// Something that is amiss with a validator until now.
fn lasting(
    run: &RunView<'_>,
    chain: &ChainName,
    validator: Address,
    trouble: &Trouble,
    state: &ChainState,
) -> Option<EventFact> {
    let who = &run.knowledge.resolved;
    let label = who.names.label_of(validator);
    let event = |rule| run.event(rule, chain, trouble.from.nanos(), String::new());
    let mut event = match trouble.kind {
        SILENT => {
            let (to, open) = trouble.back.map_or((trouble.last, true), |back| (back, false));
            silent_validator::describe(
                run.options,
                event(silent_validator::RULE),
                &label,
                trouble,
                to,
                open,
            )
        }
        MISSING => missing_proposer::describe(run.options, event(missing_proposer::RULE), &label, trouble),
        SLOW => {
            let usual = slow_proposer::usual(&state.rules.paces);
            slow_proposer::describe(run.options, event(slow_proposer::RULE), &label, trouble, usual)
        }
        PARTIAL => partial_sender::describe(run.options, event(partial_sender::RULE), &label, trouble),
        _ => None,
    }?;
    run.places().blame_signer(&mut event, validator, who);
    Some(event)
}

/// A chain that stands still until now.
fn stalled(run: &RunView<'_>, chain: &ChainName, state: &ChainState) -> Option<EventFact> {
    let &(decided, from) = state.rules.decided.last()?;
    let next = decided.checked_add(1)?;
    let undecided = state
        .rules
        .undecided
        .as_ref()
        .filter(|undecided| undecided.sequence == next);
    // Packets may be of a time that the clock was set back from.
    let set_back = state.rules.latest.is_some_and(|latest| latest > from);
    let latest = run.places().latest(chain).filter(|_| run.whole && !set_back);
    let stall = Stall {
        from,
        to: undecided.map(|undecided| undecided.last).max(latest)?,
        sequence: next,
        rounds: undecided.map_or(0, |undecided| undecided.rounds),
        open: true,
    };
    let base = run.event(stalled_chain::RULE, chain, from.nanos(), String::new());
    stalled_chain::describe(run.options, &run.knowledge.losses, base, &stall)
}

/// Floods of messages that came before their time.
fn early(run: &RunView<'_>, events: &mut Vec<EventFact>) {
    for (chain, tally) in run.tallies {
        let mut senders: BTreeMap<_, BTreeMap<i64, Found>> = BTreeMap::new();
        for (&(address, ip, minute), &messages) in &tally.early {
            if messages >= run.options.future_per_minute {
                let found = Found {
                    messages,
                    against: 0,
                    receiver: 0,
                };
                senders.entry((address, ip)).or_default().insert(minute, found);
            }
        }
        for ((address, ip), minutes) in senders {
            let party = ResolvedParty {
                ip,
                id: None,
                address,
                label: run.knowledge.resolved.names.label(ip, address),
            };
            for stretch in stretches(minutes.into_iter()) {
                let detail = format!(
                    "{} handed over {} message(s) for heights more than {} above the chain's, up to {} in a minute",
                    party.label, stretch.messages, run.options.future_heights, stretch.most
                );
                let mut event = run.event(future_flood::RULE, chain, stretch.from, detail);
                event.suspicious = true;
                run.places().blame_sender(&mut event, &party);
                stretch.tell(&mut event);
                events.push(event);
            }
        }
    }
}
