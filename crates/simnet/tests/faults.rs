//! Each fault does what its name says, the truth tells it as the node's own decision, and everybody else stays honest.

mod reader;
mod written;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bftap_model::Nanos;
use bftap_simnet::client::Client;
use bftap_simnet::{ClockStep, Fault, FaultKind, FloodOf, Gossip, Role, SimulateOptions, Taps};
use reader::Message;
use serde_json::Value;
use written::{Written, check, counts_in, fault, list, run, small, text};

/// The decisions of this kind, by what options call it.
fn decisions<'w>(written: &'w Written, kind: &str) -> Vec<&'w Value> {
    let all = list(&written.truth["decisions"]).iter();
    all.filter(|decision| text(&decision["kind"]).split('=').next() == Some(kind))
        .collect()
}

fn sum_of(written: &Written, kind: &str) -> u64 {
    decisions(written, kind)
        .iter()
        .map(|decision| decision["count"].as_u64().unwrap())
        .sum()
}

/// Addresses by IP address, and IP addresses by name.
fn who(written: &Written) -> (HashMap<String, String>, HashMap<String, String>) {
    let nodes = list(&written.nodes).iter();
    nodes
        .map(|node| {
            let (ip, name) = (text(&node["ip"]), text(&node["name"]));
            ((ip.clone(), text(&node["address"])), (name, ip))
        })
        .unzip()
}

/// Distinct payloads signed by a node that the node itself handed over.
fn own_payloads<'m>(
    written: &Written,
    messages: &'m [Message],
    name: &str,
) -> BTreeMap<[u8; 32], Vec<&'m Message>> {
    let (addresses, ips) = who(written);
    let mut payloads: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for message in messages.iter().filter(|message| message.sender == ips[name]) {
        if message.signer.map(|signer| signer.to_string()).as_ref() == addresses.get(&ips[name]) {
            payloads.entry(message.payload).or_default().push(message);
        }
    }
    payloads
}

#[test]
fn a_healthy_network_decides_nothing_wrong() {
    assert!(list(&run(&small()).truth["decisions"]).is_empty());
}

#[test]
fn floods_go_out_at_their_rate() {
    for of in FloodOf::ALL {
        let options = SimulateOptions {
            sequences: None,
            duration: Some(Nanos::from_secs(7)),
            faults: fault(1, 3_000, Some(6_000), FaultKind::Flood(40, of)),
            ..small()
        };
        let (written, contents) = check(&options);
        assert_eq!(sum_of(&written, "flood"), 119, "{of:?}: the last tick is the end");
        let [decision] = decisions(&written, "flood")[..] else {
            panic!("one entry for a flood");
        };
        assert_eq!(
            (text(&decision["node"]), text(&decision["by"])),
            ("cn2".to_owned(), "node".to_owned())
        );
        let seconds = |key: &str| {
            let at = decision[key].as_i64().unwrap() - options.start.nanos();
            at as f64 / 1e9
        };
        assert!((3.0..3.1).contains(&seconds("from_ns")) && (5.9..6.0).contains(&seconds("until_ns")));
        let own = own_payloads(&written, &contents.messages, "cn2");
        let mut most = own.values().map(Vec::len).collect::<Vec<_>>();
        most.sort_unstable();
        let heights: BTreeSet<u64> = own.values().map(|copies| copies[0].sequence).collect();
        let rounds: BTreeSet<u64> = own.values().map(|copies| copies[0].round).collect();
        match of {
            // Its votes change with the height, so each has its part of the copies.
            FloodOf::Same => assert!(most.last() > Some(&20), "{most:?}"),
            FloodOf::Undecodable => assert_eq!(contents.undecodable, 3 * 119),
            _ => assert_eq!(most.last(), Some(&3), "once to each peer"),
        }
        match of {
            FloodOf::Future => assert!(heights.last() > Some(&50), "{heights:?}"),
            FloodOf::RoundChanges => assert!(rounds.len() > 30, "{rounds:?}"),
            _ => assert!(heights.last() < Some(&10), "{heights:?}"),
        }
        assert!(written.summary.height >= 4, "{of:?}: the others go on");
    }
}

