//! Rows of `delivery` a second into a store, and how long replacing such a run takes.
//!
//! `cargo bench -p bftap-store --bench delivery [-- ROWS] [STORE...]`; 2,000,000 rows by default. A store is a URL, or
//! `mariadb` or `postgresql` for a server of its own with that server's default settings; without any it is a SQLite file.
//! The whole way is timed: facts of heights as the analysis gives them, the thread, the last commit.
//!
//! Plain timed main: one run is long enough, and criterion would repeat minutes.
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

mod network;

use std::time::Instant;

use bftap_analysis::facts::RunFacts;
use bftap_store::{NewRun, RunSource, StoreUrl, StoreWriter, WriterOptions};
use bftap_testkit::servers::{Database, DatabaseServer, Durability};

use network::{height, labels};

fn main() {
    // Only `cargo bench` says `--bench`; as a test the code runs once, with little.
    let small = !std::env::args().any(|word| word == "--bench");
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"))
        .collect();
    let rows = words.iter().find_map(|word| word.parse().ok());
    let rows = rows.unwrap_or(if small { 2_000 } else { 2_000_000 });
    let stores: Vec<_> = words.iter().filter(|word| word.parse::<u64>().is_err()).collect();
    if stores.is_empty() {
        let folder = tempfile::tempdir().expect("a folder for the bench");
        let file = folder.path().join("bench.db");
        measure("SQLite", &format!("sqlite://{}", file.display()), rows);
        let size = std::fs::metadata(&file).map_or(0, |metadata| metadata.len());
        println!("  file {} MB, {} bytes a row", size / 1_000_000, size / rows);
    }
    for store in stores {
        let database = match &**store {
            "mariadb" => Database::MariaDb,
            "postgresql" => Database::PostgreSql,
            url => {
                measure("store", url, rows);
                continue;
            }
        };
        if let Some(server) = DatabaseServer::start(database, Durability::Full) {
            measure(store, &server.user_url(&server.fresh_database()), rows);
        }
    }
}

fn measure(what: &str, url: &str, rows: u64) {
    let url: StoreUrl = url.parse().expect("a store URL");
    write("new run", what, &url, rows);
    write("same run again, replacing the first", what, &url, rows);
}

fn write(how: &str, what: &str, url: &StoreUrl, rows: u64) {
    let run = NewRun {
        name: "bench".into(),
        source: RunSource::Analyze,
        program_version: "bench".into(),
        selection: None,
        live: false,
        pace_milli: None,
    };
    let labels = labels();
    let start = Instant::now();
    let mut writer =
        StoreWriter::open(url, &run, &WriterOptions::default()).expect("the store can be written");
    let (mut written, mut sequence) = (0, 0);
    while written < rows {
        let at = 1_795_251_683_887_116_812 + sequence as i64 * 1_000_000_000;
        let height = height(sequence, at, &labels);
        written += height.deliveries.len() as u64;
        sequence += 1;
        writer.height(height).expect("rows are written");
    }
    let fed = start.elapsed();
    writer.finish(RunFacts::default()).expect("the run is finished");
    let total = start.elapsed();
    let rate = written as f64 / total.as_secs_f64();
    println!(
        "{what}, {how}: {written} delivery rows in {total:.2?} (last height after {fed:.2?}): {rate:.0} rows/s"
    );
}
