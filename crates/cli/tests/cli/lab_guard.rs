//! A flooding node in a lab, and `bftap guard` on the lab's switch: what it does is seen in the other nodes' own records.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use bftap_capture::source::{CaptureReader, ReadLimits};
use serde_json::Value;

use crate::common::scratch;
use crate::lab::read_json;
use crate::machine::Machine;

const NODES: usize = 7;
const FLOODER: &str = "cn5";
/// Its address, in a header of IPv4.
const FLOODER_IP: [u8; 4] = [10, 77, 0, 5];

/// A lab that runs, with its records in `rec`.
struct Running<'m> {
    machine: &'m Machine,
    folder: &'m Path,
    /// What `bftap lab status` says is to be given to `bftap guard`.
    switch: String,
}

impl Running<'_> {
    /// Lines of a node's record with all these words in them; the last line may still be written.
    fn lines(&self, node: usize, words: &[&str]) -> usize {
        let text = fs::read_to_string(self.folder.join(format!("rec/cn{node}.jsonl"))).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .filter(|line| words.iter().all(|word| line.contains(word)))
            .count()
    }

    /// Messages that crossed between the flooder and the others, by who received them.
    fn crossed(&self) -> [usize; 2] {
        let from = format!("\"peer\":\"{FLOODER}\"");
        let others = (1..=NODES).filter(|&node| format!("cn{node}") != FLOODER);
        let received = "\"what\":\"received\"";
        [
            others.map(|node| self.lines(node, &[received, &from])).sum(),
            self.lines(5, &[received]),
        ]
    }

    /// Blocks on the chain of a node that is never blocked.
    fn decided(&self) -> usize {
        self.lines(1, &["\"what\":\"decided\""])
    }

    fn guard(&self, order: &str) -> Output {
        self.machine
            .run(self.folder, &format!("guard {order} {}", self.switch))
    }

    fn ok(&self, order: &str) -> String {
        self.machine
            .ok(self.folder, &format!("guard {order} {}", self.switch))
    }

    fn refused(&self, order: &str, why: &str) {
        let output = self.guard(order);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{order}: {said}");
        assert!(said.contains(why), "{order}: {said}");
    }

    fn list(&self) -> Vec<Value> {
        serde_json::from_str(&self.ok("list --json")).unwrap()
    }

    fn dropped(&self) -> u64 {
        let list = self.list();
        assert_eq!(list.len(), 1, "{list:?}");
        list[0]["dropped"].as_u64().unwrap()
    }

    /// Waits until nothing crosses any more; what had crossed by then. A flood is silent for that long only if it is stopped.
    fn quiet(&self) -> [usize; 2] {
        for _ in 0..60 {
            let before = self.crossed();
            std::thread::sleep(Duration::from_secs(2));
            if self.crossed() == before {
                return before;
            }
        }
        panic!("the flood goes on: {:?}", self.list());
    }

    fn until(&self, what: &str, met: impl Fn() -> bool) {
        for _ in 0..400 {
            if met() {
                return;
            }
            std::thread::sleep(Duration::from_millis(300));
        }
        let crossed = self.crossed();
        panic!(
            "not within two minutes: {what}; {crossed:?} crossed, {} decided",
            self.decided()
        );
    }

    fn until_the_flood_is_back(&self, before: [usize; 2]) {
        self.until("the flood is back", || {
            let now = self.crossed();
            now[0] > before[0] + 300 && now[1] > before[1]
        });
    }

    fn until_the_chain_grew(&self, by: usize) {
        let before = self.decided();
        self.until("the chain goes on", || self.decided() >= before + by);
    }

    /// The machine's clock, as packets are stamped.
    fn now(&self) -> i64 {
        self.machine.shell("date +%s%N").trim().parse().unwrap()
    }
}

/// Packets of the flooder that the mirror showed in this time.
fn mirrored(path: &Path, from: i64, until: i64) -> usize {
    let file = Box::new(File::open(path).unwrap());
    let mut reader = CaptureReader::open(file, ReadLimits::for_readers(1)).unwrap();
    let mut number = 0;
    while let Some(batch) = reader.next_batch().unwrap() {
        number += batch
            .packets()
            .filter(|packet| (from..until).contains(&packet.seen.nanos()))
            .filter(|packet| packet.bytes[12..14] == [8, 0] && packet.bytes[26..30] == FLOODER_IP)
            .count();
    }
    number
}

#[test]
fn a_flooder_is_blocked_and_the_chain_goes_on() {
    let Some(machine) = Machine::new() else { return };
    let folder = scratch();
    let folder = folder.path();
    let mut lab = machine.start(
        folder,
        "lab run --nodes 7 --for 20min --round-timeout 3s --fault 5:flood=100 --record rec --store none --json live.json \
         --write net.pcapng --keep-keys keys",
        "lab.err",
    );
    let status = || machine.run(folder, "lab status");
    let mut running = Running {
        machine: &machine,
        folder,
        switch: String::new(),
    };
    running.until("the chain has begun, and the flood too", || {
        running.decided() >= 3 && running.crossed()[0] > 500
    });
    let status = String::from_utf8(status().stdout).unwrap();
    let words = status.split_once("bftap guard list ").expect(&status).1;
    running.switch = words.lines().next().unwrap().to_owned();

    // For a long time, and taken back.
    let told = running.ok("block cn5 --ttl 10min");
    assert!(told.contains("cn5: blocked for 600 s"), "{told}");
    let crossed = running.quiet();
    let (from, dropped) = (running.now(), running.dropped());
    running.until_the_chain_grew(5);
    running.until("the switch meets packets to drop", || running.dropped() > dropped);
    assert_eq!(running.crossed(), crossed, "nothing arrives, either way");
    let until = running.now();
    running.ok("unblock cn5");
    running.until_the_flood_is_back(crossed);

    // For a short time, without a hand.
    running.ok("block cn5 --ttl 40s");
    let crossed = running.quiet();
    running.until("its time is over", || running.list().is_empty());
    running.until_the_flood_is_back(crossed);

    // Two of seven may be missing, not three.
    running.ok("block cn5");
    running.ok("block cn6");
    running.refused("block cn7", "5 are needed");
    let blocked: Vec<Value> = running
        .list()
        .iter()
        .map(|entry| entry["nodes"].clone())
        .collect();
    assert_eq!(blocked.len(), 2, "{blocked:?}");
    running.until_the_chain_grew(3);
    running.ok("unblock cn6");
    running.refused("block cn6 --silent cn4", "cn4 is silent");
    running.ok("unblock --all");
    assert!(running.list().is_empty());

    machine.signal("INT", "lab run");
    let ended = lab.wait().unwrap();
    let said = fs::read_to_string(folder.join("lab.err")).unwrap();
    assert!(ended.success(), "{ended}: {said}");
    let shown = mirrored(&folder.join("net.pcapng"), from, until);
    assert!(shown > 0, "the mirror shows what the switch drops");
    // Those who dialled in vain, or while their peer stopped, have no handshake; but nobody is unread.
    let report = read_json(&folder.join("live.json"));
    let decrypted = report["sessions"].as_array().unwrap().iter();
    let decrypted = decrypted.filter(|session| session["state"] == "decrypted");
    let pairs: BTreeSet<[&str; 2]> = decrypted
        .map(|session| {
            let ip = |end: &str| session[end].as_str().unwrap().split(':').next().unwrap();
            let (one, other) = (ip("initiator"), ip("recipient"));
            [one.min(other), one.max(other)]
        })
        .collect();
    assert_eq!(pairs.len(), 21, "{pairs:?}");
}