#[test]
fn a_partial_sender_reaches_some() {
    for (client, gossip) in [
        (Client::Klaytn1_4, Gossip::Flood),
        (Client::Quorum20_10, Gossip::Flood),
        (Client::Kaia2_2, Gossip::Direct),
    ] {
        let options = SimulateOptions {
            nodes: 7,
            clients: vec![client],
            gossip,
            faults: fault(2, 0, None, FaultKind::Partial(2)),
            ..small()
        };
        let (written, contents) = check(&options);
        let (_, ips) = who(&written);
        let own = own_payloads(&written, &contents.messages, "cn3");
        assert!(!own.is_empty());
        let reached: BTreeSet<&str> = contents
            .messages
            .iter()
            .filter(|message| message.sender == ips["cn3"])
            .map(|message| message.receiver.as_str())
            .collect();
        assert_eq!(reached.len(), 2, "{client:?}");
        assert!(sum_of(&written, "partial") >= 4 * own.len() as u64);
        assert_eq!(written.summary.height, 4);
    }
}

#[test]
fn stale_votes_go_with_each_vote() {
    let options = SimulateOptions {
        faults: fault(1, 0, None, FaultKind::StaleRounds),
        ..small()
    };
    let (written, contents) = check(&options);
    let decisions = decisions(&written, "stale-rounds");
    let heights: BTreeSet<u64> = decisions
        .iter()
        .map(|decision| decision["sequences"][0].as_u64().unwrap())
        .collect();
    assert_eq!(heights, BTreeSet::from([1, 2, 3]), "each height has its entry");
    // A prepare and a commit of its own, and as many stale ones.
    let own = own_payloads(&written, &contents.messages, "cn2");
    let of_height_2 = own
        .values()
        .filter(|copies| copies[0].sequence == 2 && copies[0].kind != "preprepare");
    assert_eq!(of_height_2.count(), 4);
}

#[test]
fn a_slow_proposer_takes_its_time() {
    let by = Nanos::from_millis(1_700);
    let times = |faults| {
        let (written, _) = check(&SimulateOptions {
            sequences: Some(5),
            faults,
            ..small()
        });
        let mut decided: Vec<i64> = list(&written.truth["rounds"])
            .iter()
            .filter_map(|round| round["decided_ns"].as_i64())
            .collect();
        decided.sort_unstable();
        let took: Vec<i64> = decided.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let late: BTreeSet<u64> = decisions(&written, "slow-proposals")
            .iter()
            .map(|decision| decision["sequences"][0].as_u64().unwrap())
            .collect();
        (took, late)
    };
    let (plain, none) = times(vec![]);
    let (slow, late) = times(fault(1, 0, None, FaultKind::SlowProposals(by)));
    assert!(none.is_empty());
    assert_eq!(late.len(), 1 + usize::from(late.contains(&1)), "{late:?}");
    for height in late.iter().filter(|height| **height >= 2) {
        let at = *height as usize - 2;
        assert!(slow[at] - plain[at] >= by.0 - 20_000_000, "{slow:?} {plain:?}");
    }
}

#[test]
fn oversized_votes_are_as_large_as_they_are_said_to_be() {
    for client in [Client::Klaytn1_12, Client::Quorum24_4] {
        let (written, contents) = check(&SimulateOptions {
            clients: vec![client],
            faults: fault(3, 0, None, FaultKind::Oversized(5_000)),
            ..small()
        });
        let (_, ips) = who(&written);
        let large: Vec<&Message> = contents
            .messages
            .iter()
            .filter(|message| message.bytes >= 5_000 && message.kind != "preprepare")
            .collect();
        let told = sum_of(&written, "oversized");
        assert!(large.iter().all(|message| message.sender == ips["cn4"]));
        assert!(
            (5..=told).contains(&(large.len() as u64)),
            "{} of {told}",
            large.len()
        );
        let receivers: BTreeSet<&String> = large.iter().map(|message| &message.receiver).collect();
        assert!(receivers.len() > 1, "another peer each height");
    }
}

