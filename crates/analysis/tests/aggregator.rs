//! Facts from hand-made observations: what counts as what, and that no order of arrival changes it.

#[path = "aggregator/blame.rs"]
mod blame;
#[path = "aggregator/fuzzing.rs"]
mod fuzzing;
#[path = "aggregator/known.rs"]
mod known;
#[path = "aggregator/ledger.rs"]
mod ledger;
#[path = "aggregator/memory.rs"]
mod memory;
mod network;
#[path = "aggregator/peers.rs"]
mod peers;
#[path = "aggregator/restart.rs"]
mod restart;
#[path = "aggregator/rules.rs"]
mod rules;
#[path = "aggregator/story.rs"]
mod story;
#[path = "aggregator/strangers.rs"]
mod strangers;
#[path = "aggregator/updates.rs"]
mod updates;

use bftap_analysis::facts::{Coverage, HeightFacts, Outcome, RunFacts, SessionState};
use bftap_analysis::{AnalysisOptions, KnownNode, Observation};
use bftap_ibft_decode::Kind;
use network::{Network, Tap, ip, judge};

#[test]
fn useful_repeats_and_echoes_add_up_to_messages() {
    let mut network = Network::new(4);
    let vote = network.vote(Kind::Prepare, 5, 0, 1, 9);
    network.deliver(&vote, 1, 0, 100); // first copy
    network.deliver(&vote, 2, 0, 110); // re-gossip
    network.deliver(&vote, 3, 0, 120); // re-gossip
    network.deliver(&vote, 2, 1, 130); // back to its signer
    let (heights, facts) = judge(network.observations(), &AnalysisOptions::default(), &Tap::All);
    let at = |receiver: u8| {
        heights[0]
            .counts
            .iter()
            .find(|count| count.receiver_ip == ip(receiver))
            .unwrap()
    };
    let count = at(0);
    assert_eq!(
        (count.messages, count.useful, count.repeats, count.echoes),
        (3, 1, 2, 0)
    );
    assert_eq!(
        (count.first_seen.nanos(), count.last_seen.nanos(), count.bytes),
        (100, 120, 3 * 304)
    );
    let echo = at(1);
    assert_eq!(
        (echo.messages, echo.useful, echo.repeats, echo.echoes),
        (1, 0, 0, 1)
    );
    let copies: Vec<_> = facts
        .copies
        .iter()
        .map(|row| (row.receiver_ip, row.copies, row.payloads))
        .collect();
    assert_eq!(copies, [(ip(0), 3, 1), (ip(1), 1, 1)]);
    assert_eq!(
        heights[0].deliveries.len(),
        4,
        "one row for each sender and receiver"
    );
}

#[test]
fn any_order_and_any_memory_give_the_same_facts() {
    let mut network = Network::new(4);
    for sequence in 1..40 {
        network.height(sequence, &[0]);
    }
    let observations = network.observations();
    let options = AnalysisOptions::default();
    let (heights, facts) = judge(observations.clone(), &options, &Tap::All);
    let expected = text(&heights, &facts);
    assert!(expected.contains("Decided"));
    let sessions = observations
        .iter()
        .filter(|o| matches!(o, Observation::Session(..)))
        .count();
    for seed in 1..20_u64 {
        let mut shuffled = observations.clone();
        let ends = shuffled
            .iter()
            .position(|o| matches!(o, Observation::End(..)))
            .unwrap();
        let mut state = seed;
        for at in (sessions + 1..ends).rev() {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            shuffled.swap(at, sessions + (state >> 33) as usize % (at - sessions + 1));
        }
        let tight = AnalysisOptions {
            open_deliveries: 7 * seed as usize,
            open_links: seed as usize,
            ..options.clone()
        };
        let (heights, facts) = judge(shuffled, &tight, &Tap::All);
        assert_eq!(text(&heights, &facts), expected, "seed {seed}");
    }
}

fn text(heights: &[HeightFacts], facts: &RunFacts) -> String {
    format!("{heights:#?}{facts:#?}")
}

