//! Lists of the run that heights and nodes fill.

use crate::facts::{CopiesFact, NodeFact, RunFacts};
use crate::knowledge::Knowledge;
use crate::tally::{Summed as _, Tallies, Tally};
use crate::{delays, participation, phases, waste, what_if};

/// Adds to the lists what heights and nodes tell; nodes get their names here.
pub(crate) fn complete(
    facts: &mut RunFacts,
    nodes: Vec<NodeFact>,
    tallies: &Tallies,
    candidates: u64,
    knowledge: &Knowledge,
) {
    facts.totals.other_flows += candidates;
    let mut all = Tally::default();
    for (chain, tally) in tallies {
        all.skipped_rounds.add(&tally.skipped_rounds);
        all.claimed_rounds.add(&tally.claimed_rounds);
        all.copies.add(&tally.copies);
        facts.waste.extend(waste::rows(chain, &tally.waste, knowledge));
        let degree = knowledge.what_if_degree;
        facts.what_if.extend(what_if::rows(chain, &tally.what_if, degree));
        facts.phases.extend(phases::rows(chain, &tally.phases));
        facts.delays.extend(delays::rows(chain, &tally.delays, knowledge));
        let validators = participation::rows(chain, &tally.participation, knowledge);
        facts.participation.extend(validators);
    }
    for (limit, rounds) in [
        ("empty_rounds", all.skipped_rounds),
        ("claimed_rounds", all.claimed_rounds),
    ] {
        if rounds > 0 {
            *facts.totals.limits_reached.entry(limit.to_owned()).or_default() += rounds;
        }
    }
    facts.nodes = nodes;
    let row = |(&(receiver_ip, copies), &payloads)| CopiesFact {
        receiver_ip,
        copies,
        payloads,
    };
    facts.copies = all.copies.iter().map(row).collect();
}
