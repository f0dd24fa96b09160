//! How long the phases of rounds took, over all heights.

use std::collections::BTreeMap;

use bftap_model::CaptureTime;

use crate::facts::{ChainName, PhaseFact};
use crate::histogram::Histogram;
use crate::round::Rounds;

/// Names of the phases, sorted; their places here are the keys of the sums.
const NAMES: [&str; 5] = [
    "block_time",
    "preprepare_to_committed",
    "preprepare_to_prepared",
    "prepared_to_committed",
    "roundchange_to_preprepare",
];

/// Durations by phase.
pub(crate) type Phases = BTreeMap<u8, Histogram>;

/// Adds what the rounds of one height gave that count.
pub(crate) fn add(phases: &mut Phases, judged: &Rounds) {
    let there = judged.rounds.iter().filter(|(fact, _)| fact.standing.is_there());
    for (fact, notes) in there {
        let between = |from: Option<CaptureTime>, to: Option<CaptureTime>| Some(to?.since(from?).0);
        let durations = [
            fact.block_time_ns,
            between(fact.preprepare_ns, fact.committed_ns),
            between(fact.preprepare_ns, fact.prepared_ns),
            between(fact.prepared_ns, fact.committed_ns),
            between(notes.asked_for, fact.preprepare_ns),
        ];
        for (phase, duration) in (0..).zip(durations) {
            // Where the clock was set back nobody knows how long it took.
            if let Some(duration) = duration.filter(|duration| *duration >= 0) {
                phases.entry(phase).or_default().note(duration);
            }
        }
    }
}

/// The rows of a chain, sorted by phase.
pub(crate) fn rows(chain: &ChainName, phases: &Phases) -> Vec<PhaseFact> {
    let row = |(&phase, durations): (&u8, &Histogram)| {
        let at = |percent| durations.quantile(percent).unwrap_or(0);
        PhaseFact {
            chain: chain.clone(),
            phase: NAMES[usize::from(phase)].into(),
            rounds: durations.count(),
            p50_ns: at(50),
            p95_ns: at(95),
            p99_ns: at(99),
            max_ns: at(100),
        }
    };
    phases.iter().map(row).collect()
}