#[test]
fn a_round_is_decided_when_commits_of_a_quorum_reached_a_node() {
    let mut network = Network::new(4);
    network.height(1, &[0]);
    let (heights, _) = judge(network.observations(), &AnalysisOptions::default(), &Tap::All);
    let round = &heights[0].rounds[0];
    assert_eq!(round.outcome, Outcome::Decided);
    assert_eq!((round.validators, round.quorum), (Some(4), Some(3)));
    let (preprepare, prepared, committed) = (
        round.preprepare_ns.unwrap(),
        round.prepared_ns.unwrap(),
        round.committed_ns.unwrap(),
    );
    assert!(preprepare < prepared && prepared < committed, "{round:?}");
}

#[test]
fn a_round_left_for_a_higher_one_is_changed_and_names_who_should_have_proposed() {
    let mut network = Network::new(4);
    for sequence in 1..10 {
        network.height(sequence, &[0]);
    }
    network.height(10, &[1]); // nothing of round 0, decided in round 1
    let expected = network.proposer(10, 0);
    let options = AnalysisOptions {
        nodes: network.names(),
        ..AnalysisOptions::default()
    };
    let (heights, _) = judge(network.observations(), &options, &Tap::All);
    let rounds = &heights[9].rounds;
    let outcomes: Vec<_> = rounds.iter().map(|round| (round.round, round.outcome)).collect();
    assert_eq!(outcomes, [(0, Outcome::Changed), (1, Outcome::Decided)]);
    assert_eq!(
        rounds[0].proposer.as_deref(),
        Some(format!("cn{expected}").as_str())
    );
    assert_eq!(rounds[0].preprepare_ns, None);
    assert_eq!(rounds[0].messages, 0);
}

#[test]
fn what_may_hide_elsewhere_is_unknown_and_what_cannot_is_open() {
    let mut network = Network::new(4);
    network.height(1, &[0]);
    let vote = network.vote(Kind::Prepare, 2, 0, 1, 7);
    network.deliver(&vote, 1, 0, 5_000_000_000);
    network.hide(2, 3);
    let observations = network.observations();
    let last = |tap: &Tap| {
        let (heights, _) = judge(observations.clone(), &AnalysisOptions::default(), tap);
        (heights[1].rounds[0].outcome, heights[1].counts[0].lower_bound)
    };
    assert_eq!(last(&Tap::All), (Outcome::Open, false));
    // Only node 0's own port: nodes 2 and 3 also talk to each other, unseen.
    assert_eq!(last(&Tap::Of(0)), (Outcome::Unknown, false));
}

#[test]
fn an_unread_session_makes_lower_bounds_while_it_lasts() {
    let mut network = Network::new(4);
    network.height(1, &[0]);
    network.height(2, &[0]);
    let (from, to) = network.span_of(2);
    network.unread_session(0, 1, SessionState::NoSecret, from, to);
    let (heights, facts) = judge(network.observations(), &AnalysisOptions::default(), &Tap::All);
    let lower = |height: usize, receiver: u8| {
        let counts = &heights[height].counts;
        counts
            .iter()
            .filter(|count| count.receiver_ip == ip(receiver))
            .all(|count| count.lower_bound)
    };
    // Coverage is judged over the whole run: a node with an unread session is lossy throughout.
    assert!(lower(1, 0) && lower(1, 1) && lower(0, 0));
    assert!(!lower(0, 2) && !lower(1, 2));
    let coverage = |label: &str| {
        facts
            .nodes
            .iter()
            .find(|node| &*node.label == label)
            .unwrap()
            .coverage
    };
    let addresses = network.addresses();
    assert_eq!(coverage(&addresses[0].to_string()), Coverage::Lossy);
    assert_eq!(coverage(&addresses[2].to_string()), Coverage::Full);
}

