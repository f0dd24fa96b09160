//! Rules on simulated networks: each fault is found with the right name, none else is named, and what only looks odd raises no blame.

use std::collections::BTreeSet;

use bftap_analysis::KnownNode;
use bftap_analysis::facts::EventFact;
use bftap_decrypt::SecretStore;
use bftap_decrypt::keylog::LastLine;
use bftap_model::Nanos;
use bftap_pipeline::PipelineOptions;
use bftap_simnet::client::Client;
use bftap_simnet::{ClockStep, Fault, FaultKind, SimulateOptions, Taps};
use bftap_testkit::damage::simulated;

use crate::rules::{judged, lines};
use crate::support::{Found, analyze_bytes};

fn run(options: &SimulateOptions) -> Found {
    let network = simulated(options).unwrap();
    let secrets = SecretStore::new();
    secrets.add_key_log(&network.key_log, 1, LastLine::Whole, &"simulated".into());
    let mut pipeline = PipelineOptions {
        jobs: 2,
        secrets: secrets.into(),
        ..PipelineOptions::default()
    };
    let node = |node: &serde_json::Value| KnownNode {
        name: node["name"].as_str().unwrap().to_owned(),
        node_id: Some(node["node_id"].as_str().unwrap().parse().unwrap()),
        ..KnownNode::default()
    };
    pipeline.analysis.nodes = network.nodes.as_array().unwrap().iter().map(node).collect();
    analyze_bytes(vec![network.capture], pipeline)
}

fn seconds(duration: i64) -> SimulateOptions {
    SimulateOptions {
        sequences: None,
        duration: Some(Nanos::from_secs(duration)),
        background: false,
        ..SimulateOptions::default()
    }
}

/// The third node fails from second 15 to 35 of a minute.
fn faulty(kind: FaultKind) -> SimulateOptions {
    SimulateOptions {
        faults: vec![Fault {
            node: 2,
            from: Nanos::from_secs(15),
            until: Some(Nanos::from_secs(35)),
            kind,
        }],
        ..seconds(60)
    }
}

/// Who is named, by signature or by deed.
fn named(event: &EventFact) -> Option<&str> {
    event
        .signer
        .as_deref()
        .filter(|_| event.sender.is_none() || event.rule == "wrong_signer")
        .or(event.sender.as_deref())
}

/// Nobody but the third node is named, and only by these rules; those with `true` are suspicious and have to be there.
fn check(kind: FaultKind, expected: &[(&str, bool)], allowed: &[&str]) {
    let found = run(&faulty(kind));
    let events = judged(&found);
    let all = lines(&events);
    println!("{kind:?}\n{all}");
    for event in &events {
        let known = expected.iter().find(|(rule, _)| *rule == event.rule);
        let suspicious = known.is_some_and(|(_, suspicious)| *suspicious);
        assert_eq!(event.suspicious, suspicious, "{kind:?}: {}\n{all}", event.rule);
        assert!(
            known.is_some() || allowed.contains(&event.rule),
            "{kind:?}: {}\n{all}",
            event.rule
        );
        assert!(
            matches!(named(event), Some("cn3") | None),
            "{kind:?}: {}\n{all}",
            event.detail
        );
    }
    let rules: BTreeSet<&str> = events.iter().map(|event| event.rule).collect();
    for (rule, _) in expected {
        assert!(rules.contains(rule), "{kind:?}: no {rule}\n{all}");
    }
    let worst = found
        .facts
        .scores
        .iter()
        .min_by_key(|score| score.score_milli)
        .unwrap();
    if expected.iter().any(|(_, suspicious)| *suspicious) {
        assert_eq!(&*worst.node, "cn3", "{:?}", found.facts.scores);
        assert!(worst.score_milli < 0, "{worst:?}");
    }
}

#[test]
fn nodes_that_are_not_there_are_silent() {
    for kind in [
        FaultKind::Silent,
        FaultKind::Paused,
        FaultKind::Killed,
        FaultKind::PowerLoss,
    ] {
        check(
            kind,
            &[("silent_validator", false)],
            &["missing_proposer", "conflicting_lock"],
        );
    }
}

