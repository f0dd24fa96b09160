//! `bftap messages` as users run it.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use crate::common::{bftap, network_capture, network_options, run, scratch};
use serde_json::Value;

fn options() -> String {
    network_options().replace(" --store none", "")
}

fn lines(filters: &str) -> Vec<Value> {
    let folder = scratch();
    let text = run(
        folder.path(),
        &format!("messages {} {} --json {filters}", network_capture(), options()),
    )
    .ok();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn every_message_is_one_line_in_the_order_of_time() {
    let folder = scratch();
    let report = run(
        folder.path(),
        &format!(
            "analyze {} {} --store none --json -",
            network_capture(),
            options()
        ),
    )
    .json();
    let all = lines("");
    assert_eq!(report["totals"]["consensus_messages"], all.len());
    assert!(all.is_sorted_by_key(|line| line["time_ns"].as_i64().unwrap()));
    let text = run(
        folder.path(),
        &format!("messages {} {}", network_capture(), options()),
    )
    .ok();
    assert_eq!(text.lines().count(), all.len());
    assert!(
        text.lines()
            .next()
            .unwrap()
            .contains(all[0]["receiver"].as_str().unwrap())
    );
}

/// A payload that came in k copies has copies 1 to k, and the histogram agrees with the report's.
#[test]
fn copies_are_numbered() {
    let folder = scratch();
    let report = run(
        folder.path(),
        &format!(
            "analyze {} {} --store none --json -",
            network_capture(),
            options()
        ),
    )
    .json();
    let mut most = std::collections::BTreeMap::new();
    for line in lines("") {
        let key = (line["receiver_ip"].to_string(), line["payload"].to_string());
        let copy = line["copy"].as_u64().unwrap();
        assert_eq!(most.insert(key, copy).unwrap_or(0) + 1, copy, "{line}");
    }
    let mut histogram = std::collections::BTreeMap::new();
    for ((receiver, _), copies) in most {
        *histogram.entry((receiver, copies)).or_insert(0u64) += 1;
    }
    let rows = report["copies"].as_array().unwrap();
    let expected = rows
        .iter()
        .map(|row| {
            (
                (row["receiver_ip"].to_string(), row["copies"].as_u64().unwrap()),
                row["payloads"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(histogram, expected);
}

#[test]
fn filters_hold_together() {
    let all = lines("");
    let some = lines(
        "--receiver cn1 --receiver 10.0.0.2 --sender cn3 --kind prepare --kind commit --sequence 2..3 --round 0",
    );
    let expected = all
        .iter()
        .filter(|line| ["cn1", "cn2"].contains(&line["receiver"].as_str().unwrap()))
        .filter(|line| line["sender"] == "cn3" && (line["kind"] == "prepare" || line["kind"] == "commit"))
        .filter(|line| line["sequence"] == 2 || line["sequence"] == 3)
        .count();
    assert!(expected > 0);
    assert_eq!(some.len(), expected);
    let signed = lines("--signer cn2");
    assert!(!signed.is_empty() && signed.iter().all(|line| line["signer"] == "cn2"));
    assert_eq!(lines("--signer 10.0.0.2").len(), signed.len());
    assert!(lines("--round 9").is_empty());
}

#[test]
fn names_that_nobody_has_are_refused() {
    let folder = scratch();
    let ran = run(
        folder.path(),
        &format!("messages {} {} --sender cn9", network_capture(), options()),
    );
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("no node is named cn9"), "{}", ran.stderr);
}

#[test]
fn a_closed_pipe_ends_it_at_once() {
    let folder = scratch();
    for line in ["messages", "messages --json"] {
        let mut command = bftap(folder.path());
        command
            .args(line.split_whitespace())
            .arg(network_capture())
            .args(options().split_whitespace());
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        stdout.read_line(&mut first).unwrap();
        assert!(!first.is_empty());
        drop(stdout);
        let output = child.wait_with_output().unwrap();
        assert_eq!(
            output.status.code(),
            Some(0),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    }
}

#[test]
fn nothing_to_show_says_why() {
    let folder = scratch();
    let told = |filters: &str| {
        let line = format!("messages {} {} {filters}", network_capture(), options());
        let ran = run(folder.path(), &line);
        assert_eq!((ran.code, ran.stdout.as_str()), (0, ""));
        ran.stderr
    };
    let part = told("--sequence 70..80");
    assert!(
        part.contains("nothing lies in the part asked for; there are consensus messages of heights 1 to "),
        "{part}"
    );
    let filters = told("--kind roundchange");
    assert!(
        filters.contains("no message passes the filters, out of "),
        "{filters}"
    );
}

#[test]
fn sessions_without_a_secret_are_told() {
    let folder = scratch();
    let ran = run(folder.path(), &format!("messages {}", network_capture()));
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""));
    assert!(
        ran.stderr
            .contains("without a secret: their messages are not shown"),
        "{}",
        ran.stderr
    );
}

/// Names that come by IP address only are those of the keys seen there: sender, receiver and signer agree.
#[test]
fn a_node_named_by_its_address_alone_has_one_name_in_all_columns() {
    let folder = scratch();
    let words: Vec<String> = options().split(' ').map(str::to_owned).collect();
    let [_, keylog, _, nodes] = &words[..] else {
        panic!("two options with values: {words:?}")
    };
    let known: Vec<Value> = serde_json::from_slice(&std::fs::read(nodes).unwrap()).unwrap();
    let by_ip: Vec<Value> = known
        .iter()
        .map(|node| serde_json::json!({"name": node["name"], "ip": node["ip"]}))
        .collect();
    let file = folder.path().join("by-ip.json");
    std::fs::write(&file, serde_json::to_vec(&by_ip).unwrap()).unwrap();
    let text = run(
        folder.path(),
        &format!(
            "messages {} --keylog {keylog} --nodes {} --json",
            network_capture(),
            file.display()
        ),
    )
    .ok();
    let expected = lines("");
    let found: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        for column in ["sender", "receiver"] {
            assert_eq!(found[column], expected[column]);
        }
        // Until Hello has shown a node's key its votes are shown by address; it has no name that contradicts.
        assert!(found["signer"] == expected["signer"] || found["signer"].as_str().unwrap().starts_with("0x"));
    }
    let named = found
        .iter()
        .zip(&expected)
        .filter(|(found, expected)| found["signer"] == expected["signer"]);
    assert!(named.count() * 10 > expected.len() * 9);
}
