//! A disk that is full for a while: what is written meanwhile waits, and is exact afterwards.
//!
//! The disk is a small file system in memory, in a mount namespace of a process of its own.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bftap_analysis::Update;
use bftap_store::{Access, NewRun, StoreUrl, StoreWriter, WriterOptions, open};

use crate::facts::{height, link, new_run, run_facts};

const DISK: &str = "BFTAP_TEST_DISK";

#[test]
fn results_wait_until_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let script = r#"mount -t tmpfs -o size=16m none "$1" && exec "$0" --exact full_disk::on_the_small_disk --nocapture"#;
    let command = |what: &str| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", what]);
        command.arg(std::env::current_exe().unwrap()).arg(folder.path());
        command
    };
    let may = command(r#"mount -t tmpfs none "$1""#).output();
    if !may.is_ok_and(|output| output.status.success()) {
        assert!(
            std::env::var_os("CI").is_none(),
            "the test needs a mount namespace"
        );
        eprintln!("skipped: no mount namespace here");
        return;
    }
    let output = command(script).env(DISK, folder.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test]
async fn on_the_small_disk() {
    let Some(disk) = std::env::var_os(DISK) else {
        return;
    };
    let disk = Path::new(&disk);
    let url: StoreUrl = format!("sqlite://{}", disk.join("a.db").display())
        .parse()
        .unwrap();
    let run = NewRun {
        live: true,
        ..new_run("first")
    };
    let mut writer = StoreWriter::open(&url, &run, &WriterOptions::default()).unwrap();
    let status = writer.status();
    let ballast = disk.join("ballast");
    let mut sequence = 0;
    let mut go_on = |writer: &mut StoreWriter| {
        let update = Update {
            heights: vec![height(sequence)],
            links: vec![link(sequence)],
            facts: run_facts(),
            ..Update::default()
        };
        writer
            .update(update, Some(sequence as i64), Duration::ZERO)
            .unwrap();
        sequence += 1;
        sequence
    };
    for _ in 0..20 {
        go_on(&mut writer);
    }
    // As much as there is.
    let mut filled = 0_u64;
    while std::fs::write(disk.join(format!("ballast{filled}")), vec![1; 64 << 10]).is_ok() {
        filled += 1;
    }
    std::fs::write(&ballast, [1; 4096]).unwrap_or_default();
    while !status.away.load(Ordering::Relaxed) {
        go_on(&mut writer);
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(
        status.last_error().contains("disk is full"),
        "{}",
        status.last_error()
    );
    let mut heights = 0;
    for _ in 0..100 {
        heights = go_on(&mut writer);
    }
    assert!(status.spooled_batches.load(Ordering::Relaxed) > 90);
    for number in 0..=filled {
        let _ = std::fs::remove_file(disk.join(format!("ballast{number}")));
    }
    let _ = std::fs::remove_file(ballast);
    for sequence in 0..heights {
        writer.height(height(sequence)).unwrap();
    }
    let id = writer.finish(run_facts()).unwrap().run;
    let mut store = open(&url, Access::Read).await.unwrap();
    let counts = store.counts(id, 0..=i64::MAX, None, 1_000_000).await.unwrap();
    let expected: usize = (0..heights).map(|sequence| height(sequence).counts.len()).sum();
    assert_eq!(counts.len(), expected);
    let messages: i64 = counts.iter().map(|count| count.messages).sum();
    let expected: u64 = (0..heights)
        .flat_map(|sequence| height(sequence).counts)
        .map(|count| count.messages)
        .sum();
    assert_eq!(messages as u64, expected);
}
