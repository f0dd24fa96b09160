//! Rows of `delivery` a second into a SQLite file, and how long replacing such a run takes.
//!
//! `cargo bench -p bftap-store --bench delivery [-- ROWS]`; 2,000,000 rows by default. The whole way is timed: facts of
//! heights as the analysis gives them, the thread, the last commit. The network has seven validators that gossip, so a
//! height has 882 deliveries, 21 counts and a round; nodes are shown by address, as without a nodes file.
//!
//! Plain timed main: one run is long enough, and criterion would repeat minutes.
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::net::IpAddr;
use std::time::Instant;

use bftap_analysis::facts::{CountFact, DeliveryFact, HeightFacts, Label, Outcome, RoundFact, RunFacts};
use bftap_ibft_decode::Kind;
use bftap_model::CaptureTime;
use bftap_store::{NewRun, RunSource, StoreUrl, StoreWriter, WriterOptions};

const NODES: u8 = 7;
const KINDS: [Kind; 3] = [Kind::Preprepare, Kind::Prepare, Kind::Commit];

fn main() {
    let rows = std::env::args()
        .filter_map(|word| word.parse().ok())
        .next()
        .unwrap_or(2_000_000);
    let folder = tempfile::tempdir().expect("a folder for the bench");
    let file = folder.path().join("bench.db");
    let url: StoreUrl = format!("sqlite://{}", file.display())
        .parse()
        .expect("a store URL");
    for what in ["new run", "same run again, replacing the first"] {
        measure(what, &url, rows);
        let size = std::fs::metadata(&file).map_or(0, |metadata| metadata.len());
        println!("  file {} MB, {} bytes a row", size / 1_000_000, size / rows);
    }
}

fn measure(what: &str, url: &StoreUrl, rows: u64) {
    let run = NewRun {
        name: "bench".into(),
        source: RunSource::Analyze,
        program_version: "bench".into(),
        selection: None,
        live: false,
        pace_milli: None,
    };
    let labels: Vec<Label> = (0..NODES)
        .map(|node| format!("0x{}", format!("{node:02x}").repeat(20)).into())
        .collect();
    let start = Instant::now();
    let mut writer =
        StoreWriter::open(url, &run, &WriterOptions::default()).expect("an empty folder can be written");
    let (mut written, mut sequence) = (0, 0);
    while written < rows {
        let height = height(sequence, &labels);
        written += height.deliveries.len() as u64;
        sequence += 1;
        writer.height(height).expect("rows are written");
    }
    let fed = start.elapsed();
    writer.finish(RunFacts::default()).expect("the run is finished");
    let total = start.elapsed();
    let rate = written as f64 / total.as_secs_f64();
    println!(
        "{what}: {written} delivery rows in {total:.2?} (last height after {fed:.2?}): {rate:.0} rows/s"
    );
}

fn height(sequence: u64, labels: &[Label]) -> HeightFacts {
    let chain: Label = "1000/0x00".into();
    let ip = |node: u8| IpAddr::from([10, 0, 0, node + 1]);
    let at = CaptureTime::from_nanos(1_795_251_683_887_116_812 + sequence as i64 * 1_000_000_000);
    let mut height = HeightFacts::default();
    for kind in KINDS {
        for receiver in 0..NODES {
            height.counts.push(CountFact {
                chain: chain.clone(),
                receiver_ip: ip(receiver),
                receiver: labels[usize::from(receiver)].clone(),
                sequence,
                round: 0,
                kind,
                messages: 42,
                useful: 6,
                repeats: 30,
                echoes: 6,
                invalid: 0,
                bytes: 42 * 304,
                lower_bound: false,
                first_seen: at,
                last_seen: at,
            });
        }
    }
    for receiver in 0..NODES {
        for sender in (0..NODES).filter(|sender| *sender != receiver) {
            for signer in 0..NODES {
                for kind in KINDS {
                    height.deliveries.push(DeliveryFact {
                        chain: chain.clone(),
                        receiver_ip: ip(receiver),
                        sender: labels[usize::from(sender)].clone(),
                        signer: labels[usize::from(signer)].clone(),
                        sequence,
                        round: 0,
                        kind,
                        copies: 1,
                        first_seen: at,
                        last_seen: at,
                    });
                }
            }
        }
    }
    height.rounds.push(RoundFact {
        chain,
        sequence,
        round: 0,
        proposer: Some(labels[0].clone()),
        validators: Some(7),
        quorum: Some(5),
        preprepare_ns: Some(at),
        prepared_ns: Some(at),
        committed_ns: Some(at),
        messages: 882,
        outcome: Outcome::Decided,
    });
    height
}
