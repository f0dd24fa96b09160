//! Rules find what simulated nodes did, blame whom they must, and nobody else: a few of the scenarios of `bench/scenarios`.

mod judge;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// Scenarios that are played here.
const SEEDS: std::ops::Range<u64> = 1..41;

#[test]
fn rules_say_what_the_nodes_own_log_says() {
    let next = AtomicU64::new(SEEDS.start);
    let wrong = Mutex::new(Vec::new());
    let workers = thread::available_parallelism().map_or(1, usize::from).min(4);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= SEEDS.end {
                        break;
                    }
                    let verdict = judge::judge(seed, false);
                    wrong.lock().unwrap().extend(verdict.wrong);
                }
            });
        }
    });
    let mut wrong = wrong.into_inner().unwrap();
    wrong.sort();
    assert!(wrong.is_empty(), "{} lines:\n{}", wrong.len(), wrong.join("\n"));
}
