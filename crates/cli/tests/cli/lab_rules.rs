//! Labs with misbehaving nodes, and healthy ones: what the rules say, against the nodes' own record of what they did.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::common::{self, bftap, scratch};
use crate::lab_judge::{Judge, event_number};
use crate::lab_logs::Logs;
use crate::machine::Machine;

/// Runs a lab until its nodes' records have what is waited for; then the monitor's events, and those of the packets that it kept, are
/// judged by the records.
fn run(nodes: usize, options: &str, what: &str, until: impl FnMut(&Logs) -> bool) -> Option<Judged> {
    let machine = Machine::new()?;
    let scratch = scratch();
    let folder = scratch.path();
    let mut lab = machine.start(
        folder,
        &format!(
            "lab run --nodes {nodes} --for 30min --record rec --write net.pcapng --keep-keys keys --json live.json \
             --store sqlite://live.db {options} -- --events live.jsonl"
        ),
        "lab.err",
    );
    let mut logs = Logs::new(&folder.join("rec"), nodes);
    let said = || fs::read_to_string(folder.join("lab.err")).unwrap_or_default();
    logs.wait(what, until, || {
        let ended = lab.try_wait().unwrap();
        assert!(ended.is_none(), "the lab has ended: {ended:?} {}", said());
    });
    machine.signal("INT", "lab run");
    let ended = lab.wait().unwrap();
    assert!(ended.success(), "{ended}: {}", said());
    logs.read();

    let analyzed = bftap(folder)
        .args(["analyze", "net.pcapng", "--keylog", "keys"])
        .args(["--nodes", "keys.nodes.json", "--json", "analyzed.json"])
        .args(["--store", "sqlite://x.db", "--events", "analyzed.jsonl"])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&analyzed.stderr).into_owned();
    assert!(analyzed.status.success(), "{told}");

    let judge = Judge::new(folder, &logs);
    for (report, lines, store) in [
        ("live.json", "live.jsonl", "live.db"),
        ("analyzed.json", "analyzed.jsonl", "x.db"),
    ] {
        judge.judge(report, lines, store);
    }
    judge.same("live.json", "analyzed.json");
    Some(Judged {
        found: judge.rules("analyzed.json"),
        events: judge.events("analyzed.json"),
        logs,
        scratch,
    })
}

struct Judged {
    /// Rules that spoke, each with the node that it names.
    found: BTreeSet<(String, Option<String>)>,
    events: Vec<Value>,
    logs: Logs,
    scratch: tempfile::TempDir,
}

impl Judged {
    fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// The rule was among those that had to speak, and named this node.
    fn assert_found(&self, rule: &str, node: &str) {
        let blamed = (!node.is_empty()).then(|| node.to_owned());
        assert!(
            self.found.contains(&(rule.to_owned(), blamed)),
            "{rule} of {node} is not among {:?}",
            self.found
        );
    }
}

#[test]
fn a_healthy_lab_gives_no_event() {
    for (nodes, heights, options) in [
        (7, 40, "--block-period 300ms"),
        (4, 24, "--block-period 400ms --dialect quorum"),
    ] {
        let done = |logs: &Logs| logs.all_decided() >= heights;
        let Some(judged) = run(nodes, options, "dozens of heights", done) else {
            return;
        };
        // What an honest node's own record does not say of it was not told: that is judged. And on a machine that does not stand still
        // there is nothing to tell at all.
        if judged.logs.round_changes() == 0 && judged.logs.never_stood_still() {
            assert!(judged.found.is_empty(), "{:#?}", judged.events);
        }
    }
}

/// The signer is blamed; of two blocks of one view there is evidence for others.
#[test]
fn who_contradicts_himself_is_blamed_and_proven() {
    let done = |logs: &Logs| {
        logs.deeds_of(2, "equivocation", "preprepare") >= 1
            && logs.heights_of(2, "equivocation") >= 5
            && logs.heights_of(3, "conflicting-commits") >= 5
            && logs.in_round_zero(3, "conflicting-commits") >= 1
            && logs.heights_of(5, "wrong-signatures") >= 5
            && logs.all_decided() >= 8
    };
    let options = "--block-period 500ms --round-timeout 3s --fault 2:equivocation@4s --fault 3:conflicting-commits@4s \
                   --fault 5:wrong-signatures@4s";
    let Some(judged) = run(7, options, "two faces, two locks and nobody's signature", done) else {
        return;
    };
    judged.assert_found("equivocation", "cn2");
    judged.assert_found("conflicting_lock", "cn3");
    judged.assert_found("bad_signature", "cn5");
    let broken = judged
        .events
        .iter()
        .filter(|event| event["rule"] == "conflicting_lock" && event["signer"] == "cn3");
    assert!(
        broken.clone().any(|event| event["suspicious"] == true),
        "{broken:?}"
    );

    let folder = judged.folder();
    let number = event_number(folder, "x.db", "equivocation", "cn2");
    let told = common::run(
        folder,
        &format!("evidence {number} -o ev --store sqlite://x.db --keylog keys"),
    )
    .ok();
    assert!(told.contains("The claim is proven"), "{told}");
    let verdict = common::run(folder, "evidence verify ev").ok();
    assert!(
        verdict.contains("The claim is proven") && !verdict.contains("NOT PROVEN"),
        "{verdict}"
    );
}

