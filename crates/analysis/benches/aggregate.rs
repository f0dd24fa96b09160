//! Messages a second through the aggregator, from observation to judged heights.

#[path = "../tests/network/mod.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod network;

use std::hint::black_box;

use bftap_analysis::{AnalysisOptions, Observation};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use network::{Network, Tap, judge};

fn aggregate(c: &mut Criterion) {
    let mut network = Network::new(7);
    for sequence in 1..=100 {
        network.height(sequence, &[0]);
    }
    let observations = network.observations();
    let messages = observations
        .iter()
        .filter(|o| matches!(o, Observation::Message(_)))
        .count();
    let mut group = c.benchmark_group("aggregate");
    group.throughput(Throughput::Elements(messages as u64));
    for (name, open_deliveries) in [("in memory", usize::MAX), ("spilling", 1000)] {
        let options = AnalysisOptions {
            open_deliveries,
            ..AnalysisOptions::default()
        };
        group.bench_function(name, |b| {
            b.iter_batched(
                || observations.clone(),
                |observations| black_box(judge(observations, &options, &Tap::All)),
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, aggregate);
criterion_main!(benches);
