//! What one liar says: a key that is not its own, rounds and heights where nobody is, a list of validators of its own.

use std::collections::BTreeSet;

use bftap_analysis::facts::{HeightFacts, Outcome, RoundFact, RoundStanding, RunFacts, SessionState};
use bftap_analysis::{
    Aggregator, AnalysisOptions, Now, Observation, SessionInfo, SessionKey, Spoken, WorkerTotals,
};
use bftap_ibft_decode::Kind;
use bftap_model::{Address, CaptureTime, Endpoint, NodeId};

use crate::network::{Collect, Network, Tap, ip, judge, read_facts, session_end};
use crate::rules::{found_by, healthy, observations, options, rules, silent_in, spread};

/// Where nobody of the network is, and nobody listens.
const STRANGER: u8 = 200;

/// Sessions of a stranger with node 0 in which it showed the key of node 3, and of node 1 in every other one.
fn strangers(network: &Network, number: u16, accepted: bool) -> Vec<Observation> {
    let key_of = |node: usize| {
        let wanted = network.addresses()[node];
        let mut ids = (1..=4).map(|key| NodeId([key; 64]));
        ids.find(|id| id.address() == wanted)
    };
    let (from, to) = (network.span_of(1).0, network.now() - 2_000_000_000);
    let session = |number: u16| {
        let info = SessionInfo {
            ends: [
                Endpoint {
                    ip: ip(STRANGER),
                    port: 50_000 + number,
                },
                Endpoint {
                    ip: ip(0),
                    port: 32_323,
                },
            ],
            node_ids: [key_of(if number.is_multiple_of(2) { 3 } else { 1 }), key_of(0)],
            accepted: [accepted, true],
            clients: [Some("Klaytn/v1.4.2/linux".to_owned()), None],
            chain: None,
        };
        let mut end = session_end(&info, SessionState::Decrypted, (from + i64::from(number), to));
        end.spoken = [Spoken::default(); 2];
        let key = SessionKey {
            worker: 6,
            connection: number.into(),
        };
        Observation::End(key, Box::new(end))
    };
    (0..number).map(session).collect()
}

#[test]
fn a_validators_key_in_a_strangers_hello_does_not_excuse_the_validator() {
    let network = silent_in(14, 4..=9);
    let run = |accepted| {
        let mut all = observations(&network);
        all.extend(strangers(&network, 2, accepted));
        found_by(all, &options(&network), &Tap::All)
    };
    let events = run(false);
    assert_eq!(rules(&events), ["silent_validator"]);
    assert_eq!(events[0].ip, Some(ip(3)));
    assert_eq!(events[0].address, Some(network.addresses()[3]));
    // Second places that the keys were proven at, and that nobody sees, are a reason to say nothing.
    let events = run(true);
    assert!(events.is_empty(), "{events:#?}");
}

#[test]
fn what_a_stranger_does_is_not_the_fault_of_whom_it_names() {
    let network = healthy(14);
    let mut all = observations(&network);
    all.extend(strangers(&network, 25, false));
    let (_, facts) = judge(all.clone(), &options(&network), &Tap::All);
    assert_eq!(rules(&facts.events), ["connection_churn"]);
    let event = &facts.events[0];
    assert_eq!(
        (event.ip, event.address, event.node_id),
        (Some(ip(STRANGER)), None, None)
    );
    assert_eq!(event.sender.as_deref(), Some("10.0.0.200"));
    assert_eq!(facts.totals.limits_reached["unproven_keys"], 25);
    let victim = facts.nodes.iter().find(|node| &*node.label == "cn3").unwrap();
    assert_eq!(victim.ips, [ip(3)]);
    let of = |facts: &RunFacts, node: &str| {
        let score = facts.scores.iter().find(|score| &*score.node == node).unwrap();
        format!("{score:?}")
    };
    let (_, without) = judge(observations(&network), &options(&network), &Tap::All);
    assert!(!without.totals.limits_reached.contains_key("unproven_keys"));
    for node in ["cn0", "cn1", "cn2", "cn3"] {
        assert_eq!(of(&facts, node), of(&without, node), "{node}");
    }

    // While it goes on, the same is said.
    let read = read_facts(&all, &Tap::All);
    let (mut live, mut open) = (Aggregator::new(options(&network)), Vec::new());
    live.track_changes();
    for observation in all {
        match observation {
            Observation::End(_, end) => open.push(*end),
            other => live.push(other).unwrap(),
        }
    }
    let now = Now {
        read,
        open,
        ..Now::default()
    };
    let update = live.update(now).unwrap();
    assert_eq!(update.facts.events, facts.events);
    assert_eq!(update.facts.totals.limits_reached, facts.totals.limits_reached);
}