#[test]
fn a_visitor_says_hello_and_goes() {
    let by_observer = SimulateOptions {
        observers: vec![Role::Endpoint],
        sequences: Some(6),
        faults: fault(4, 0, None, FaultKind::Churn(Nanos::from_millis(100))),
        ..small()
    };
    let (written, contents) = check(&by_observer);
    assert!(sum_of(&written, "churn") > 30);
    // "Requested", reason 0, as a list of one.
    let left = contents
        .disconnects
        .iter()
        .filter(|reason| **reason == [0xc1, 0x80]);
    assert!(left.count() > 30);
    let (_, ips) = who(&written);
    let dials = list(&written.truth["sessions"])
        .iter()
        .filter(|session| text(&session["client"]).starts_with(&format!("{}:", ips["en5"])));
    assert!(dials.count() as u64 >= sum_of(&written, "churn"));

    // A peer that has a session already is told so.
    let (written, contents) = check(&SimulateOptions {
        faults: fault(1, 3_000, Some(5_000), FaultKind::Churn(Nanos::from_millis(100))),
        sequences: Some(5),
        ..small()
    });
    assert_eq!(sum_of(&written, "churn"), 20);
    let refused = contents
        .disconnects
        .iter()
        .filter(|reason| **reason == [0xc1, 0x05]);
    assert!(refused.count() >= 19);
    assert_eq!(written.summary.height, 5, "its honest sessions stay");
}

#[test]
fn observers_follow_and_have_no_vote() {
    let (written, contents) = check(&SimulateOptions {
        observers: vec![Role::Consensus, Role::Proxy],
        sequences: Some(5),
        ..small()
    });
    let (_, ips) = who(&written);
    assert!(ips.contains_key("cn5") && ips.contains_key("pn6"));
    assert!(
        contents
            .messages
            .iter()
            .all(|message| message.sender != ips["pn6"] && message.receiver != ips["pn6"])
    );
    // Blocks reach them: NewBlock is Klaytn's 0x1b.
    assert!(contents.codes["27"] > 5 * 2);

    let (written, contents) = check(&SimulateOptions {
        observers: vec![Role::Endpoint],
        sequences: Some(5),
        faults: fault(4, 0, None, FaultKind::Votes),
        ..small()
    });
    let (addresses, ips) = who(&written);
    let foreign: Vec<&Message> = contents
        .messages
        .iter()
        .filter(|message| {
            message.signer.map(|signer| signer.to_string()) == Some(addresses[&ips["en5"]].clone())
        })
        .collect();
    assert!(foreign.len() > 10 && foreign.iter().all(|message| message.sender == ips["en5"]));
    assert!(foreign.iter().all(|message| message.signer == message.claimed));
    assert_eq!(
        sum_of(&written, "votes") * 4,
        foreign.len() as u64,
        "to each validator"
    );
}

/// Commits by signer: round and digest.
fn commits(messages: &[Message], sequence: u64) -> BTreeMap<String, BTreeSet<(u64, [u8; 32])>> {
    let mut commits: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for message in messages {
        if message.kind == "commit" && message.sequence == sequence {
            let signer = message.signer.unwrap().to_string();
            commits
                .entry(signer)
                .or_default()
                .insert((message.round, message.digest.unwrap()));
        }
    }
    commits
}

