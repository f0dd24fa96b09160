//! What a height costs a monitor for as long as it runs, when it is closed and judged long ago: memory, temporary file, journal.
//!
//! Heights of 7 gossiping nodes, and the memory of the process before and after many more of them. `-- HEIGHTS` says how many.

#[path = "../tests/network/mod.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod network;

use bftap_analysis::{Aggregator, AnalysisOptions, Now, Observation};
use network::Network;

/// Heights between two updates: more than a live monitor sees, so that updates are no part of what is measured.
const BETWEEN: u64 = 50;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let measured = arguments.iter().any(|argument| argument == "--bench");
    let heights: u64 = arguments
        .iter()
        .find_map(|argument| argument.parse().ok())
        // As a test it only shows that it runs.
        .unwrap_or(if measured { 40_000 } else { 200 });
    let options = AnalysisOptions {
        open_deliveries: 20_000,
        ..AnalysisOptions::default()
    };
    let mut aggregator = Aggregator::new(options);
    aggregator.keep_changes();
    aggregator.track_changes();
    let mut journal = 0;
    let mut sequence = 0;
    let mut run = |aggregator: &mut Aggregator, heights: u64| {
        let until = sequence + heights;
        while sequence < until {
            // A network of its own, so that what the benchmark makes does not stay in memory. Its sessions never end.
            let mut network = Network::new(7);
            for _ in 0..BETWEEN {
                sequence += 1;
                network.height(sequence, &[0]);
            }
            for observation in network.observations() {
                if !matches!(observation, Observation::End(..)) {
                    aggregator.push(observation).expect("a temporary file");
                }
            }
            aggregator.update(Now::default()).expect("a temporary file");
            journal += aggregator.changes(&[], false).messages.len();
        }
        journal
    };
    // Caches fill and tables grow.
    let warm = run(&mut aggregator, heights);
    let before = resident();
    let after_journal = run(&mut aggregator, heights);
    let after = resident();
    println!(
        "{heights} heights of 7 nodes after {heights}: {} bytes of memory and {} bytes of journal a height; {} MiB in all",
        after.saturating_sub(before) / heights,
        (after_journal - warm) as u64 / heights,
        after >> 20,
    );
}

/// Memory of this process, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}
