//! Precision and recall of the rules over scenarios from seeds; `bench/scenarios` runs it.
//!
//! `scenarios A..B` plays the seeds from A to B-1 and prints a table in Markdown, and what was wrong on standard error. `scenarios N` plays one
//! and tells all of it.

#[path = "../tests/scenarios/judge.rs"]
mod judge;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use judge::Verdict;

fn main() -> ExitCode {
    let argument = std::env::args().nth(1).unwrap_or_else(|| "1..1001".to_owned());
    if let Ok(seed) = argument.parse() {
        let verdict = judge::judge(seed, true);
        eprintln!("{}", verdict.wrong.join("\n"));
        return ExitCode::from(u8::from(!verdict.wrong.is_empty()));
    }
    let span = argument.split_once("..");
    let Some((Ok(from), Ok(to))) = span.map(|(from, to)| (from.parse::<u64>(), to.parse::<u64>())) else {
        eprintln!("usage: scenarios [A..B | SEED]");
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
