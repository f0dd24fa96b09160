//! That memory is bounded: 100 validators, one tapped receiver, and as many heights as are asked for.
//!
//! `-- HEIGHTS [--live] [--check]`: with `--live`, what changed is judged every ten heights, as a monitor does; else all at the end, as for a
//! file. `--check` fails where something that has a bound is over it, or the process took more memory than the bounds allow.

#[path = "../tests/network/mod.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod network;

use std::convert::Infallible;
use std::process::ExitCode;

use bftap_analysis::facts::{FactSink, HeightFacts, LinkCountFact, Outcome};
use bftap_analysis::{
    Aggregator, AnalysisOptions, Bounds, KnownPayloads, Now, Observation, Residents, WorkerTotals,
};
use network::hundred::Hundred;

/// Heights between two updates of a monitor.
const BETWEEN: u64 = 10;
/// What the program may take besides what grows with heights: twice what was measured with the default options.
const MOST_BYTES: u64 = 768 << 20;
/// What each height may take once it left memory: keys and places.
const MOST_BYTES_A_HEIGHT: u64 = 512;

#[derive(Default)]
struct Count {
    heights: u64,
    decided: u64,
}

impl FactSink for Count {
    type Error = Infallible;

    fn height(&mut self, height: &HeightFacts) -> Result<(), Infallible> {
        self.heights += 1;
        let decided = height
            .rounds
            .iter()
            .any(|round| round.outcome == Outcome::Decided);
        self.decided += u64::from(decided);
        Ok(())
    }

    fn minute(&mut self, _: &[LinkCountFact]) -> Result<(), Infallible> {
        Ok(())
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let heights: u64 = arguments
        .iter()
        .find_map(|argument| argument.parse().ok())
        // As a test it only shows that it runs.
        .unwrap_or(if has("--bench") { 10_000 } else { 50 });
    let options = AnalysisOptions::default();
    let bounds = Bounds::of(&options);
    let world = Hundred::new(100);
    let mut aggregator = Aggregator::new(options);
    if has("--live") {
        aggregator.track_changes();
    }
    let mut problems = Vec::new();
    let mut most = Residents::default();
    let push = |aggregator: &mut Aggregator, observation: Observation| {
        aggregator.push(observation).expect("a temporary file");
    };
    for session in world.sessions() {
        push(&mut aggregator, session);
    }
    for sequence in 1..=heights {
        world.height(sequence, &mut |message| push(&mut aggregator, message));
        if sequence % BETWEEN == 0 || sequence == heights {
            if has("--live") {
                let now = Now {
                    read: world.read(),
                    open: world.ends(sequence),
                    ..Now::default()
                };
                aggregator.update(now).expect("a temporary file");
            }
            let residents = aggregator.residents();
            problems.extend(
                bounds
                    .broken(&residents)
                    .map(|broken| format!("height {sequence}: {broken:?}")),
            );
            most.raise(&residents);
        }
    }
    for end in world.over(heights) {
        push(&mut aggregator, end);
    }
    let before_the_end = memory("VmHWM:");
    let mut count = Count::default();
    let (facts, known) = aggregator
        .finish_and_keep(world.read(), WorkerTotals::default(), &mut count)
        .expect("a temporary file");
    let peak = memory("VmHWM:");
    println!(
        "{heights} heights of 100 validators at one receiver, {}: peak {} MiB, {} MiB before the end; {} decided; \
         most: {most:?}; known payloads {}; limits reached {:?}",
        if has("--live") { "live" } else { "from a file" },
        peak >> 20,
        before_the_end >> 20,
        count.decided,
        known.len(),
        facts.totals.limits_reached,
    );
    if known.len() > KnownPayloads::ENTRIES {
        problems.push(format!("{} payloads are known", known.len()));
    }
    if count.heights != heights || count.decided != heights {
        problems.push(format!("{} heights, {} decided", count.heights, count.decided));
    }
    let allowed = MOST_BYTES + MOST_BYTES_A_HEIGHT * heights;
    if peak > allowed {
        problems.push(format!("{peak} bytes of memory, {allowed} at most"));
    }
    if has("--check") && !problems.is_empty() {
        eprintln!("{}", problems.join("\n"));
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Memory of this process, in bytes.
fn memory(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}