#[test]
fn links_make_honest_nodes_lock_different_blocks() {
    for (nodes, client, gossip, seed) in [
        (4, Client::Quorum20_10, Gossip::Flood, 1),
        (4, Client::Klaytn1_4, Gossip::Flood, 2),
        (7, Client::Kaia2_2, Gossip::Flood, 3),
        (5, Client::Quorum24_4, Gossip::Direct, 4),
        (10, Client::Klaytn1_12, Gossip::Direct, 5),
    ] {
        for taps in [Taps::All, Taps::Only(vec![1])] {
            let options = SimulateOptions {
                nodes,
                seed,
                clients: vec![client],
                gossip,
                taps: taps.clone(),
                sequences: Some(5),
                round_timeout: Nanos::from_secs(3),
                conflicting_locks: Some(3),
                ..SimulateOptions::default()
            };
            let (written, contents) = check(&options);
            // Where commits prepare nothing, four nodes may stand still for good, as the issue says.
            assert!(
                written.summary.height == 5 || !client.commits_prepare(),
                "{client:?}"
            );
            let decisions = decisions(&written, "conflicting-locks");
            let told: Vec<(String, u64)> = decisions
                .iter()
                .map(|decision| (text(&decision["node"]), decision["rounds"][0].as_u64().unwrap()))
                .collect();
            assert!(decisions.iter().all(|decision| decision["by"] == "scenario"));
            if taps != Taps::All {
                continue;
            }
            let commits = commits(&contents.messages, 3);
            let first = |round: u64| -> Vec<(&String, [u8; 32])> {
                let of_round = commits.iter().flat_map(|(signer, commits)| {
                    commits
                        .iter()
                        .filter(move |commit| commit.0 == round)
                        .map(move |commit| (signer, commit.1))
                });
                of_round.collect()
            };
            let (locked_first, locked_second) = (first(0), first(1));
            assert_eq!(
                (locked_first.len(), locked_second.len()),
                (1, 1),
                "{client:?}: {commits:?}"
            );
            let (addresses, ips) = who(&written);
            let address = |name: &str| addresses[&ips[name]].clone();
            let expected = [(locked_first[0].0, 0), (locked_second[0].0, 1)]
                .map(|(signer, round)| (signer.clone(), round));
            assert_eq!(
                told.iter()
                    .map(|(name, round)| (address(name), *round))
                    .collect::<Vec<_>>(),
                expected
            );
            assert_ne!(locked_first[0].0, locked_second[0].0, "two nodes");
            assert_ne!(locked_first[0].1, locked_second[0].1, "two blocks");
            for (signer, commits) in &commits {
                let blocks: BTreeSet<_> = commits.iter().map(|commit| commit.1).collect();
                assert_eq!(blocks.len(), 1, "{signer} keeps its lock");
            }
        }
    }
}

#[test]
fn a_cut_link_swallows_packets_and_gives_back_what_tcp_repeats() {
    for (taps, gossip) in [
        (Taps::All, Gossip::Direct),
        (Taps::Only(vec![2]), Gossip::Flood),
        (Taps::Only(vec![1]), Gossip::Direct),
        (Taps::Only(vec![0]), Gossip::Direct),
    ] {
        let options = SimulateOptions {
            gossip,
            taps,
            sequences: Some(9),
            faults: fault(1, 4_000, Some(7_000), FaultKind::Cut(2)),
            ..small()
        };
        let (written, _) = check(&options);
        assert!(sum_of(&written, "cut") > 10);
        assert_eq!(decisions(&written, "cut")[0]["by"], "scenario");
        assert_eq!(
            written.summary.height, 9,
            "the others have a quorum with each of them"
        );
    }
    // While it is cut, nothing from the other end passes the tap.
    let written = run(&SimulateOptions {
        sequences: None,
        duration: Some(Nanos::from_millis(6_900)),
        capture_from: Nanos::from_millis(4_100),
        taps: Taps::Only(vec![2]),
        faults: fault(1, 4_000, Some(7_000), FaultKind::Cut(2)),
        ..small()
    });
    let (_, ips) = who(&written);
    let bytes_from = |name: &str| -> u64 {
        let mut sum = 0;
        for session in list(&written.truth["sessions"]) {
            let ends = [text(&session["client"]), text(&session["server"])];
            for (end, bytes) in ends.iter().zip(list(&session["bytes"])) {
                if end.starts_with(&format!("{}:", ips[name])) {
                    sum += bytes.as_u64().unwrap();
                }
            }
        }
        sum
    };
    assert_eq!(bytes_from("cn2"), 0);
    assert!(bytes_from("cn1") > 1000 && bytes_from("cn3") > 1000);
}

