//! The whole run as rules see it: sessions, sums over heights and minutes, and what each chain's heights left.

use std::collections::BTreeMap;

use bftap_model::{Address, CaptureTime};

use super::per_minute::{Found, MinuteBook, stretches};
use super::stalled_chain::{self, Stall};
use super::state::Trouble;
use super::troubles::Teller;
use super::whereabouts::Whereabouts;
use super::{RuleOptions, connection_churn, forbidden_code, future_flood, slow_proposer, undecodable_flood};
use crate::aggregator::SessionParties;
use crate::closing::ChainState;
use crate::facts::{ChainName, EventFact};
use crate::knowledge::Knowledge;
use crate::minutes::minute_of;
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
    /// Frames that do not decode, by party and start of the minute, and when the first of them was seen.
    pub(crate) undecodable: &'a BTreeMap<(u32, i64), (u64, CaptureTime)>,
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
        time: CaptureTime,
        detail: String,
    ) -> EventFact {
        let mut event = EventFact::new(rule, time, detail);
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
    let teller = Teller {
        options: run.options,
        places: run.places(),
        who: &run.knowledge.resolved,
        usual: slow_proposer::usual(&state.rules.paces),
    };
    let base = |rule, time| run.event(rule, chain, time, String::new());
    let until = trouble.back.map_or((trouble.last, true), |back| (back, false));
    teller.event(base, validator, trouble, until)
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
    let base = run.event(stalled_chain::RULE, chain, from, String::new());
    stalled_chain::describe(run.options, &run.knowledge.losses, base, &stall)
}

/// Floods of messages that came before their time.
fn early(run: &RunView<'_>, events: &mut Vec<EventFact>) {
    for (chain, tally) in run.tallies {
        let mut senders: BTreeMap<_, BTreeMap<i64, Found>> = BTreeMap::new();
        for (&(address, ip, second), &messages) in &tally.early {
            let second = CaptureTime::from_nanos(second);
            let of_minute = senders.entry((address, ip)).or_default();
            let found = of_minute.entry(minute_of(second)).or_insert(Found {
                messages: 0,
                against: 0,
                receiver: 0,
                first: second,
            });
            found.messages = found.messages.saturating_add(messages);
            found.first = found.first.min(second);
        }
        for ((address, ip), mut minutes) in senders {
            minutes.retain(|_, found| found.messages >= run.options.future_per_minute);
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
                let mut event = run.event(future_flood::RULE, chain, stretch.first, detail);
                event.suspicious = true;
                run.places().blame_sender(&mut event, &party);
                stretch.tell(&mut event);
                events.push(event);
            }
        }
    }
}
