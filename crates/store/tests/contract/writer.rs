//! The store on a thread of its own.

use bftap_analysis::facts::{FactSink, RunFacts};
use bftap_store::{Access, StoreError, StoreUrl, StoreWriter, WriterOptions, open};

use crate::facts::{height, link, new_run, run_facts};
use crate::sqlite::SqliteFile;
use crate::suite::Backend;

fn write(file: &SqliteFile, name: &str, heights: u64) {
    let mut writer = StoreWriter::open(&file.url(), &new_run(name), &WriterOptions::default()).unwrap();
    for sequence in 0..heights {
        writer.height(height(sequence)).unwrap();
    }
    let run = writer.run();
    assert_eq!(writer.finish(run_facts()).unwrap().run, run);
}

async fn total(file: &SqliteFile, what: &str) -> String {
    file.sql(&format!("SELECT {what}")).await.remove(0).remove(0)
}

#[tokio::test]
async fn what_goes_in_by_either_door_is_stored() {
    let file = SqliteFile::new();
    let mut writer = StoreWriter::open(&file.url(), &new_run("first"), &WriterOptions::default()).unwrap();
    // Enough rows for several batches.
    for sequence in 0..5000 {
        if sequence % 2 == 0 {
            writer.height(height(sequence)).unwrap();
        } else {
            FactSink::height(&mut writer, &height(sequence)).unwrap();
        }
        if sequence % 100 == 0 {
            FactSink::minute(&mut writer, &[link(sequence)]).unwrap();
        }
    }
    writer.finish(run_facts()).unwrap();
    assert_eq!(
        total(
            &file,
            "SUM(prepare) FROM consensus_round_counts WHERE node = 'cn1'"
        )
        .await,
        "200000"
    );
    assert_eq!(total(&file, "COUNT(*) FROM delivery").await, "15000");
    assert_eq!(total(&file, "COUNT(*) FROM round").await, "5000");
    assert_eq!(total(&file, "SUM(messages) FROM link_count").await, "18000");
    assert_eq!(total(&file, "COUNT(*) FROM session").await, "1");
    assert_ne!(total(&file, "batches FROM run").await, "1");
}

#[tokio::test]
async fn dropped_or_abandoned_it_leaves_the_old_run() {
    let file = SqliteFile::new();
    write(&file, "first", 3);
    let mut writer = StoreWriter::open(&file.url(), &new_run("first"), &WriterOptions::default()).unwrap();
    for sequence in 0..5000 {
        writer.height(height(sequence)).unwrap();
    }
    drop(writer);
    let states = "SELECT state, problem FROM run ORDER BY run_id";
    assert_eq!(
        file.sql(states).await,
        [
            ["complete", "-"],
            ["failed", "the analysis ended before it was finished"]
        ]
    );
    assert_eq!(total(&file, "COUNT(*) FROM round").await, "3");

    let mut writer = StoreWriter::open(&file.url(), &new_run("first"), &WriterOptions::default()).unwrap();
    writer.height(height(1)).unwrap();
    writer.abandon("stopped by the user").unwrap();
    assert_eq!(
        file.sql(states).await,
        [["complete", "-"], ["failed", "stopped by the user"]]
    );
    assert_eq!(total(&file, "COUNT(*) FROM round").await, "3");
}

#[tokio::test]
async fn errors_come_back_at_a_later_call_and_once() {
    let file = SqliteFile::new();
    write(&file, "first", 3);
    let mut writer = StoreWriter::open(&file.url(), &new_run("first"), &WriterOptions::default()).unwrap();
    write(&file, "first", 3);
    // The run is gone: refused with the first batch, noticed a few batches later.
    let error = (0..100_000)
        .find_map(|_| writer.height(height(7)).err())
        .expect("the error comes back");
    assert!(matches!(error, StoreError::TakenOver { .. }), "{error}");
    let error = writer.finish(RunFacts::default()).unwrap_err();
    assert!(matches!(error, StoreError::Stopped), "{error}");
    assert_eq!(total(&file, "COUNT(*) FROM round").await, "3");
}

