//! `bftap export` and `bftap diff` on what `bftap analyze` stored.

use std::fs;

use serde_json::Value;
use tempfile::TempDir;

use crate::common::{network, network_capture, run, scratch};

fn analyze(folder: &TempDir, more: &str) {
    let network = network().display();
    let line = format!(
        "analyze {} --keylog {network}/net.keylog --nodes {network}/net.nodes.json {more}",
        network_capture()
    );
    run(folder.path(), &line).ok();
}

#[test]
fn every_table_becomes_a_file_in_any_format() {
    let folder = scratch();
    analyze(&folder, "--store sqlite://x.db --run night --json run.json");
    let report: Value = serde_json::from_slice(&fs::read(folder.path().join("run.json")).unwrap()).unwrap();
    let counts = report["counts"].as_array().unwrap();

    for format in ["parquet", "csv", "jsonl"] {
        let told = run(
            folder.path(),
            &format!("export --store sqlite://x.db -o out-{format} --format {format}"),
        )
        .ok();
        assert!(told.starts_with("run night of sqlite://x.db\n"), "{told}");
        let files: Vec<_> = fs::read_dir(folder.path().join(format!("out-{format}")))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(files.len(), bftap_store::rows::TABLES.len(), "{files:?}");
        assert!(
            files.iter().all(|file| file.ends_with(&format!(".{format}"))),
            "{files:?}"
        );
        assert!(
            told.contains(&format!(
                "out-{format}/message_count.{format}  {} rows",
                counts.len()
            )),
            "{told}"
        );
    }
    let lines = fs::read_to_string(folder.path().join("out-jsonl/message_count.jsonl")).unwrap();
    let rows: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let csv = fs::read_to_string(folder.path().join("out-csv/message_count.csv")).unwrap();
    assert_eq!(csv.lines().count(), rows.len() + 1);
    // What the report has, the file has, whatever the order.
    let key = |row: &Value| {
        let words = [
            "sequence",
            "round",
            "receiver_ip",
            "kind",
            "messages",
            "useful",
            "regossip",
            "bytes",
            "lower_bound",
        ];
        words.map(|word| row[word].to_string())
    };
    let mut exported: Vec<_> = rows.iter().map(key).collect();
    let mut reported: Vec<_> = counts.iter().map(key).collect();
    exported.sort();
    reported.sort();
    assert_eq!(exported, reported);
    let parquet = fs::read(folder.path().join("out-parquet/message_count.parquet")).unwrap();
    assert!(parquet.starts_with(b"PAR1") && parquet.ends_with(b"PAR1"));
}

#[test]
fn an_export_that_cannot_be_made_leaves_nothing() {
    let folder = scratch();
    analyze(&folder, "--store sqlite://x.db --run night");
    let ran = run(
        folder.path(),
        "export --store sqlite://x.db -o out --table rounds",
    );
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("there is no table rounds; there are run, "),
        "{}",
        ran.stderr
    );
    let ran = run(folder.path(), "export --store sqlite://x.db --run other -o out");
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(!folder.path().join("out").exists());
    // A table that is not as it should be: the files before it are not left behind, nor those of an earlier export replaced.
    run(
        folder.path(),
        "export --store sqlite://x.db -o out --format csv --table run,round",
    )
    .ok();
    let before = fs::read(folder.path().join("out/run.csv")).unwrap();
    fs::write(folder.path().join("in-the-way"), "").unwrap();
    let ran = run(folder.path(), "export --store sqlite://x.db -o in-the-way");
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert_eq!(fs::read(folder.path().join("out/run.csv")).unwrap(), before);
    assert_eq!(fs::read_dir(folder.path().join("out")).unwrap().count(), 2);
}

#[test]
fn two_runs_are_set_side_by_side() {
    let folder = scratch();
    for (name, seed) in [("before", 3), ("after", 4)] {
        run(
            folder.path(),
            &format!("simulate -o {name}.pcapng --nodes 4 --sequences 45 --seed {seed}"),
        )
        .ok();
        run(
            folder.path(),
            &format!(
                "analyze {name}.pcapng --keylog {name}.keylog --nodes {name}.nodes.json --store sqlite://{name}.db --run {name}"
            ),
        )
        .ok();
    }
    let line = "diff before after --store sqlite://before.db --store-b sqlite://after.db";
    let told = run(folder.path(), line).ok();
    assert!(told.contains("redundancy factor"), "{told}");
    let json = run(folder.path(), &format!("{line} --json")).json();
    assert_eq!(json["runs"][0]["run"], "before");
    assert_eq!(json["runs"][1]["heights"], 45);
    assert_eq!(json["comparable"], true, "{told}");
    // Another seed is another course of the same thing: nothing differs.
    let measures = json["measures"].as_array().unwrap();
    assert!(measures.len() > 8, "{told}");
    assert!(measures.iter().all(|row| row["beyond_chance"] != true), "{told}");
    let same = run(
        folder.path(),
        "diff before before --store sqlite://before.db --json",
    )
    .json();
    assert!(
        same["measures"]
            .as_array()
            .unwrap()
            .iter()
            .all(|row| row["difference"] == 0.0 && row["beyond_chance"] == false)
    );
    // Who misbehaved in one of them is told beside the numbers.
    run(
        folder.path(),
        "simulate -o liar.pcapng --nodes 4 --sequences 12 --seed 5 --fault 3:wrong-signatures@3s",
    )
    .ok();
    run(
        folder.path(),
        "analyze liar.pcapng --keylog liar.keylog --nodes liar.nodes.json --store sqlite://before.db --run liar",
    )
    .ok();
    let json = run(
        folder.path(),
        "diff before liar --store sqlite://before.db --json",
    )
    .json();
    assert_eq!(json["runs"][0]["suspicious_events"], serde_json::json!({}));
    let events = json["runs"][1]["suspicious_events"]["bad_signature"]
        .as_u64()
        .unwrap();
    assert!(events > 0);
    let told = run(folder.path(), "diff before liar --store sqlite://before.db").ok();
    let words = told.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        words.contains(&format!("that no honest node shows (bad_signature {events})")),
        "{told}"
    );
    let ran = run(folder.path(), "diff before nothing --store sqlite://before.db");
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr.contains("there are: \"liar\", \"before\""),
        "{}",
        ran.stderr
    );
}
