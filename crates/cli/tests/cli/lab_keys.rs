//! Secrets that come late to a monitor at a lab's mirror, over TLS, with either end away for a while.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::common::{bftap, run, scratch};
use crate::lab::{assert_same, counted, read_json};
use crate::machine::Machine;

const NODES: usize = 4;

/// A lab whose nodes wait for the file `go`, and start again when they are killed.
struct Waiting<'m> {
    machine: &'m Machine,
    folder: &'m Path,
    mirror: String,
    key_logs: String,
}

impl<'m> Waiting<'m> {
    fn up(machine: &'m Machine, folder: &'m Path) -> Self {
        // A lab of lab nodes draws their identities, which those of the next one take over.
        machine.ok(folder, &format!("lab up --nodes {NODES}"));
        machine.shell(&format!(
            "mkdir {0}/ids {0}/rec && cd /run/bftap-lab && cp nodes.json {0}/ids && \
             for i in 1 2 3 4; do cp nodes/$i/key {0}/ids/$i.key; done",
            folder.display()
        ));
        machine.ok(folder, "lab down");
        let node = format!(
            "cd {}; while [ ! -e go ]; do sleep 0.1; done; while [ -e go ]; do {} lab-node --nodes ids/nodes.json \
             --key ids/{{i}}.key --keylog {{keylog}} --record rec/cn{{i}}.jsonl --round-timeout 2s; sleep 1; done",
            folder.display(),
            env!("CARGO_BIN_EXE_bftap"),
        );
        let output = machine
            .bftap(folder, &format!("lab up --nodes {NODES} --node-cmd"))
            .arg(node)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let status: Value = serde_json::from_str(&machine.ok(folder, "lab status --json")).unwrap();
        let text = |name: &str| status[name].as_str().unwrap().to_owned();
        Self {
            machine,
            folder,
            mirror: text("mirror"),
            key_logs: text("keylogs"),
        }
    }

    fn said(&self, file: &str) -> String {
        fs::read_to_string(self.folder.join(file)).unwrap_or_default()
    }

