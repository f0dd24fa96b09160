//! `bftap analyze --checkpoint`: a capture in two files, one run after the other.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::common::{run, scratch};
use serde_json::Value;

/// A simulated capture at one node, whole and cut in two between any two packets.
fn halves(folder: &Path) {
    run(
        folder,
        "simulate -o net.pcap --nodes 4 --sequences 6 --seed 7 --tap 1",
    )
    .ok();
    let capture = fs::read(folder.join("net.pcap")).unwrap();
    let mut records = Vec::new();
    let mut at = 24;
    while at < capture.len() {
        records.push(at);
        at += 16 + u32::from_le_bytes(capture[at + 8..at + 12].try_into().unwrap()) as usize;
    }
    let cut = records[records.len() * 6 / 10];
    fs::write(folder.join("one.pcap"), &capture[..cut]).unwrap();
    fs::write(
        folder.join("two.pcap"),
        [&capture[..24], &capture[cut..]].concat(),
    )
    .unwrap();
}

fn analyze(folder: &Path, line: &str) -> Value {
    let options = "--keylog net.keylog --nodes net.nodes.json --store none --json -";
    run(folder, &format!("analyze {line} {options}")).json()
}

fn sums(reports: &[&Value]) -> BTreeMap<String, [u64; 4]> {
    let mut sums: BTreeMap<String, [u64; 4]> = BTreeMap::new();
    for row in reports
        .iter()
        .flat_map(|report| report["counts"].as_array().unwrap())
    {
        let key = ["chain", "receiver", "sequence", "round", "kind"].map(|key| row[key].to_string());
        let sum = sums.entry(key.join(" ")).or_default();
        for (sum, key) in sum.iter_mut().zip(["messages", "useful", "repeats", "echoes"]) {
            *sum += row[key].as_u64().unwrap();
        }
    }
    sums
}

#[test]
fn the_second_file_goes_on_where_the_first_one_ends() {
    let folder = scratch();
    let folder = folder.path();
    halves(folder);
    let whole = analyze(folder, "net.pcap");
    let one = analyze(folder, "one.pcap --checkpoint state");
    let alone = analyze(folder, "two.pcap");
    let two = analyze(folder, "two.pcap --checkpoint state");
    assert!(alone["totals"]["searched_bytes"].as_u64().unwrap() > 0);
    assert_eq!(two["totals"]["searched_bytes"], 0);
    let (together, whole) = (sums(&[&one, &two]), sums(&[&whole]));
    let lost: u64 = whole
        .iter()
        .map(|(key, counts)| counts[0] - together.get(key).map_or(0, |counts| counts[0]))
        .sum();
    assert!(lost <= 6, "{lost}");
    for (key, counts) in &whole {
        let found = together.get(key).copied().unwrap_or_default();
        assert!(
            found[0] < counts[0] || found == *counts,
            "{key}: {found:?} {counts:?}"
        );
    }
    let versions = |report: &Value| -> Vec<String> {
        let sessions = report["sessions"].as_array().unwrap().iter();
        sessions
            .map(|session| session["capabilities"].to_string())
            .collect()
    };
    assert_eq!(versions(&two), versions(&one));
}

#[cfg(unix)]
#[test]
fn the_file_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = scratch();
    let folder = folder.path();
    halves(folder);
    analyze(folder, "one.pcap --checkpoint state");
    let state = folder.join("state");
    let mode = || fs::metadata(&state).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o600);
    fs::set_permissions(&state, fs::Permissions::from_mode(0o644)).unwrap();
    let line = "analyze two.pcap --checkpoint state --keylog net.keylog --store none";
    let told = run(folder, line);
    assert_eq!(told.code, 0);
    assert!(told.stderr.contains("chmod 600"), "{}", told.stderr);
    assert_eq!(mode(), 0o600, "the one that is written is its owner's again");
}

#[test]
fn a_checkpoint_that_cannot_be_used_is_wrong_usage_and_stays() {
    let folder = scratch();
    let folder = folder.path();
    halves(folder);
    analyze(folder, "one.pcap --checkpoint state");
    let good = fs::read(folder.join("state")).unwrap();
    for (content, words) in [
        (&b"precious data"[..], "not a checkpoint"),
        (&good[..good.len() / 2], "it was cut"),
        (b"{\"bftap_checkpoint\":9}", "version 9"),
    ] {
        fs::write(folder.join("state"), content).unwrap();
        let ran = run(folder, "analyze two.pcap --checkpoint state --store none");
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        assert!(ran.stderr.contains(words), "{}", ran.stderr);
        assert_eq!(fs::read(folder.join("state")).unwrap(), content);
    }
    let ran = run(folder, "analyze two.pcap --checkpoint no/state --store none");
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("is not there"), "{}", ran.stderr);
}
