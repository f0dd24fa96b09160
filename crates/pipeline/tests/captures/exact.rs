//! Traffic of real nodes gives exactly the answers of the independent decoder, for any number of workers.

use std::collections::BTreeMap;

use crate::support::{Case, Found};
use bftap_analysis::facts::SessionState;
use bftap_model::MacState;

/// The answers in `expected` (a file of the shared captures) against what was found.
fn check(case: &Case, found: &Found) {
    let expected = case.expected();
    let counts: BTreeMap<_, u64> = expected["counts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            let text = |key: &str| row[key].as_str().unwrap().to_owned();
            let number = |key: &str| row[key].as_u64().unwrap();
            (
                (
                    text("receiver"),
                    number("sequence"),
                    number("round"),
                    text("kind"),
                ),
                number("messages"),
            )
        })
        .collect();
    assert_eq!(found.counts(), counts, "{}: counts", case.name);

    let copies: BTreeMap<_, u64> = expected["copies_per_unique_message"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(ip, copies)| {
            let row = |(copies, payloads): (&String, &serde_json::Value)| {
                ((ip.clone(), copies.parse().unwrap()), payloads.as_u64().unwrap())
            };
            copies.as_object().unwrap().iter().map(row).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(found.copies(), copies, "{}: copies", case.name);

    let mut refused = 0;
    for session in expected["sessions"].as_array().unwrap() {
        let ends = (
            session["client"].as_str().unwrap(),
            session["server"].as_str().unwrap(),
        );
        let bytes: Vec<u64> = session["bytes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|n| n.as_u64().unwrap())
            .collect();
        let Some(ours) = found.session(ends) else {
            assert_eq!(
                (session["state"].as_str().unwrap(), &*bytes),
                ("no-key", &[0, 0][..]),
                "{}: {ends:?}",
                case.name
            );
            refused += 1;
            continue;
        };
        assert_eq!(&ours.stream_bytes[..], bytes, "{}: bytes of {ends:?}", case.name);
        if session["state"] == "ok" {
            if case.without_secret.contains(&ends.1) || case.without_secret.contains(&ends.0) {
                assert_eq!(ours.state, SessionState::NoSecret, "{}: {ends:?}", case.name);
                continue;
            }
            assert_eq!(
                ours.state,
                SessionState::Decrypted,
                "{}: {ends:?} {ours:?}",
                case.name
            );
            let frames: Vec<u64> = session["frames"]
                .as_array()
                .unwrap()
                .iter()
                .map(|n| n.as_u64().unwrap())
                .collect();
            assert_eq!(
                [ours.frames_from_initiator, ours.frames_from_recipient],
                *frames,
                "{}: {ends:?}",
                case.name
            );
            assert_eq!(ours.mac, Some(case.mac), "{}: {ends:?}", case.name);
            assert_eq!(ours.attached, Some("handshake"));
        } else {
            assert_eq!(ours.state, SessionState::NoHandshake, "{}: {ends:?}", case.name);
        }
    }
    assert!(
        found.facts.totals.refused >= refused,
        "{}: the answers list no connection that a RST refused",
        case.name
    );
    assert_eq!(
        found.facts.sessions.len() as u64 + refused,
        expected["sessions"].as_array().unwrap().len() as u64
    );
    for count in found.heights.iter().flat_map(|height| &height.counts) {
        assert_eq!(
            count.messages,
            count.useful + count.repeats + count.echoes,
            "{count:?}"
        );
        assert_eq!(count.invalid, 0, "{count:?}");
    }
    assert_eq!(found.facts.totals.other_flows, 0, "{}", case.name);
    assert_eq!(found.facts.totals.lost_bytes, 0, "{}", case.name);
}

/// `connections`: TCP connections as `tshark -q -z conv,tcp` counts them.
fn check_all(case: &Case, connections: u64) {
    let Some(first) = case.analyze(1) else { return };
    check(case, &first);
    assert_eq!(
        first.facts.totals.sessions + first.facts.totals.refused,
        connections,
        "{}",
        case.name
    );
    for jobs in [2, 5] {
        let again = case.analyze(jobs).unwrap();
        assert_eq!(again.text(), first.text(), "{}: {jobs} workers", case.name);
    }
}

#[test]
fn klaytn_tap() {
    check_all(&Case::new("klaytn-7cn", &["tap1.pcap"], "tap1.expected.json"), 27);
}

#[test]
fn klaytn_all_taps_in_one_file() {
    check_all(
        &Case::new(
            "klaytn-7cn",
            &["all-taps-26s.pcapng"],
            "all-taps-26s.expected.json",
        ),
        42,
    );
}

#[test]
fn klaytn_with_the_original_tools_keys() {
    let mut case = Case::new("klaytn-7cn", &["tap1.pcap"], "tap1.expected.json");
    case.legacy = true;
    case.mac = MacState::Unverifiable;
    case.without_secret = vec!["10.0.0.7:58664"];
    check_all(&case, 27);
}

#[test]
fn klaytn_without_macs() {
    let mut case = Case::new("klaytn-7cn", &["tap1.pcap"], "tap1.expected.json");
    case.verify_mac = false;
    case.mac = MacState::Skipped;
    check_all(&case, 27);
}

#[test]
fn quorum_all_taps() {
    let files = ["tap1.pcap", "tap2.pcap", "tap3.pcap", "tap4.pcap"];
    check_all(&Case::new("quorum-4", &files, "all-taps.expected.json"), 23);
}

#[test]
fn klaytn_faults_all_taps() {
    let files = ["tap1.pcap", "tap2.pcap", "tap3.pcap", "tap4.pcap"];
    check_all(
        &Case::new("klaytn-4cn-faults", &files, "all-taps.expected.json"),
        35,
    );
}

#[test]
fn the_order_of_files_makes_no_difference() {
    let files = ["tap1.pcap", "tap2.pcap", "tap3.pcap", "tap4.pcap"];
    let mut case = Case::new("klaytn-4cn-faults", &files, "all-taps.expected.json");
    let Some(first) = case.analyze(2) else { return };
    case.files.reverse();
    assert_eq!(case.analyze(2).unwrap().text(), first.text());
}

#[test]
fn the_founding_figures_come_out() {
    use bftap_analysis::facts::Coverage;
    use bftap_ibft_decode::Kind;

    let Some(found) = Case::new("klaytn-7cn", &["tap1.pcap"], "tap1.expected.json").analyze(2) else {
        return;
    };
    assert_eq!(found.facts.totals.consensus_messages, 9471);
    let coverage: BTreeMap<_, _> = found
        .facts
        .nodes
        .iter()
        .map(|node| (node.label.to_string(), node.coverage))
        .collect();
    assert_eq!(coverage["cn1"], Coverage::Full);
    assert_eq!(
        coverage
            .values()
            .filter(|&&coverage| coverage == Coverage::Partial)
            .count(),
        6
    );

    let sum = |ip: &str, kind: Kind, pick: fn(&bftap_analysis::facts::CountFact) -> u64| -> u64 {
        let counts = found.heights.iter().flat_map(|height| &height.counts);
        counts
            .filter(|count| count.receiver_ip.to_string() == ip && count.kind == kind)
            .map(pick)
            .sum()
    };
    // The original tool's own totals for 10.0.0.1 (captures/README.md).
    let totals = Kind::ALL.map(|kind| sum("10.0.0.1", kind, |count| count.messages));
    assert_eq!(totals, [358, 2288, 2109, 6]);
    assert!(
        sum("10.0.0.1", Kind::Prepare, |count| count.echoes) > 0,
        "its own prepares come back"
    );
    let counts = found.heights.iter().flat_map(|height| &height.counts);
    let most = counts
        .filter(|count| count.receiver_ip.to_string() == "10.0.0.1" && count.kind == Kind::Prepare)
        .map(|count| count.messages)
        .max();
    assert!(
        (7..=42).contains(&most.unwrap()),
        "{most:?} prepares in one round: more than 6, at most 42"
    );
    let copies = found.copies();
    assert_eq!(
        copies
            .keys()
            .filter(|(ip, _)| ip == "10.0.0.1")
            .map(|(_, copies)| *copies)
            .max(),
        Some(6)
    );
    let lower = |ip: &str| {
        let counts = found.heights.iter().flat_map(|height| &height.counts);
        counts
            .filter(|count| count.receiver_ip.to_string() == ip)
            .all(|count| count.lower_bound)
    };
    assert!(!lower("10.0.0.1") && lower("10.0.0.2"));
}

#[test]
fn rounds_of_the_faulty_network() {
    use bftap_analysis::facts::Outcome;

    let files = ["tap1.pcap", "tap2.pcap", "tap3.pcap", "tap4.pcap"];
    let Some(found) = Case::new("klaytn-4cn-faults", &files, "all-taps.expected.json").analyze(2) else {
        return;
    };
    let rounds: Vec<_> = found.heights.iter().flat_map(|height| &height.rounds).collect();
    let above: std::collections::BTreeSet<u64> = rounds
        .iter()
        .filter(|round| round.round > 0)
        .map(|round| round.sequence)
        .collect();
    assert_eq!(above.into_iter().collect::<Vec<_>>(), [1, 68, 71, 85]);
    let last = rounds.iter().map(|round| round.sequence).max().unwrap();
    for round in &rounds {
        let decided = round.outcome == Outcome::Decided;
        assert!(
            decided || round.outcome == Outcome::Changed || round.sequence == last,
            "{round:?}"
        );
        assert!(!decided || round.committed_ns.is_some(), "{round:?}");
        assert_eq!((round.validators, round.quorum), (Some(4), Some(3)));
    }
    for sequence in 1..last {
        let decided = rounds
            .iter()
            .filter(|r| r.sequence == sequence && r.outcome == Outcome::Decided)
            .count();
        assert_eq!(decided, 1, "height {sequence} is decided in one round");
    }
}