#[test]
fn nodes_that_do_not_propose_are_missed() {
    check(FaultKind::NoProposals, &[("missing_proposer", false)], &[]);
}

#[test]
fn slow_nodes_are_named_and_not_blamed() {
    let slow = FaultKind::Slow(Nanos::from_millis(60));
    check(
        slow,
        &[],
        &[
            "slow_proposer",
            "silent_validator",
            "missing_proposer",
            "conflicting_lock",
        ],
    );
}

#[test]
fn forged_votes_are_blamed_on_who_made_them() {
    check(FaultKind::WrongSignatures, &[("bad_signature", true)], &[]);
    check(FaultKind::WrongAddresses, &[("wrong_signer", true)], &[]);
}

#[test]
fn two_blocks_for_one_round_are_equivocation() {
    check(
        FaultKind::Equivocation,
        &[("equivocation", true)],
        &["conflicting_lock"],
    );
}

/// No rule has anything to say.
fn silent(name: &str, options: &SimulateOptions) {
    let found = run(options);
    let events = judged(&found);
    assert!(events.is_empty(), "{name}:\n{}", lines(&events));
}

#[test]
fn a_healthy_network_is_silent_for_500_blocks() {
    let options = SimulateOptions {
        sequences: Some(500),
        background: false,
        ..SimulateOptions::default()
    };
    silent("7 nodes", &options);
}

#[test]
fn what_only_looks_odd_raises_no_blame() {
    let second = Nanos::from_secs;
    silent(
        "a chain that begins again",
        &SimulateOptions {
            reinitialize: Some(second(12)),
            ..seconds(30)
        },
    );
    let steps = [(8, 3600), (14, -7200), (20, 1)];
    let found = run(&SimulateOptions {
        clock_steps: steps
            .map(|(at, by)| ClockStep {
                at: second(at),
                by: second(by),
            })
            .to_vec(),
        ..seconds(30)
    });
    // It is told that the clock was set back, and nobody is named.
    let events = judged(&found);
    assert_eq!(events.len(), 1, "steps of the clock:\n{}", lines(&events));
    assert_eq!((events[0].rule, named(events[0])), ("clock_step", None));
    let rounds = found.heights.iter().flat_map(|height| &height.rounds);
    let times: Vec<_> = rounds.filter_map(|round| round.block_time_ns).collect();
    assert!(
        times.len() > 10 && times.iter().all(|time| *time >= 0),
        "{times:?}"
    );
    silent(
        "sessions joined in the middle, of a chain that begins again",
        &SimulateOptions {
            capture_from: second(6),
            reinitialize: Some(second(14)),
            ..seconds(30)
        },
    );
    silent(
        "one tap, losses, and secrets that are missing",
        &SimulateOptions {
            taps: Taps::Only(vec![0]),
            loss: 20_000,
            withhold_secret_every: Some(3),
            ..seconds(25)
        },
    );
    silent(
        "GoQuorum, several connections dialled at once, background traffic",
        &SimulateOptions {
            clients: vec![Client::Quorum20_10],
            simultaneous_dials: true,
            background: true,
            nodes: 4,
            ..seconds(20)
        },
    );
}

/// Many honest nodes start again, one after the other: some of them propose another block in a round that they had proposed in.
#[test]
fn honest_crashes_and_starts_are_no_equivocation() {
    let faults = (0..7).map(|node| Fault {
        node,
        from: Nanos(8_000_000_000 + 5_300_000_000 * node as i64),
        until: Some(Nanos(10_000_000_000 + 5_300_000_000 * node as i64)),
        kind: FaultKind::Killed,
    });
    let options = SimulateOptions {
        faults: faults.collect(),
        ..seconds(70)
    };
    let found = run(&options);
    let events = judged(&found);
    let suspicious: Vec<_> = events.into_iter().filter(|event| event.suspicious).collect();
    assert!(suspicious.is_empty(), "{}", lines(&suspicious));
}