#[test]
fn keys_accepted_in_sessions_that_are_not_listed_are_known_behind_a_restart() {
    let network = healthy(3);
    let options = AnalysisOptions {
        listed_sessions: 0,
        ..options(&network)
    };
    let all = network.observations();
    let read = || read_facts(&all, &Tap::All);
    let mut first = Aggregator::new(options.clone());
    first.keep_changes();
    for observation in all.clone() {
        first.push(observation).unwrap();
    }
    let told = first.changes(&[], true);
    let mut second = Aggregator::new(options);
    second.recall(&told.rest, true).unwrap();
    second.recall_messages(&told.messages, true).unwrap();
    for aggregator in [first, second] {
        let mut sink = Collect::default();
        aggregator
            .finish(read(), WorkerTotals::default(), &mut sink)
            .unwrap();
        let names: BTreeSet<String> = sink
            .heights
            .iter()
            .flat_map(|height| &height.counts)
            .map(|count| count.receiver.to_string())
            .collect();
        assert_eq!(
            names.into_iter().collect::<Vec<_>>(),
            ["cn0", "cn1", "cn2", "cn3"]
        );
    }
}

fn rounds_of(heights: &[HeightFacts], sequence: u64) -> Vec<(u64, Outcome, RoundStanding)> {
    heights
        .iter()
        .flat_map(|height| &height.rounds)
        .filter(|round| round.sequence == sequence)
        .map(|round| (round.round, round.outcome, round.standing))
        .collect()
}

#[test]
fn rounds_and_heights_that_one_validator_names_do_not_count() {
    let network = healthy(12);
    let (_, before) = judge(observations(&network), &options(&network), &Tap::All);
    let mut lying = network.clone();
    for round in 1..=50 {
        let vote = network.vote(Kind::RoundChange, 12, round, 3, 9);
        spread(&mut lying, &vote, 3, network.now());
    }
    for sequence in (100..140).chain([u64::MAX]) {
        let vote = network.vote(Kind::Prepare, sequence, 0, 3, 9);
        spread(&mut lying, &vote, 3, network.now());
        let vote = network.vote(Kind::Preprepare, sequence, 3, 3, 9);
        spread(&mut lying, &vote, 3, network.now());
    }
    let (heights, facts) = judge(observations(&lying), &options(&network), &Tap::All);
    let rounds = rounds_of(&heights, 12);
    assert_eq!(rounds.len(), 51, "each has its row");
    assert_eq!(rounds[0], (0, Outcome::Decided, RoundStanding::Entered));
    let claimed = |round: &(u64, Outcome, RoundStanding)| round.2 == RoundStanding::Claimed;
    assert!(rounds[1..].iter().all(claimed));
    let rounds = rounds_of(&heights, 100);
    assert_eq!(rounds[0].1, Outcome::Changed, "what messages say, as ever");
    assert!(rounds.len() == 4 && rounds.iter().all(claimed));
    assert_eq!(heights.iter().filter(|height| height.is_there()).count(), 12);
    let counted = heights.iter().flat_map(|height| &height.rounds);
    let counted: Vec<Outcome> = counted.filter_map(RoundFact::counted).collect();
    assert_eq!(counted, [Outcome::Decided; 12]);

    assert_eq!(format!("{:?}", facts.phases), format!("{:?}", before.phases));
    for (one, other) in facts.participation.iter().zip(&before.participation) {
        let due = |part: &bftap_analysis::facts::ParticipationFact| {
            (
                part.validator.clone(),
                part.rounds,
                part.proposals_due,
                part.missing,
                part.unknown,
            )
        };
        assert_eq!(due(one), due(other));
    }
    let deficit = |facts: &RunFacts| -> Vec<_> {
        let deficits = facts.scores.iter().map(|score| score.delivery_deficit_milli);
        deficits.collect()
    };
    assert_eq!(deficit(&facts), deficit(&before));
    assert!(
        !rules(&facts.events).contains(&"missing_proposer"),
        "{:?}",
        facts.events
    );
}