#[tokio::test]
async fn two_writers_of_one_name_do_not_mix() {
    let file = SqliteFile::new();
    let mut slow = StoreWriter::open(&file.url(), &new_run("first"), &WriterOptions::default()).unwrap();
    slow.height(height(1)).unwrap();
    write(&file, "first", 3);
    let error = slow.finish(run_facts()).unwrap_err();
    assert!(matches!(error, StoreError::TakenOver { .. }), "{error}");
    assert!(error.to_string().contains("--run"), "{error}");
    assert_eq!(
        file.sql("SELECT name, state FROM run").await,
        [["first", "complete"]]
    );
    assert_eq!(total(&file, "COUNT(*) FROM round").await, "3");
}

#[tokio::test]
async fn what_cannot_be_written_is_known_at_once() {
    let file = SqliteFile::new();
    std::fs::write(file.path(), "not a database, but a text").unwrap();
    let refused = |url: &str| {
        StoreWriter::open(
            &url.parse().unwrap(),
            &new_run("first"),
            &WriterOptions::default(),
        )
        .unwrap_err()
    };
    let error = StoreWriter::open(&file.url(), &new_run("first"), &WriterOptions::default()).unwrap_err();
    assert!(matches!(error, StoreError::NotADatabase { .. }), "{error}");
    assert!(matches!(refused("none"), StoreError::NoStore));
    for url in [
        "mysql://ann:hunter2@127.0.0.1:1/bft",
        "postgres://ann:hunter2@127.0.0.1:1/bft",
    ] {
        let error = refused(url);
        assert!(matches!(error, StoreError::Unreachable { .. }), "{error}");
        assert!(error.is_transient());
        let text = format!("{error} {error:?}");
        assert!(
            text.contains("cannot be reached") && !text.contains("hunter2"),
            "{text}"
        );
    }
    let error =
        StoreWriter::open(&StoreUrl::SqliteMemory, &new_run(""), &WriterOptions::default()).unwrap_err();
    assert!(matches!(error, StoreError::RunName { found: 0, .. }), "{error}");
}

#[tokio::test]
async fn reading_goes_on_while_rows_are_written() {
    let file = SqliteFile::new();
    write(&file, "first", 3);
    let mut writer = StoreWriter::open(&file.url(), &new_run("first"), &WriterOptions::default()).unwrap();
    let mut reader = open(&file.url(), Access::Read).await.unwrap();
    let old = reader.find_run(Some("first")).await.unwrap();
    for sequence in 0..4000 {
        writer.height(height(sequence)).unwrap();
        if sequence % 1000 == 0 {
            assert_eq!(reader.find_run(Some("first")).await.unwrap(), old);
        }
    }
    let run = writer.finish(run_facts()).unwrap().run;
    assert_eq!(reader.find_run(Some("first")).await.unwrap().run_id, run.0);
    assert_eq!(reader.counts(run, 3999..=3999, None, 100).await.unwrap().len(), 6);
}

/// What is not wanted is not written; everything else is.
#[tokio::test]
async fn votes_can_be_left_out() {
    let file = SqliteFile::new();
    for (votes, expected) in [(true, ["2", "4", "6"]), (false, ["0", "0", "6"])] {
        let options = WriterOptions {
            votes,
            ..WriterOptions::default()
        };
        let mut writer = StoreWriter::open(&file.url(), &new_run("first"), &options).unwrap();
        writer.height(height(5)).unwrap();
        writer.finish(run_facts()).unwrap();
        let counted = "SELECT (SELECT COUNT(*) FROM node_round), (SELECT COUNT(*) FROM vote), \
                       (SELECT COUNT(*) FROM message_count)";
        assert_eq!(file.sql(counted).await, [expected]);
    }
}