#[test]
fn a_lossy_tap_loses_packets_and_the_network_does_not_notice() {
    let options = SimulateOptions {
        sequences: Some(8),
        taps: Taps::Only(vec![0, 1]),
        ..small()
    };
    let plain = run(&options);
    let lossy = run(&SimulateOptions {
        faults: fault(0, 3_000, None, FaultKind::LossyTap(20_000)),
        ..options
    });
    assert_eq!(plain.truth["rounds"], lossy.truth["rounds"]);
    let lost = sum_of(&lossy, "lossy-tap");
    assert!(lost > 20);
    assert_eq!(plain.summary.packets - lossy.summary.packets, lost);
    assert!(lossy.summary.messages < plain.summary.messages);
    let (plain, lossy) = (counts_in(&plain.truth), counts_in(&lossy.truth));
    assert!(lossy.iter().all(|(key, row)| row[0] <= plain[key][0]));
}

#[test]
fn forgeries_and_what_happens_to_nodes_are_told() {
    let faults = [
        fault(1, 0, None, FaultKind::WrongSignatures),
        fault(2, 4_000, Some(5_000), FaultKind::Paused),
    ]
    .concat();
    let written = run(&SimulateOptions {
        nodes: 7,
        faults,
        sequences: Some(6),
        round_timeout: Nanos::from_secs(2),
        clock_steps: vec![ClockStep {
            at: Nanos::from_secs(5),
            by: Nanos::from_millis(-40),
        }],
        ..small()
    });
    let invalid: u64 = counts_in(&written.truth).values().map(|row| row[4]).sum();
    assert_eq!(
        sum_of(&written, "wrong-signatures") * 6,
        invalid,
        "to each of the others"
    );
    let paused = decisions(&written, "paused");
    assert_eq!((paused.len(), text(&paused[0]["node"])), (1, "cn3".to_owned()));
    let lasted = paused[0]["until_ns"].as_i64().unwrap() - paused[0]["from_ns"].as_i64().unwrap();
    assert_eq!(lasted, 1_000_000_000 - 40_000_000, "on the clock of the capture");
    let step = &decisions(&written, "clock-step")[0];
    assert_eq!(
        (step["node"].is_null(), text(&step["kind"])),
        (true, "clock-step=-40ms".to_owned())
    );
}

#[test]
fn commits_that_break_locks_are_made() {
    let written = check(&SimulateOptions {
        nodes: 7,
        faults: fault(4, 0, None, FaultKind::ConflictingCommits),
        ..small()
    });
    let (written, contents) = written;
    let (addresses, ips) = who(&written);
    for sequence in 1..4 {
        let commits = commits(&contents.messages, sequence);
        for (signer, commits) in commits {
            let blocks: BTreeSet<_> = commits.iter().map(|commit| commit.1).collect();
            let expected = if signer == addresses[&ips["cn5"]] { 2 } else { 1 };
            assert_eq!(blocks.len(), expected);
        }
    }
    assert!(sum_of(&written, "conflicting-commits") >= 3);
}

#[test]
fn all_faults_at_once_and_the_same_bytes_again() {
    let at = |node, kind| Fault {
        node,
        kind,
        from: Nanos::from_millis(2_500),
        until: Some(Nanos::from_millis(6_000)),
    };
    let options = SimulateOptions {
        nodes: 7,
        observers: vec![Role::Endpoint, Role::Consensus],
        sequences: Some(8),
        round_timeout: Nanos::from_secs(2),
        faults: vec![
            at(0, FaultKind::Flood(30, FloodOf::Future)),
            at(0, FaultKind::Flood(30, FloodOf::Same)),
            at(1, FaultKind::Equivocation),
            at(1, FaultKind::Oversized(9_000)),
            at(2, FaultKind::SlowProposals(Nanos::from_millis(300))),
            at(3, FaultKind::Cut(4)),
            at(5, FaultKind::Partial(4)),
            at(7, FaultKind::Votes),
            at(8, FaultKind::Flood(20, FloodOf::Undecodable)),
            at(8, FaultKind::Churn(Nanos::from_millis(200))),
        ],
        ..small()
    };
    check(&options);
    assert!(run(&options) == run(&options));
}
