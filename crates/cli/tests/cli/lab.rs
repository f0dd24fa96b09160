//! `bftap lab` in a machine of its own: namespaces for network, mounts and processes. As root, with Open vSwitch.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::common::{bftap, scratch};

/// A machine of a test's own: nothing in it has a name outside, and all that runs in it ends with this.
struct Machine {
    unshare: Child,
    /// Its first process, as seen from outside.
    first: u32,
}

impl Machine {
    /// `None` where that is not possible, or Open vSwitch is missing: said on standard error, and with `CI` set it fails.
    fn new() -> Option<Self> {
        match Self::make() {
            Ok(machine) => Some(machine),
            Err(why) => {
                let text = format!("no lab: {why} (scripts/setup --lab, as root)");
                assert!(std::env::var_os("CI").is_none(), "{text}");
                eprintln!("NOT TESTED: {text}");
                None
            }
        }
    }

    fn make() -> Result<Self, String> {
        for tool in ["unshare", "nsenter", "ip", "ethtool", "ovs-vsctl", "ovs-vswitchd"] {
            let found = Command::new("sh")
                .args(["-c", "PATH=$PATH:/usr/sbin:/sbin command -v \"$0\"", tool])
                .stdout(Stdio::null())
                .status();
            if !found.is_ok_and(|status| status.success()) {
                return Err(format!("{tool} is not installed"));
            }
        }
        const HOLD: &str = "mount -t tmpfs none /run && mkdir /run/netns && ip link set lo up && \
                            echo ready && read -r line";
        let mut unshare = Command::new("unshare")
            .args(["--net", "--mount", "--propagation", "private"])
            .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["sh", "-c", HOLD])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("unshare: {error}"))?;
        let mut line = String::new();
        if let Some(stdout) = unshare.stdout.take() {
            // Nothing comes where it is refused.
            let _ = BufReader::new(stdout).read_line(&mut line);
        }
        let id = unshare.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        let first = children.split_whitespace().next().and_then(|id| id.parse().ok());
        match first.filter(|_| line.trim() == "ready") {
            Some(first) => Ok(Self { unshare, first }),
            None => {
                let _ = unshare.kill();
                let _ = unshare.wait();
                Err("unshare is refused".to_owned())
            }
        }
    }

    /// A command that runs in it, in a folder.
    fn command(&self, folder: &Path, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--target={}", self.first))
            .args(["--net", "--mount", "--pid", "--", "env", "-C"])
            .arg(folder)
            .arg(program)
            .env_remove("BFTAP_STORE")
            .env_remove("SUDO_UID")
            .stdin(Stdio::null());
        command
    }

    /// `bftap` with arguments separated by spaces.
    fn bftap(&self, folder: &Path, line: &str) -> Command {
        let mut command = self.command(folder, env!("CARGO_BIN_EXE_bftap"));
        command.args(line.split_whitespace());
        command
    }

    fn run(&self, folder: &Path, line: &str) -> Output {
        self.bftap(folder, line).output().unwrap()
    }

    /// Runs it, and it goes well.
    fn ok(&self, folder: &Path, line: &str) -> String {
        let output = self.run(folder, line);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "{line}: {}{}",
            text(&output.stdout),
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    /// Output of a shell.
    fn shell(&self, script: &str) -> String {
        let mut command = self.command(Path::new("/"), "sh");
        let output = command.args(["-c", script]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Interfaces, namespaces, processes (by name) and the files in /run: what a lab might leave behind.
    fn traces(&self) -> String {
        let script = "ip -o link | cut -d: -f2 | sort; ip netns list; find /run | sort; \
                      for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline; echo; done | sort";
        let own = |line: &&str| !line.contains("ip -o link") && !line.trim().is_empty();
        let text = self.shell(script);
        let lines: Vec<_> = text
            .lines()
            .filter(own)
            .filter(|line| !line.starts_with("tr ") && !line.starts_with("sort"))
            .collect();
        lines.join("\n")
    }

    fn wait_for(&self, what: &str, script: &str) {
        for _ in 0..600 {
            if self.shell(script).contains("yes") {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("{what} does not come: {}", self.traces());
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(self.unshare.stdin.take());
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}

/// What a receiver got of one kind in one round.
type Key = (String, u64, u64, String);
/// messages, useful, repeats, echoes, invalid, bytes.
type Counts = BTreeMap<Key, [u64; 6]>;

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
fn counted(report: &Value) -> Counts {
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

fn assert_same(one: &Counts, name: &str, other: &Counts, other_name: &str) {
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

fn read_json(path: &Path) -> Value {
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
        "--for 20 --round-timeout 1s --fault 2:equivocation --fault 3:silent --fault 5:flood=300",
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
    assert!(decided >= 5, "the chain goes on: {decided}");
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

    // Nodes of the user's. Another lab has no room beside it, and touches nothing of it.
    machine.ok(
        folder,
        "lab up --nodes 2 --dir /run/one --node-cmd sleep${IFS}1{i}0",
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
    for millis in [30, 120, 300, 600] {
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