/// Hosts that lose power leave sessions behind at their peers, which send the returned node away as already connected until they give them up.
/// And who comes back may learn the block before its turn twice: it proposes once all the same.
#[test]
fn honest_power_losses_raise_no_suspicion() {
    let lost = |node, from, until| Fault {
        node,
        from: Nanos::from_secs(from),
        until: Some(Nanos::from_secs(until)),
        kind: FaultKind::PowerLoss,
    };
    let three = SimulateOptions {
        seed: 200,
        channels: 2,
        faults: vec![lost(1, 10, 13), lost(2, 10, 12), lost(3, 11, 12)],
        ..seconds(30)
    };
    let slow = SimulateOptions {
        seed: 42,
        faults: vec![lost(1, 10, 13)],
        latency: Nanos(20_000_000),
        ..seconds(25)
    };
    for options in [three, slow] {
        let found = run(&options);
        let events = judged(&found);
        let suspicious: Vec<_> = events.into_iter().filter(|event| event.suspicious).collect();
        assert!(suspicious.is_empty(), "{}", lines(&suspicious));
    }
}

/// GoQuorum's issue 305: a round is left while one node is prepared, the others take another block, and so two honest nodes are locked on
/// different blocks. It is told as what it is, and nobody is blamed.
#[test]
fn goquorum_issue_305_raises_the_lock_event_and_no_blame() {
    for client in [Client::Quorum20_10, Client::Quorum24_4] {
        let options = SimulateOptions {
            nodes: 4,
            clients: vec![client],
            conflicting_locks: Some(4),
            round_timeout: Nanos::from_secs(3),
            ..seconds(45)
        };
        let found = run(&options);
        let events = judged(&found);
        println!("{client:?}\n{}", lines(&events));
        let locks: Vec<_> = events
            .iter()
            .filter(|event| event.rule == "conflicting_lock")
            .collect();
        assert!(!locks.is_empty(), "{client:?}:\n{}", lines(&events));
        for lock in locks {
            assert_eq!((lock.sequence, named(lock), lock.address), (Some(4), None, None));
            assert!(lock.numbers["on_first"] > 0 && lock.numbers["on_second"] > 0);
        }
        assert!(events.iter().all(|event| !event.suspicious), "{}", lines(&events));
        let below = found
            .facts
            .scores
            .iter()
            .filter(|score| score.behaviour_milli < 0);
        assert_eq!(below.count(), 0, "{:?}", found.facts.scores);
    }
}

/// What a tap did not see did not fail to happen.
#[test]
fn a_tap_that_loses_packets_raises_no_blame() {
    for taps in [Taps::All, Taps::Only(vec![1, 2])] {
        let options = SimulateOptions {
            taps: taps.clone(),
            faults: vec![Fault {
                node: 2,
                from: Nanos(3_500_000_000),
                until: None,
                kind: FaultKind::LossyTap(20_000),
            }],
            ..seconds(40)
        };
        let found = run(&options);
        let gaps: u64 = found.facts.sessions.iter().map(|session| session.gaps).sum();
        assert!(taps == Taps::All || gaps > 0, "nothing was lost");
        let events = judged(&found);
        assert!(events.is_empty(), "{taps:?}:\n{}", lines(&events));
        let deficits = found
            .facts
            .scores
            .iter()
            .filter(|score| score.delivery_deficit_milli < 0);
        assert_eq!(deficits.count(), 0, "{:?}", found.facts.scores);
    }
}

/// One node is killed and comes back, twice: it is silent meanwhile, and that is all that is said of anybody.
#[test]
fn an_honest_crash_and_start_is_a_silence() {
    let crash = |from| Fault {
        node: 2,
        from: Nanos::from_secs(from),
        until: Some(Nanos::from_secs(from + 12)),
        kind: FaultKind::Killed,
    };
    let options = SimulateOptions {
        faults: vec![crash(10), crash(40)],
        ..seconds(70)
    };
    let found = run(&options);
    let events = judged(&found);
    println!("{}", lines(&events));
    assert!(events.iter().all(|event| !event.suspicious), "{}", lines(&events));
    let silences: Vec<_> = events
        .iter()
        .filter(|event| event.rule == "silent_validator")
        .collect();
    assert_eq!(silences.len(), 2, "{}", lines(&events));
    assert!(silences.iter().all(|event| named(event) == Some("cn3")));
}
