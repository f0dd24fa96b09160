//! What rounds and votes of real nodes tell, and what their copies cost.

use std::collections::{BTreeMap, BTreeSet};

use bftap_analysis::facts::{Outcome, RoundCause, VoteState, WasteCause};
use bftap_ibft_decode::Kind;

use crate::support::{Case, Found};

const FOUR: [&str; 4] = ["tap1.pcap", "tap2.pcap", "tap3.pcap", "tap4.pcap"];

fn of(found: &Found, state: VoteState) -> Vec<(u64, u64, Kind, String)> {
    let votes = found.heights.iter().flat_map(|height| &height.votes);
    votes
        .filter(|vote| vote.state == state)
        .map(|vote| (vote.sequence, vote.round, vote.kind, vote.signer.to_string()))
        .collect()
}

#[test]
fn causes_add_up_to_repeats_and_echoes() {
    for (name, files) in [
        ("klaytn-7cn", &["tap1.pcap"][..]),
        ("klaytn-7cn", &["all-taps-26s.pcapng"]),
        ("quorum-4", &FOUR),
        ("klaytn-4cn-faults", &FOUR),
    ] {
        let Some(found) = Case::new(name, files, "").analyze(2) else {
            return;
        };
        let mut by_cause: BTreeMap<&str, u64> = BTreeMap::new();
        let mut sums: BTreeMap<_, [u64; 2]> = BTreeMap::new();
        for count in found.heights.iter().flat_map(|height| &height.counts) {
            assert_eq!(
                count.resent + count.echo_source + count.crossing + count.regossip,
                count.repeats,
                "{count:?}"
            );
            let sum = sums.entry((count.receiver_ip, count.kind)).or_default();
            sum[0] += count.repeats;
            sum[1] += count.echoes;
        }
        let mut of_links: BTreeMap<_, [u64; 2]> = BTreeMap::new();
        for row in &found.facts.waste {
            let echo = row.cause == WasteCause::EchoSigner;
            of_links.entry((row.receiver_ip, row.kind)).or_default()[usize::from(echo)] += row.copies;
            *by_cause.entry(row.cause.as_str()).or_default() += row.copies;
        }
        sums.retain(|_, sum| *sum != [0, 0]);
        assert_eq!(of_links, sums, "{name}");
        // Neither client sends a payload to the same peer twice, and both send it back to whom they have it from, if that copy
        // has arrived and is still waiting to be looked at.
        assert!(!by_cause.contains_key("resent"), "{name}: {by_cause:?}");
        assert!(
            by_cause["echo_source"] > 0 && by_cause["regossip"] > 0,
            "{name}: {by_cause:?}"
        );
    }
}

#[test]
fn nobody_is_blamed_in_healthy_networks() {
    for (name, files) in [
        ("klaytn-7cn", &["tap1.pcap"][..]),
        ("klaytn-7cn", &["all-taps-26s.pcapng"]),
        ("quorum-4", &FOUR),
    ] {
        let Some(found) = Case::new(name, files, "").analyze(2) else {
            return;
        };
        for state in [VoteState::Missing, VoteState::Partial] {
            assert_eq!(of(&found, state), [], "{name} {files:?}: {state:?}");
        }
        assert!(of(&found, VoteState::Complete).len() > 200, "{name}");
        let spared = of(&found, VoteState::NotNeeded);
        assert!(!spared.is_empty() && spared.len() < 10, "{name}: {spared:?}");
    }
}

/// 10.0.0.3 stood still from second 73 to 95 of the capture, 10.0.0.4 was killed at 107 and was back at about 116.
#[test]
fn the_paused_and_the_killed_node_are_missing_just_then() {
    let Some(found) = Case::new("klaytn-4cn-faults", &FOUR, "").analyze(2) else {
        return;
    };
    let missing: BTreeSet<(u64, u64, String)> = of(&found, VoteState::Missing)
        .into_iter()
        .filter(|(.., kind, _)| matches!(kind, Kind::Prepare | Kind::Commit))
        .map(|(sequence, round, _, signer)| (sequence, round, signer))
        .collect();
    let expected = [
        (66, 0, "cn3"),
        (67, 0, "cn3"),
        (68, 1, "cn3"),
        (69, 0, "cn3"),
        (70, 0, "cn3"),
        (71, 1, "cn3"),
        (72, 0, "cn3"),
        (84, 0, "cn4"),
        (85, 1, "cn4"),
        (86, 0, "cn4"),
    ];
    assert_eq!(missing, expected.map(|(s, r, who)| (s, r, who.to_owned())).into());
    let start = found
        .facts
        .sessions
        .iter()
        .map(|session| session.first_seen_ns)
        .min()
        .unwrap();
    for (sequence, round, who) in missing {
        let mut rounds = found.heights.iter().flat_map(|height| &height.rounds);
        let row = rounds
            .find(|row| (row.sequence, row.round) == (sequence, round))
            .unwrap();
        let second = row.committed_ns.unwrap().since(start).0 as f64 / 1e9;
        // A restarted node takes no part before it has the blocks.
        let (from, to) = if who == "cn3" {
            (72.0, 97.0)
        } else {
            (106.0, 120.0)
        };
        assert!((from..to).contains(&second), "{who} at {second}: {row:?}");
    }
    assert_eq!(
        of(&found, VoteState::Partial),
        [],
        "votes for what was decided are not held against anybody"
    );
    // Their proposals, too.
    let proposals: Vec<_> = of(&found, VoteState::Missing)
        .into_iter()
        .filter(|(.., kind, _)| *kind == Kind::Preprepare)
        .map(|(sequence, round, _, signer)| (sequence, round, signer))
        .collect();
    let expected = [(68, 0, "cn3"), (71, 0, "cn3"), (85, 0, "cn4")];
    assert_eq!(proposals, expected.map(|(s, r, who)| (s, r, who.to_owned())));
}

/// - Sequence 1: consensus began before the nodes knew each other, and who should have proposed is not on the wire (there is no block
///   before). No proposal left any node within ten seconds, the time of round 0; cn4, cn3 and cn1 then asked for round 1.
/// - 68 and 71: it was the paused cn3's turn (round robin behind the block before). Nothing left it; the three others asked for round 1 ten
///   seconds after the block before, and cn1, next in turn, proposed.
/// - 85: the same with the killed cn4; the next one is cn3.
#[test]
fn rounds_above_zero_are_explained() {
    let Some(found) = Case::new("klaytn-4cn-faults", &FOUR, "").analyze(2) else {
        return;
    };
    let rounds: Vec<_> = found.heights.iter().flat_map(|height| &height.rounds).collect();
    let changed: Vec<_> = rounds
        .iter()
        .filter(|round| round.outcome == Outcome::Changed)
        .map(|round| {
            (
                round.sequence,
                round.round,
                round.cause,
                round.proposer.as_deref(),
            )
        })
        .collect();
    let none = Some(RoundCause::NoPreprepare);
    assert_eq!(
        changed,
        [
            (1, 0, none, None),
            (68, 0, none, Some("cn3")),
            (71, 0, none, Some("cn3")),
            (85, 0, none, Some("cn4")),
        ]
    );
    for round in rounds {
        assert_eq!(round.cause.is_some(), round.outcome == Outcome::Changed);
        if round.sequence > 1 && round.outcome == Outcome::Decided {
            let seconds = round.block_time_ns.unwrap() as f64 / 1e9;
            let waited = round.round > 0;
            assert_eq!((9.9..10.3).contains(&seconds), waited, "{round:?}");
            assert!(waited || seconds < 1.6, "{round:?}");
        }
    }
}