    fn until(&self, what: &str, met: impl Fn() -> bool) {
        for _ in 0..1200 {
            if met() {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!(
            "not within two minutes: {what}; {}\n{}",
            self.said("live.err"),
            self.said("receive.err")
        );
    }

    fn until_said(&self, file: &str, words: &str) {
        self.until(&format!("{file} has {words:?}"), || {
            self.said(file).contains(words)
        });
    }

    /// How many sessions the monitor has in a state, by its last line.
    fn sessions(&self, state: &str) -> usize {
        let said = self.said("live.err");
        let whole = said.rfind('\n').map_or("", |end| &said[..end]);
        let last = whole.lines().rfind(|line| line.contains("; sessions "));
        let states = last.and_then(|line| line.split("; sessions ").nth(1)?.split(';').next());
        states
            .into_iter()
            .flat_map(|states| states.split(", "))
            .find_map(|entry| entry.strip_suffix(state)?.trim().parse().ok())
            .unwrap_or(0)
    }

    fn until_all_are_open(&self, at_least: usize) {
        self.until("all sessions are decrypted", || {
            self.sessions("decrypted") >= at_least && self.sessions("without secret") == 0
        });
    }

    /// Blocks on the chain of the first node.
    fn decided(&self) -> usize {
        self.said("rec/cn1.jsonl").matches("\"what\":\"decided\"").count()
    }

    fn until_the_chain_grew(&self, by: usize) {
        let before = self.decided();
        self.until("the chain goes on", || self.decided() >= before + by);
    }

    fn monitor(&self, more: &str) -> Child {
        let reading = self.said("live.err").matches("reading ").count();
        let line = format!(
            "live -i {} --port 32323 --nodes ids/nodes.json --keys-listen 127.0.0.1:9465 --keys-dir ca/receiver --store none \
             --json live.json --log-every 1 {more}",
            self.mirror
        );
        let live = self.machine.start(self.folder, &line, "live.err");
        self.until("the monitor reads", || {
            self.said("live.err").matches("reading ").count() > reading
        });
        live
    }

    fn end(&self, mut monitor: Child) -> Value {
        self.machine.signal("INT", "live");
        let ended = monitor.wait().unwrap();
        assert!(ended.success(), "{ended}: {}", self.said("live.err"));
        read_json(&self.folder.join("live.json"))
    }

    fn go(&self) {
        fs::write(self.folder.join("go"), "").unwrap();
    }

    /// To the monitor, or to `keys receive`.
    fn ship(&self, node: usize, port: u16) -> Child {
        let line = format!(
            "keys ship --to 127.0.0.1:{port} --dir ca/shipper-cn{node} --state cn{node}.places {}/cn{node}.keylog",
            self.key_logs
        );
        self.machine.start(self.folder, &line, &format!("cn{node}.err"))
    }

    fn receive(&self) -> Child {
        let line = "keys receive --listen 127.0.0.1:9466 --dir ca/receiver --out received";
        self.machine.start(self.folder, line, "receive.err")
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // So that nodes do not start again while they are stopped.
        let _ = fs::remove_file(self.folder.join("go"));
    }
}

fn certificates(folder: &Path) {
    run(
        folder,
        "keys init ca --receiver 127.0.0.1 --shipper cn1 cn2 cn3 cn4",
    )
    .ok();
}

fn assert_all_decrypted(report: &Value) {
    for session in report["sessions"].as_array().unwrap() {
        assert_eq!(session["state"], "decrypted", "{session}");
    }
}

#[test]
fn secrets_that_are_shipped_late_open_everything() {
    let Some(machine) = Machine::new() else { return };
    let folder = scratch();
    let folder = folder.path();
    certificates(folder);
    run(folder, "keys init other --shipper cn9").ok();
    fs::copy(folder.join("ca/ca.pem"), folder.join("other/shipper-cn9/ca.pem")).unwrap();

    let lab = Waiting::up(&machine, folder);
    let monitor = lab.monitor("--keylog received --write net.pcapng --state state");
    lab.go();
    // Seconds of traffic for which nobody has a secret.
    lab.until("blocks are decided", || lab.decided() >= 5);
    lab.until("sessions wait", || lab.sessions("without secret") >= 6);
    assert_eq!(lab.sessions("decrypted"), 0);

    // One node's to the monitor itself; the others' to a receiver that is not there yet.
    let mut shippers = vec![lab.ship(1, 9465)];
    lab.until("those of cn1 are open", || lab.sessions("decrypted") >= 3);
    assert!(lab.sessions("without secret") >= 3);
    shippers.extend((2..=NODES).map(|node| lab.ship(node, 9466)));
    lab.until("they have tried", || !lab.said("cn2.err").is_empty());
    let mut receiver = lab.receive();
    lab.until_all_are_open(6);

    // It is killed; a node starts again meanwhile, and its new sessions wait.
    machine.signal("KILL", "keys receive");
    receiver.wait().unwrap();
    machine.signal("KILL", "lab-node .*ids/4.key");
    let ups = |node: usize| {
        lab.said(&format!("rec/cn{node}.jsonl"))
            .matches("\"what\":\"up\"")
            .count()
    };
    lab.until("it is connected again", || ups(4) >= 6);
    lab.until("its sessions wait", || lab.sessions("without secret") > 0);
    lab.until_the_chain_grew(3);
    assert!(lab.sessions("without secret") > 0);
    let mut receiver = lab.receive();
    lab.until_all_are_open(9);

    // Who has no certificate of the authority brings nothing.
    let forged = hex::encode([7; 32]);
    fs::write(
        folder.join("forged.keylog"),
        format!("RLPX-AES {forged} session={forged}\n"),
    )
    .unwrap();
    let mut stranger = machine.start(
        folder,
        "keys ship --to 127.0.0.1:9465 --dir other/shipper-cn9 --state cn9.places forged.keylog",
        "cn9.err",
    );
    lab.until_said("cn9.err", "refused our certificate");
    lab.until_said("live.err", "another authority");

    machine.shell(&format!("cp -r {} {}/keys", lab.key_logs, folder.display()));
    let live = lab.end(monitor);
    machine.signal("KILL", "keys ship");
    machine.signal("KILL", "keys receive");
    for child in shippers.iter_mut().chain([&mut stranger, &mut receiver]) {
        child.wait().unwrap();
    }

    assert_all_decrypted(&live);
    let kept = |name: &str| folder.join("state/keys").join(name).exists();
    assert!(
        kept("cn1.keylog") && !kept("cn9.keylog"),
        "only what may be shipped is taken"
    );
    assert!(folder.join("received/cn4.keylog").exists());
    // What came late is counted all the same: the packets with all secrets from the start give nothing else.
    let analyzed = bftap(folder)
        .args([
            "analyze",
            "net-00001.pcapng",
            "--keylog",
            "keys",
            "--nodes",
            "ids/nodes.json",
        ])
        .args(["--store", "none", "--json", "analyzed.json"])
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(analyzed.success());
    let analyzed = read_json(&folder.join("analyzed.json"));
    assert_all_decrypted(&analyzed);
    assert!(counted(&analyzed).len() > 50);
    assert_same(&counted(&live), "the monitor", &counted(&analyzed), "the capture");
}

#[test]
fn a_killed_monitor_knows_what_was_shipped_to_it() {
    let Some(machine) = Machine::new() else { return };
    let folder = scratch();
    let folder = folder.path();
    certificates(folder);
    let lab = Waiting::up(&machine, folder);
    let mut monitor = lab.monitor("--state state");
    lab.go();
    let mut shippers: Vec<Child> = (1..NODES).map(|node| lab.ship(node, 9465)).collect();
    lab.until_all_are_open(6);
    lab.until_the_chain_grew(2);
    // Nobody is there to send anything again.
    machine.signal("KILL", "keys ship");
    machine.signal("KILL", "live");
    for child in shippers.iter_mut().chain([&mut monitor]) {
        child.wait().unwrap();
    }
    let height = lab.decided();
    let monitor = lab.monitor("--state state");
    lab.until_the_chain_grew(5);
    let live = lab.end(monitor);
    assert_all_decrypted(&live);
    assert!(live["sessions"].as_array().unwrap().len() >= 6);
    let counts = counted(&live);
    let heights = || counts.keys().map(|key| key.1 as usize);
    assert!(
        heights().any(|at| at < height) && heights().any(|at| at > height + 2),
        "before the kill and behind it: {height}"
    );
}