#[test]
fn a_session_without_status_joins_the_chain_of_its_nodes() {
    let mut network = Network::new(4);
    network.height(1, &[0]);
    network.forget_chain(0, 1);
    let (heights, facts) = judge(network.observations(), &AnalysisOptions::default(), &Tap::All);
    assert_eq!(heights.len(), 1, "one height of one chain");
    assert!(
        facts
            .sessions
            .iter()
            .all(|session| session.chain.starts_with("1000/0x"))
    );
    network.forget_all_chains();
    let (heights, facts) = judge(network.observations(), &AnalysisOptions::default(), &Tap::All);
    assert_eq!(heights.len(), 1);
    assert!(facts.sessions.iter().all(|session| &*session.chain == "unknown"));
}

#[test]
fn chains_are_kept_apart() {
    let mut network = Network::new(4);
    network.height(1, &[0]);
    network.reinitialise();
    network.height(1, &[0]);
    let (heights, _) = judge(network.observations(), &AnalysisOptions::default(), &Tap::All);
    assert_eq!(heights.len(), 2);
    assert_ne!(heights[0].counts[0].chain, heights[1].counts[0].chain);
    assert_eq!(heights[0].counts.len(), heights[1].counts.len());
}

#[test]
fn wrong_signatures_count_as_messages_but_not_as_votes() {
    let mut network = Network::new(4);
    network.height_signed(1, &[0], |signer| signer != 3 && signer != 2);
    let (heights, _) = judge(network.observations(), &AnalysisOptions::default(), &Tap::All);
    let invalid: u64 = heights[0].counts.iter().map(|count| count.invalid).sum();
    assert!(invalid > 0);
    assert_eq!(
        heights[0].rounds[0].outcome,
        Outcome::Open,
        "two good votes of four decide nothing"
    );
}

#[test]
fn a_flow_of_unknown_shape_is_a_session_only_on_a_port_of_sessions() {
    let mut network = Network::new(2);
    network.candidate(0, 32_323);
    network.candidate(1, 443);
    let (_, facts) = judge(network.observations(), &AnalysisOptions::default(), &Tap::All);
    assert_eq!((facts.totals.sessions, facts.totals.other_flows), (2, 1));
    let ports = [443].into();
    let (_, facts) = judge(
        network.observations(),
        &AnalysisOptions {
            ports,
            ..AnalysisOptions::default()
        },
        &Tap::All,
    );
    assert_eq!((facts.totals.sessions, facts.totals.other_flows), (3, 0));
}

#[test]
fn a_hostile_round_number_makes_no_flood_of_rows() {
    let mut network = Network::new(4);
    let vote = network.vote(Kind::RoundChange, 3, i64::MAX as u64, 1, 0);
    network.deliver(&vote, 1, 0, 10);
    let (heights, _) = judge(network.observations(), &AnalysisOptions::default(), &Tap::All);
    assert_eq!(heights[0].rounds.len(), 1002);
    assert_eq!(heights[0].rounds.last().unwrap().round, i64::MAX as u64);
}

#[test]
fn limits_on_lists_are_told() {
    let mut network = Network::new(4);
    network.height(1, &[0]);
    let options = AnalysisOptions {
        listed_sessions: 2,
        ..AnalysisOptions::default()
    };
    let (_, facts) = judge(network.observations(), &options, &Tap::All);
    assert_eq!(facts.sessions.len(), 2);
    assert_eq!(facts.totals.limits_reached["listed_sessions"], 4);
}

#[test]
fn nodes_are_named_by_key() {
    let network = Network::new(4);
    let mut nodes = network.names();
    nodes.push(KnownNode {
        name: "nobody".into(),
        ip: Some(ip(200)),
        ..KnownNode::default()
    });
    let (_, facts) = judge(
        network.observations(),
        &AnalysisOptions {
            nodes,
            ..AnalysisOptions::default()
        },
        &Tap::All,
    );
    let names: Vec<_> = facts.nodes.iter().map(|node| node.label.to_string()).collect();
    assert_eq!(names, ["cn0", "cn1", "cn2", "cn3"]);
}
