//! Precision and recall of the rules over scenarios from seeds; `bench/scenarios` runs it.
//!
//! `scenarios A..B` plays the seeds from A to B-1 and prints a table in Markdown, and what was wrong on standard error. `scenarios N` plays one
//! and tells all of it. `scenarios --check` plays healthy networks for 500 blocks each, in which no rule may have anything to say.

#[path = "../tests/scenarios/judge.rs"]
mod judge;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use bftap_model::Nanos;
use bftap_simnet::{Gossip, SimulateOptions};
use bftap_testkit::scenario::Scenario;
use judge::Verdict;

/// Nodes and gossip of healthy networks. What 21 nodes that pass everything on say is too much for memory: `bench/scenarios` writes it to a file.
const HEALTHY: [(usize, Gossip); 2] = [(7, Gossip::Flood), (21, Gossip::Direct)];

/// Plays healthy networks; any event of a rule is wrong.
fn check() -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for (nodes, gossip) in HEALTHY {
        let about = format!("{nodes} nodes, {gossip:?}, 500 blocks");
        let scenario = Scenario {
            seed: 0,
            about: vec![about.clone()],
            options: SimulateOptions {
                nodes,
                gossip,
                sequences: Some(500),
                background: false,
                latency: Nanos::from_millis(1),
                ..SimulateOptions::default()
            },
            named: true,
            must: Vec::new(),
            may: Vec::new(),
        };
        let verdict = judge::judge_scenario(&scenario, false);
        println!(
            "{about}: {} consensus messages, {} events of rules",
            verdict.messages,
            verdict.scores.values().map(|score| score.events).sum::<u64>()
        );
        if !verdict.wrong.is_empty() {
            eprintln!("{}", verdict.wrong.join("\n"));
            code = ExitCode::FAILURE;
        }
    }
    code
}

fn main() -> ExitCode {
    let argument = std::env::args().nth(1).unwrap_or_else(|| "1..1001".to_owned());
    if argument == "--check" {
        return check();
    }
    if let Ok(seed) = argument.parse() {
        let verdict = judge::judge(seed, true);
        eprintln!("{}", verdict.wrong.join("\n"));
        return ExitCode::from(u8::from(!verdict.wrong.is_empty()));
    }
    let span = argument.split_once("..");
    let Some((Ok(from), Ok(to))) = span.map(|(from, to)| (from.parse::<u64>(), to.parse::<u64>())) else {
        eprintln!("usage: scenarios [A..B | SEED | --check]");
        return ExitCode::from(2);
    };
    let next = AtomicU64::new(from);
    let sum = Mutex::new(Verdict::default());
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= to {
                        break;
                    }
                    let verdict = judge::judge(seed, false);
                    if let Ok(mut sum) = sum.lock() {
                        sum.add(verdict);
                    }
                }
            });
        }
    });
    let Ok(mut sum) = sum.into_inner() else {
        return ExitCode::FAILURE;
    };
    sum.wrong.sort_by_key(|line| {
        let seed = line.split(':').next().and_then(|seed| seed.parse::<u64>().ok());
        (seed, line.clone())
    });
    for line in &sum.wrong {
        eprintln!("{line}");
    }
    println!(
        "{} scenarios (seeds {from} to {}), {} of them with nothing suspicious in them; {} consensus messages.\n",
        sum.scenarios,
        to.saturating_sub(1),
        sum.honest,
        sum.messages
    );
    print!("{}", sum.table());
    ExitCode::from(u8::from(!sum.wrong.is_empty()))
}
