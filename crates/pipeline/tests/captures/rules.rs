//! Rules on traffic of real nodes: silent where all is well, and with the right names and seconds where it is not.

use bftap_analysis::facts::EventFact;

use crate::support::{Case, Found};

/// Events of rules: what sessions tell of themselves is left out.
pub(crate) fn judged(found: &Found) -> Vec<&EventFact> {
    const OF_SESSIONS: [&str; 10] = [
        "bad_header",
        "bad_hello",
        "bad_status",
        "frame_memory",
        "mac_mismatch",
        "place_lost",
        "restart",
        "session_unreadable",
        "undecodable",
        "waiting_limit",
    ];
    let events = found.facts.events.iter();
    events
        .filter(|event| !OF_SESSIONS.contains(&event.rule))
        .collect()
}

/// An event in one line.
pub(crate) fn line(event: &EventFact) -> String {
    format!(
        "{} {} {:?} {:?} {:?}: {} {:?}",
        event.rule, event.suspicious, event.signer, event.sender, event.sequence, event.detail, event.numbers
    )
}

pub(crate) fn lines(events: &[&EventFact]) -> String {
    events
        .iter()
        .map(|event| line(event))
        .collect::<Vec<_>>()
        .join("\n")
}

fn analyze(name: &str, files: &[&'static str], expected: &'static str) -> Option<Found> {
    Case::new(name, files, expected).analyze(2)
}

const FOUR: [&str; 4] = ["tap1.pcap", "tap2.pcap", "tap3.pcap", "tap4.pcap"];

#[test]
fn healthy_captures_are_silent() {
    for (name, files, expected) in [
        ("klaytn-7cn", &["tap1.pcap"][..], "tap1.expected.json"),
        (
            "klaytn-7cn",
            &["all-taps-26s.pcapng"],
            "all-taps-26s.expected.json",
        ),
        ("quorum-4", &FOUR, "all-taps.expected.json"),
        ("quorum-4", &FOUR[..1], "all-taps.expected.json"),
    ] {
        let Some(found) = analyze(name, files, expected) else {
            return;
        };
        let events = judged(&found);
        assert!(events.is_empty(), "{name} {files:?}:\n{}", lines(&events));
        // All of them honest: nothing is held against anybody.
        for score in &found.facts.scores {
            let against = [score.invalid_milli, score.colocation_milli, score.behaviour_milli];
            assert_eq!(against, [0; 3], "{score:?}");
            assert!(score.score_milli > 0, "{score:?}");
        }
    }
}

#[test]
fn the_paused_and_the_killed_node_are_named_as_silent() {
    let Some(found) = analyze("klaytn-4cn-faults", &FOUR, "all-taps.expected.json") else {
        return;
    };
    let events = judged(&found);
    assert!(events.iter().all(|event| !event.suspicious), "{}", lines(&events));
    let start = found
        .facts
        .sessions
        .iter()
        .map(|session| session.first_seen_ns)
        .min()
        .unwrap();
    let second = |event: &EventFact, key: &str| (event.numbers[key] - start.nanos()) as f64 / 1e9;
    let silences: Vec<_> = events
        .iter()
        .filter(|event| event.rule == "silent_validator")
        .map(|event| {
            (
                event.ip.unwrap().to_string(),
                second(event, "from_ns"),
                second(event, "to_ns"),
            )
        })
        .collect();
    println!("{silences:?}\n{}", lines(&events));
    assert_eq!(silences.len(), 2, "{silences:?}");
    for ((ip, from, to), (node, begin, end)) in silences
        .iter()
        .zip([("10.0.0.3", 73.0, 95.0), ("10.0.0.4", 107.0, 116.0)])
    {
        assert_eq!(ip, node);
        assert!((from - begin).abs() < 2.0, "{silences:?}");
        assert!(*to > end - 1.0 && *to < end + 6.0, "{silences:?}");
    }
    // Nobody else is named, and those two for nothing worse than turns that they missed.
    for event in &events {
        let named = event.ip.map(|ip| ip.to_string());
        assert!(
            ["silent_validator", "missing_proposer"].contains(&event.rule),
            "{}",
            lines(&events)
        );
        assert!(
            matches!(named.as_deref(), Some("10.0.0.3" | "10.0.0.4")),
            "{}",
            line(event)
        );
    }
}
