//! Fills a store with a long run, so that queries can be measured: a live run that has just been finished.
//!
//! `cargo bench -p bftap-store --bench fill -- STORE [ROWS [END_S [SECONDS]]]`: rows of `delivery` (10,000,000 by default), the
//! time of the last height in seconds since the epoch (now by default), and seconds between heights (1 by default, as the
//! fastest chains have it: the last hour is then nearly a third of ten million rows). A store is a URL. `--no-votes`: without votes and without
//! rounds as nodes lived them.
//!
//! It leaves what monitoring leaves: counts, rounds, links, sums per minute, sessions, a row of `progress` for each batch.
#![allow(
    clippy::disallowed_methods,
    reason = "it ends now by default, and says how long it took"
)]

mod network;

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bftap_store::{Access, Batch, LiveState, NewRun, RunSource, StoreError, StoreUrl, open};

use network::{height, labels, links, run_facts};

const SECOND_NS: i64 = 1_000_000_000;
/// Heights written together: 17,640 deliveries.
const HEIGHTS_PER_BATCH: u64 = 20;

fn main() {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"))
        .collect();
    let folder = tempfile::tempdir().expect("a folder");
    // Without a store, as in `cargo test`: only to see that it works.
    let url = words.first().cloned();
    let small = url.is_none();
    let url = url.unwrap_or_else(|| format!("sqlite://{}", folder.path().join("fill.db").display()));
    let url: StoreUrl = url.parse().expect("a store URL");
    let number = |place: usize, default: u64| {
        words
            .get(place)
            .map_or(default, |word| word.parse().expect("a number"))
    };
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let rows = number(1, if small { 10_000 } else { 10_000_000 });
    let (end, seconds) = (number(2, now), number(3, 1));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let start = Instant::now();
    let heights = rows.div_ceil(882);
    runtime
        .block_on(fill(
            &url,
            heights,
            end as i64 * SECOND_NS,
            seconds as i64 * SECOND_NS,
        ))
        .expect("the store is filled");
    println!(
        "{heights} heights, {} delivery rows in {:.1?}",
        heights * 882,
        start.elapsed()
    );
}

async fn fill(url: &StoreUrl, heights: u64, end_ns: i64, step_ns: i64) -> Result<(), StoreError> {
    let labels = labels();
    let votes = std::env::args().all(|word| word != "--no-votes");
    let mut store = open(url, Access::Write).await?;
    let run = NewRun {
        name: "long run".into(),
        source: RunSource::Live,
        program_version: env!("CARGO_PKG_VERSION").into(),
        selection: None,
        live: true,
        pace_milli: None,
    };
    let first_ns = end_ns - (heights as i64 - 1) * step_ns;
    let run = store.begin_run(&run, first_ns).await?;
    let mut number = 0;
    let mut minute = (first_ns, 0);
    for from in (0..heights).step_by(HEIGHTS_PER_BATCH as usize) {
        let mut batch = Batch::default();
        let mut at_ns = first_ns;
        for sequence in from..heights.min(from + HEIGHTS_PER_BATCH) {
            at_ns = first_ns + sequence as i64 * step_ns;
            let mut facts = height(sequence + 1, at_ns, &labels);
            if !votes {
                facts.votes.clear();
                facts.node_rounds.clear();
            }
            batch.push_height(facts);
            if at_ns / (60 * SECOND_NS) != minute.0 / (60 * SECOND_NS) {
                batch.links.append(&mut links(minute.0, minute.1, &labels));
                minute = (at_ns, 0);
            }
            minute.1 += 1;
        }
        batch.links.append(&mut links(minute.0, minute.1, &labels));
        batch.live = Some(Box::new(LiveState {
            facts: run_facts(from + HEIGHTS_PER_BATCH, first_ns, at_ns, &labels),
            seen_ns: Some(at_ns),
            written_ns: at_ns + SECOND_NS / 5,
            lag_ns: SECOND_NS / 5,
            spooled_batches: 0,
            spooled_bytes: 0,
            thinned_rows: 0,
            thinned_copies: 0,
        }));
        number += 1;
        store.write(run, number, &batch).await?;
    }
    let facts = run_facts(heights, first_ns, end_ns, &labels);
    store.finish_run(run, number + 1, &facts, end_ns).await?;
    store.close().await
}