#[test]
fn a_round_that_more_than_may_fail_go_on_from_is_left() {
    let mut network = healthy(3);
    // Four validators, of which one may be faulty: in round 1 there are all.
    network.height(4, &[1]);
    let (heights, _) = judge(observations(&network), &options(&network), &Tap::All);
    assert_eq!(
        rounds_of(&heights, 4),
        [
            (0, Outcome::Changed, RoundStanding::Left),
            (1, Outcome::Decided, RoundStanding::Entered)
        ]
    );
    // Two that ask for it are enough to know that an honest one went, and too few to say that the round began.
    let mut network = healthy(3);
    for (signers, there, standing) in [
        (2..=2, RoundStanding::Claimed, RoundStanding::Claimed),
        (2..=3, RoundStanding::Left, RoundStanding::Claimed),
        (1..=3, RoundStanding::Left, RoundStanding::Entered),
    ] {
        for signer in signers {
            let vote = network.vote(Kind::RoundChange, 4, 1, signer, 1);
            let now = network.now();
            spread(&mut network, &vote, signer, now);
        }
        let (heights, _) = judge(observations(&network), &options(&network), &Tap::All);
        let found: Vec<_> = rounds_of(&heights, 4).into_iter().map(|round| round.2).collect();
        assert_eq!(found, [there, standing]);
    }
}

#[test]
fn rounds_without_rows_are_told_by_whether_anybody_is_there() {
    let far = |signers: std::ops::RangeInclusive<u8>| {
        let mut network = healthy(3);
        for signer in signers {
            let vote = network.vote(Kind::RoundChange, 4, 5_000, signer, 1);
            let now = network.now();
            spread(&mut network, &vote, signer, now);
        }
        let (_, facts) = judge(observations(&network), &options(&network), &Tap::All);
        let limit = |name: &str| facts.totals.limits_reached.get(name).copied();
        [limit("empty_rounds"), limit("claimed_rounds")]
    };
    assert_eq!(far(3..=3), [None, Some(3_999)]);
    assert_eq!(far(1..=3), [Some(3_999), None]);
}

/// Numbers of validators from this height on, when node 3 proposes a block there with a list of its own.
fn lists(voters: std::ops::Range<u8>, sequence: u64, list: Vec<Address>) -> Vec<Option<u32>> {
    let mut network = healthy(5);
    let proposal = network.vote(Kind::Preprepare, sequence, 0, 3, 7);
    let proposal = Network::with(&proposal, |message| {
        if let Some(proposal) = &mut message.proposal {
            proposal.validators.clone_from(&list);
        }
    });
    let now = network.now();
    spread(&mut network, &proposal, 3, now);
    for voter in voters {
        let vote = network.vote(Kind::Prepare, sequence, 0, voter, 7);
        spread(&mut network, &vote, voter, now + 1_000);
    }
    let (heights, _) = judge(observations(&network), &options(&network), &Tap::All);
    heights
        .iter()
        .flat_map(|height| &height.rounds)
        .filter(|round| round.sequence >= sequence.min(5))
        .map(|round| round.validators)
        .collect()
}

#[test]
fn another_list_of_validators_takes_more_votes_than_may_be_lies() {
    let network = Network::new(4);
    let own = || vec![network.addresses()[3], Address([9; 20])];
    // Alone, far ahead; with one more vote than the proposal; and long past, where it comes before all others.
    assert_eq!(lists(0..0, 500, own()), [Some(4), Some(4)]);
    assert_eq!(lists(3..4, 500, own()), [Some(4), Some(4)]);
    assert_eq!(lists(0..0, 0, own()), [Some(4); 6]);
    // Two of four voted for it: one of them is honest.
    let three = network.addresses()[..3].to_vec();
    assert_eq!(lists(0..2, 6, three), [Some(4), Some(3)]);
}

#[test]
fn times_in_the_tests_are_those_of_the_network() {
    // What the others rest on: the stranger's sessions last as long as the chain's messages.
    let network = healthy(2);
    let Some(Observation::End(_, end)) = strangers(&network, 1, false).pop() else {
        panic!()
    };
    assert!(end.span.0 <= CaptureTime::from_nanos(network.span_of(1).0) && end.info.node_ids[0].is_some());
}
