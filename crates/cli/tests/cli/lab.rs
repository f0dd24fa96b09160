//! `bftap lab` in a machine of its own: namespaces for network, mounts and processes. As root, with Open vSwitch.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::common::{bftap, scratch};
use crate::machine::Machine;

/// What a receiver got of one kind in one round.
pub(crate) type Key = (String, u64, u64, String);
/// messages, useful, repeats, echoes, invalid, bytes.
pub(crate) type Counts = BTreeMap<Key, [u64; 6]>;

/// What lab nodes say they received.
fn recorded(folder: &Path, nodes: usize) -> Counts {
    let mut counts = Counts::new();
    for node in 1..=nodes {
        for entry in record(folder, node) {
            if entry["what"] != "received" {
                continue;
            }
            let key = (
                format!("10.77.0.{node}"),
                entry["sequence"].as_u64().unwrap(),
                entry["round"].as_u64().unwrap(),
                entry["kind"].as_str().unwrap().to_owned(),
            );
            let row = counts.entry(key).or_default();
            row[0] += 1;
            let copy = match entry["copy"].as_str().unwrap() {
                "first" => 1,
                "repeat" => 2,
                _ => 3,
            };
            row[copy] += 1;
            row[4] += u64::from(entry["valid"] == false);
            row[5] += entry["bytes"].as_u64().unwrap();
        }
    }
    counts
}

