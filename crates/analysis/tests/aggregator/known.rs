//! Two runs, one behind the other: together they say what one run over everything says.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use bftap_analysis::facts::HeightFacts;
use bftap_analysis::{Aggregator, AnalysisOptions, KnownPayloads, Observation, ReadFacts, WorkerTotals};
use bftap_model::CaptureTime;

use crate::network::{Collect, Network};

/// Messages, useful, repeats and echoes by sequence, round, receiver and kind.
type Sums = BTreeMap<(u64, u64, IpAddr, String), [u64; 4]>;

fn sums(heights: &[HeightFacts]) -> Sums {
    let counts = heights.iter().flat_map(|height| &height.counts);
    counts
        .map(|count| {
            let key = (
                count.sequence,
                count.round,
                count.receiver_ip,
                count.kind.to_string(),
            );
            (key, [count.messages, count.useful, count.repeats, count.echoes])
        })
        .collect()
}

fn run(
    observations: &[Observation],
    known: &Arc<KnownPayloads>,
    part: impl Fn(i64) -> bool,
) -> (Sums, KnownPayloads) {
    let mut aggregator = Aggregator::new(AnalysisOptions {
        known_payloads: Arc::clone(known),
        ..AnalysisOptions::default()
    });
    for observation in observations {
        let of_part = match observation {
            Observation::Message(message) => part(message.seen.nanos()),
            _ => true,
        };
        if of_part {
            aggregator.push(observation.clone()).unwrap();
        }
    }
    let mut sink = Collect::default();
    let (_, known) = aggregator
        .finish_and_keep(ReadFacts::default(), WorkerTotals::default(), &mut sink)
        .unwrap();
    (sums(&sink.heights), known)
}

#[test]
fn copies_before_a_restart_are_known_behind_it() {
    let mut network = Network::new(4);
    for sequence in 1..6 {
        network.height(sequence, &[0, 1]);
    }
    let observations = network.observations();
    let nothing = Arc::new(KnownPayloads::default());
    let (whole, all_known) = run(&observations, &nothing, |_| true);
    let mut times: Vec<i64> = observations
        .iter()
        .filter_map(|observation| match observation {
            Observation::Message(message) => Some(message.seen.nanos()),
            _ => None,
        })
        .collect();
    times.sort_unstable();
    let mut straddling = 0;
    for cut in times.into_iter().step_by(17) {
        let (first, known) = run(&observations, &nothing, |time| time < cut);
        let (second, known) = run(&observations, &Arc::new(known), |time| time >= cut);
        let mut both = first.clone();
        for (key, counts) in second {
            let sum = both.entry(key).or_default();
            straddling += u64::from(sum[0] > 0);
            sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
        assert_eq!(both, whole, "cut at {cut}");
        // What is known in the end does not depend on the cut either.
        assert_eq!(known, all_known, "cut at {cut}");
    }
    assert!(straddling > 20, "{straddling}");
}

#[test]
fn payloads_of_another_chain_or_run_change_nothing() {
    let mut network = Network::new(4);
    network.height(1, &[0]);
    let observations = network.observations();
    let nothing = Arc::new(KnownPayloads::default());
    let (whole, known) = run(&observations, &nothing, |_| true);
    let mut elsewhere = KnownPayloads::default();
    for (chain, sequence, height) in known.heights() {
        for (receiver, payload, copies) in height.all() {
            let other: Arc<str> = format!("{chain}0").into();
            let at = CaptureTime::from_nanos(1);
            elsewhere.add((other, sequence), at, (receiver, payload), copies);
            elsewhere.add((Arc::clone(chain), sequence + 1), at, (receiver, payload), copies);
        }
    }
    assert!(!elsewhere.is_empty());
    assert_eq!(run(&observations, &Arc::new(elsewhere), |_| true).0, whole);

    let mut aggregator = Aggregator::new(AnalysisOptions {
        known_payloads: Arc::new(known),
        ..AnalysisOptions::default()
    });
    aggregator.forget_known();
    for observation in &observations {
        aggregator.push(observation.clone()).unwrap();
    }
    let mut sink = Collect::default();
    aggregator
        .finish(ReadFacts::default(), WorkerTotals::default(), &mut sink)
        .unwrap();
    assert_eq!(sums(&sink.heights), whole);
}