#[test]
fn who_signs_for_others_or_without_a_vote_is_blamed() {
    let done = |logs: &Logs| {
        logs.heights_of(4, "wrong-addresses") >= 5
            && logs.heights_of(6, "strange-votes") >= 5
            && logs.heights_of(2, "oversized") >= 5
            && logs.heights_of(3, "stale-rounds") >= 5
            && logs.all_decided() >= 8
    };
    let options = "--block-period 500ms --round-timeout 3s --fault 4:wrong-addresses@4s --fault 6:strange-votes@4s \
                   --fault 2:oversized=9000@4s --fault 7:role=en --fault 3:stale-rounds@4s";
    let Some(judged) = run(7, options, "votes in others' names and of strangers", done) else {
        return;
    };
    judged.assert_found("wrong_signer", "cn4");
    judged.assert_found("oversized", "cn2");
    judged.assert_found("forbidden_code", "cn7");
    let strange = judged
        .events
        .iter()
        .filter(|event| event["rule"] == "not_validator");
    let strange: BTreeSet<_> = strange.map(|event| event["sender"].as_str().unwrap()).collect();
    assert_eq!(strange, BTreeSet::from(["cn6"]));
}

#[test]
fn floods_are_their_senders() {
    // The volume of a minute of the clock counts.
    let loud = |logs: &Logs| logs.is_loud(5) && logs.deeds(3, "flood=30:undecodable") >= 60;
    let options = "--block-period 1s --fault 5:flood=300 --fault 3:flood=30:undecodable";
    if let Some(judged) = run(7, options, "a loud minute", loud) {
        judged.assert_found("repeated_payload", "cn5");
        judged.assert_found("volume", "cn5");
        judged.assert_found("undecodable_flood", "cn3");
    }
}

#[test]
fn floods_of_other_heights_and_rounds_are_their_senders() {
    let done = |logs: &Logs| {
        logs.deeds(2, "flood=40:future") >= 100
            && logs.stale_deeds(3) >= 150
            && logs.stormy_heights(6) >= 2
            && logs.all_decided() >= 30
    };
    let options = "--block-period 500ms --round-timeout 5s --fault 2:flood=40:future --fault 3:flood=60:stale@12s \
                   --fault 6:flood=60:round-changes";
    if let Some(judged) = run(7, options, "floods of other views", done) {
        judged.assert_found("future_flood", "cn2");
        judged.assert_found("stale_flood", "cn3");
        judged.assert_found("roundchange_storm", "cn6");
    }
}

#[test]
fn who_is_silent_or_tells_only_some_is_named() {
    let done = |logs: &Logs| {
        logs.silence(2) >= 8
            && logs.deeds_of(2, "silent", "preprepare") >= 1
            && logs.heights_of(5, "partial=2") >= 6
            && logs.decided_behind_deed(2, "silent", "preprepare")
    };
    let options =
        "--direct --block-period 500ms --round-timeout 3s --fault 2:silent@5s --fault 5:partial=2@5s";
    if let Some(judged) = run(7, options, "silence, and votes for some", done) {
        judged.assert_found("silent_validator", "cn2");
        judged.assert_found("missing_proposer", "cn2");
        judged.assert_found("partial_sender", "cn5");
    }
}

#[test]
fn who_proposes_late_or_never_is_named() {
    let done =
        |logs: &Logs| logs.slow_turns(6) >= 2 && logs.decided_behind_deed(3, "no-proposals", "preprepare");
    let options = "--block-period 300ms --round-timeout 4s --fault 6:slow-proposals=2500ms@5s --fault 3:no-proposals@8s";
    if let Some(judged) = run(7, options, "two late proposals, and one that never came", done) {
        judged.assert_found("slow_proposer", "cn6");
        judged.assert_found("missing_proposer", "cn3");
    }
}

#[test]
fn a_chain_that_stands_still_is_told_and_who_dials_too_often() {
    let done = |logs: &Logs| logs.stands_still() >= 34 && logs.visits(1) >= 3 * 45;
    let options = "--block-period 500ms --round-timeout 2s --fault 2:silent@5s --fault 3:silent@5s --fault 1:churn=200ms@5s";
    if let Some(judged) = run(4, options, "half a minute without a block", done) {
        judged.assert_found("stalled_chain", "");
        judged.assert_found("connection_churn", "cn1");
        for node in ["cn2", "cn3"] {
            judged.assert_found("silent_validator", node);
        }
    }
}