fn record(folder: &Path, node: usize) -> Vec<Value> {
    let text = fs::read_to_string(folder.join(format!("cn{node}.jsonl"))).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The same from a report.
pub(crate) fn counted(report: &Value) -> Counts {
    let mut counts = Counts::new();
    for row in report["counts"].as_array().unwrap() {
        let key = (
            row["receiver_ip"].as_str().unwrap().to_owned(),
            row["sequence"].as_u64().unwrap(),
            row["round"].as_u64().unwrap(),
            row["kind"].as_str().unwrap().to_owned(),
        );
        let number = |name: &str| row[name].as_u64().unwrap();
        counts.insert(
            key,
            ["messages", "useful", "repeats", "echoes", "invalid", "bytes"].map(number),
        );
    }
    counts
}

pub(crate) fn assert_same(one: &Counts, name: &str, other: &Counts, other_name: &str) {
    let keys: BTreeSet<_> = one.keys().chain(other.keys()).collect();
    let differ: Vec<_> = keys
        .into_iter()
        .filter(|&key| one.get(key) != other.get(key))
        .map(|key| {
            format!(
                "{key:?}: {name} {:?}, {other_name} {:?}",
                one.get(key),
                other.get(key)
            )
        })
        .collect();
    assert!(
        differ.is_empty(),
        "{} differ:\n{}",
        differ.len(),
        differ.join("\n")
    );
}

fn sum(counts: &Counts, column: usize) -> u64 {
    counts.values().map(|row| row[column]).sum()
}

pub(crate) fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Runs a lab; gives what the monitor counted, and it is what the packets beside it give, and what the nodes recorded.
fn run_lab(machine: &Machine, folder: &Path, nodes: usize, options: &str) -> (Value, Counts) {
    machine.ok(
        folder,
        &format!(
            "lab run --nodes {nodes} --store none --json live.json --write net.pcapng --record rec --keep-keys keys {options}"
        ),
    );
    let live = read_json(&folder.join("live.json"));
    let analyzed = bftap(folder)
        .args([
            "analyze",
            "net.pcapng",
            "--keylog",
            "keys",
            "--nodes",
            "keys.nodes.json",
        ])
        .args(["--store", "none", "--json", "analyzed.json"])
        .output()
        .unwrap();
    assert!(
        analyzed.status.success(),
        "{}",
        String::from_utf8_lossy(&analyzed.stderr)
    );
    let analyzed = read_json(&folder.join("analyzed.json"));
    let (seen, said) = (counted(&live), recorded(&folder.join("rec"), nodes));
    assert_same(&said, "the nodes", &counted(&analyzed), "the capture");
    assert_same(&said, "the nodes", &seen, "the monitor");
    let sessions = |report: &Value| report["sessions"].as_array().unwrap().clone();
    assert!(
        sessions(&live)
            .iter()
            .all(|session| session["state"] == "decrypted")
    );
    for session in sessions(&analyzed) {
        // Every header's and frame's MAC, of every session.
        let states = (&session["state"], &session["mac"]);
        assert_eq!(states, (&"decrypted".into(), &"verified".into()));
    }
    (live, seen)
}

#[test]
fn seven_nodes_are_counted_message_for_message() {
    let Some(machine) = Machine::new() else { return };
    let folder = scratch();
    let before = machine.traces();
    let (live, counts) = run_lab(&machine, folder.path(), 7, "--for 20");
    // 21 pairs; one that was dialled from both ends may have tried twice.
    assert!(live["sessions"].as_array().unwrap().len() >= 21);
    let heights: BTreeSet<_> = counts.keys().map(|key| key.1).collect();
    assert!(heights.len() >= 10, "{heights:?}");
    let factor = sum(&counts, 0) as f64 / sum(&counts, 1) as f64;
    assert!(factor > 1.5, "redundancy {factor}");
    assert_eq!(machine.traces(), before, "nothing is left behind");
}

#[test]
fn direct_sending_has_no_redundancy() {
    let Some(machine) = Machine::new() else { return };
    let folder = scratch();
    let (_, counts) = run_lab(&machine, folder.path(), 4, "--for 8 --direct");
    assert!(sum(&counts, 0) > 100);
    assert_eq!(sum(&counts, 0), sum(&counts, 1), "each message is useful");
}

#[test]
fn the_quorum_dialect_and_multichannel_too() {
    let Some(machine) = Machine::new() else { return };
    for options in [
        "--dialect quorum --for 8",
        "--channels 2 --simultaneous-dials --for 8",
    ] {
        let folder = scratch();
        let (_, counts) = run_lab(&machine, folder.path(), 4, options);
        assert!(sum(&counts, 0) > 100, "{options}");
    }
}

#[test]
fn misbehaviour_shows_in_the_numbers() {
    let Some(machine) = Machine::new() else { return };
    let folder = scratch();
    let (live, _) = run_lab(
        &machine,
        folder.path(),
        7,
        "--for 25 --round-timeout 2s --fault 2:equivocation --fault 3:silent --fault 5:flood=300",
    );
    let messages = bftap(folder.path())
        .args([
            "messages",
            "net.pcapng",
            "--keylog",
            "keys",
            "--nodes",
            "keys.nodes.json",
            "--json",
        ])
        .output()
        .unwrap();
    let messages: Vec<Value> = String::from_utf8(messages.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let by = |role: &str, name: &str| messages.iter().filter(|message| message[role] == name).count();
    assert_eq!((by("signer", "cn3"), by("sender", "cn3")), (0, 0), "it is silent");
    assert!(by("receiver", "cn3") > 100, "and hears");
    let others = by("sender", "cn1").max(by("sender", "cn7"));
    assert!(
        by("sender", "cn5") > 3 * others,
        "{} against {others}",
        by("sender", "cn5")
    );
    let mut proposals: BTreeMap<(u64, u64), BTreeSet<String>> = BTreeMap::new();
    for message in &messages {
        if message["kind"] == "preprepare" && message["signer"] == "cn2" {
            let view = (
                message["sequence"].as_u64().unwrap(),
                message["round"].as_u64().unwrap(),
            );
            proposals
                .entry(view)
                .or_default()
                .insert(message["digest"].to_string());
        }
    }
    assert!(
        proposals.values().any(|digests| digests.len() == 2),
        "{proposals:?}"
    );
    let decided = live["rounds"].as_array().unwrap().iter();
    let decided = decided.filter(|round| round["outcome"] == "decided").count();
    // Two of seven turns to propose cost rounds of seconds each.
    assert!(decided >= 3, "the chain goes on: {decided}");
}

#[test]
fn down_leaves_nothing_whatever_happened_before() {
    let Some(machine) = Machine::new() else { return };
    let folder = scratch();
    let folder = folder.path();
    let before = machine.traces();
    // Up, status, a second one in the way, down, down again.
    let up = machine.ok(
        folder,
        "lab up --nodes 4 --taps 2 --ports internal --controller test --host-address",
    );
    assert!(up.contains("10.77.0.4") && up.contains("for 10.77.0.6"), "{up}");
    let status: Value = serde_json::from_str(&machine.ok(folder, "lab status --json")).unwrap();
    assert_eq!(status["switch"], true);
    assert!(
        status["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .all(|node| !node["pids"].as_array().unwrap().is_empty())
    );
    assert!(status["taps"].as_array().unwrap().len() == 2);
    let second = machine.run(folder, "lab up --nodes 4");
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("lab down --dir /run/bftap-lab"));
    // They speak to each other through the controller's rules, and to the machine.
    machine.wait_for(
        "a decided block",
        "grep -q '\"what\":\"decided\"' /run/bftap-lab/nodes/1/record.jsonl && echo yes",
    );
    let name = status["nodes"][0]["namespace"].as_str().unwrap().to_owned();
    machine.wait_for(
        "an answer of the machine's own address",
        &format!(
            "ip netns exec {name} timeout 5 bash -c 'echo > /dev/tcp/10.77.0.254/9' 2>&1 | grep -q refused && echo yes"
        ),
    );
    machine.ok(folder, "lab down");
    assert_eq!(machine.traces(), before);
    machine.ok(folder, "lab down");

    // Nodes of the user's, that drop the mark of their lab. Another lab has no room beside it, and touches nothing of it.
    machine.ok(
        folder,
        "lab up --nodes 2 --dir /run/one --node-cmd env${IFS}-i${IFS}sleep${IFS}1{i}0",
    );
    machine.wait_for("its nodes", "pgrep -x sleep | wc -l | grep -q 2 && echo yes");
    let one = machine.traces();
    assert!(one.contains("sleep 110") && one.contains("sleep 120"), "{one}");
    let two = machine.run(folder, "lab up --nodes 2 --dir /run/two");
    assert_eq!(two.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&two.stderr).contains("another Open vSwitch in user space"));
    machine.ok(folder, "lab down --dir /run/two");
    assert_eq!(machine.traces(), one, "the other lab is untouched");
    machine.ok(folder, "lab down --dir /run/one");
    assert_eq!(machine.traces(), before);

    // Killed in the middle of up, at several places, and in the middle of run.
    for millis in [10, 15, 20, 30, 60, 120, 300, 600] {
        let mut up = machine
            .bftap(folder, "lab up --nodes 5")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(millis));
        machine.shell("kill -9 $(pgrep -x bftap)");
        let _ = up.wait();
        machine.ok(folder, "lab down");
        assert_eq!(machine.traces(), before, "killed after {millis} ms");
    }
    let mut ran = machine
        .bftap(folder, "lab run --nodes 4 --for 60 --store none")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    machine.wait_for(
        "a decided block",
        "grep -q '\"what\":\"decided\"' /run/bftap-lab/nodes/1/record.jsonl && echo yes",
    );
    machine.shell("kill -9 $(pgrep -f 'bftap lab run')");
    let _ = ran.wait();
    machine.ok(folder, "lab down");
    assert_eq!(machine.traces(), before, "nodes, monitor and switch are gone");
}

#[test]
fn what_cannot_be_is_said() {
    let folder = scratch();
    for (line, part) in [
        ("lab up --subnet 10.77.0.0/30", "is not a subnet"),
        (
            "lab up --nodes 4 --fault 5:silent",
            "nodes are numbered from 1 to 4",
        ),
        ("lab up --fault 3:bored", "stale-rounds"),
        ("lab up --controller pox", "tcp:127.0.0.1:6633"),
        (
            "lab up --fault 3:silent --node-cmd x",
            "not for those of --node-cmd",
        ),
        ("lab run --nodes 0", "nothing to run"),
    ] {
        let ran = crate::common::run(folder.path(), line);
        assert_eq!(ran.code, 2, "{line}: {}", ran.stderr);
        assert!(ran.stderr.contains(part), "{line}: {}", ran.stderr);
    }
    let ran = crate::common::run(folder.path(), "lab status --dir nowhere");
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("there is no lab in"), "{}", ran.stderr);
}
