//! What rules and scores must not be led into: blame of the honest by what others did, or relief of the guilty.

use std::sync::Arc;

use bftap_analysis::facts::{RunFacts, ScoreFact, SessionState};
use bftap_analysis::{ExposureGroup, ExposureKind, ExposurePolicy, Observation};
use bftap_ibft_decode::{ConsensusMessage, Kind};
use bftap_model::{CaptureTime, Hash256};

use crate::network::{Network, Tap, ip, judge};
use crate::rules::{
    SECOND, found, found_by, healthy, locks, observations, one, options, other_block, rules, silent_in,
    spread,
};

fn facts(network: &Network, observations: Vec<Observation>) -> RunFacts {
    judge(observations, &options(network), &Tap::All).1
}

fn score<'f>(facts: &'f RunFacts, node: &str) -> &'f ScoreFact {
    let found = facts.scores.iter().find(|score| &*score.node == node);
    found.unwrap_or_else(|| panic!("{:?}", facts.scores))
}

/// All sessions of a node broke at a time, and new ones began.
fn start_anew(observations: &mut [Observation], node: u8, time: i64) {
    for observation in observations {
        if let Observation::End(_, end) = observation
            && end.info.ends.iter().any(|end| end.ip == ip(node))
        {
            let at = usize::from(end.info.ends[1].ip == ip(node));
            end.spoken[at].last = Some(CaptureTime::from_nanos(time));
        }
    }
}

fn third_block(message: &mut ConsensusMessage) {
    message.digest = Some(Hash256([0xdd; 32]));
}

#[test]
fn one_start_excuses_one_change_of_mind() {
    let contradicted = |also: fn(&mut ConsensusMessage)| {
        let mut network = healthy(6);
        let (from, _) = network.span_of(3);
        let vote = network.vote(Kind::Prepare, 3, 0, 2, 1);
        spread(
            &mut network,
            &Network::with(&vote, other_block),
            2,
            from + 3 * SECOND,
        );
        let more = Network::with(&vote, also);
        spread(&mut network, &more, 2, from + 3 * SECOND + 1_000_000);
        let mut observations = observations(&network);
        start_anew(&mut observations, 2, from + SECOND);
        let events = found_by(observations, &options(&network), &Tap::All);
        assert_eq!(rules(&events), ["equivocation"]);
        events.into_iter().next().unwrap()
    };
    // A third block, a millisecond behind the second.
    let event = contradicted(third_block);
    assert!(event.suspicious && event.severity == "critical", "{event:?}");
    assert_eq!(event.numbers["digests"], 3);
    // A twin of the first message, which anybody can make of it, is nothing new.
    let event = contradicted(|message| message.commit_seal = None);
    assert!(!event.suspicious, "{event:?}");
    let event = contradicted(|message| message.parent = Some(Hash256([0x11; 32])));
    assert!(!event.suspicious, "{event:?}");
}

#[test]
fn a_commit_to_a_block_that_nobody_prepared_is_nobodys_bad_luck() {
    // All committed to the first block; what became of it does not matter.
    let network = locks(&[(0, 0, 1), (1, 0, 1), (2, 0, 1), (3, 0, 1), (0, 1, 2)]);
    let event = one(&network);
    assert_eq!((event.rule, event.suspicious), ("conflicting_lock", true));
    assert_eq!(event.signer.as_deref(), Some("cn0"));
    assert_eq!(
        (event.numbers["behind_first"], event.numbers["behind_second"]),
        (4, 1)
    );
    // In whichever round it made one up.
    let event = one(&locks(&[(0, 0, 2), (0, 1, 1), (1, 1, 1), (2, 1, 1), (3, 1, 1)]));
    assert_eq!((event.rule, event.suspicious), ("conflicting_lock", true));
    // Nor does a start explain it.
    let mut anew = observations(&network);
    let (_, end) = network.span_of(2);
    start_anew(&mut anew, 0, end);
    let mut options = options(&network);
    options.rules.restart = bftap_model::Nanos(1);
    assert!(found_by(anew, &options, &Tap::All)[0].suspicious);
    // But what may have been said in a session that nobody can read does.
    let mut hidden = locks(&[(0, 0, 1), (1, 0, 1), (2, 0, 1), (3, 0, 1), (0, 1, 2)]);
    hidden.unread_session(0, 3, SessionState::NoSecret, 0, i64::MAX);
    assert!(!one(&hidden).suspicious);
    // And what was said before the capture began.
    let mut late = locks(&[(0, 0, 1), (1, 0, 1), (2, 0, 1), (3, 0, 1), (0, 1, 2)]);
    late.retain(|message| message.payload.message.view.sequence == 3);
    let mut options = crate::rules::options(&late);
    options.validators = Some(late.addresses());
    let events = found_by(observations(&late), &options, &Tap::All);
    assert!(
        rules(&events) == ["conflicting_lock"] && !events[0].suspicious,
        "{events:?}"
    );
}

/// Honest nodes hand on what they take.
#[test]
fn a_storm_is_its_signers_whoever_hands_it_over() {
    let mut network = healthy(4);
    let (_, end) = network.span_of(4);
    for round in 1..=17 {
        let vote = network.vote(Kind::RoundChange, 5, round, 1, 0);
        network.deliver(&vote, 2, 0, end + 1_000_000 * round as i64);
    }
    let event = one(&network);
    assert_eq!(event.rule, "roundchange_storm");
    assert_eq!(
        (event.signer.as_deref(), event.sender.as_deref()),
        (Some("cn1"), Some("cn2"))
    );
    assert_eq!(
        (event.address, event.ip),
        (Some(network.addresses()[1]), Some(ip(1)))
    );
}

#[test]
fn one_large_frame_among_small_copies_is_oversized() {
    let mut network = healthy(4);
    let vote = network.vote(Kind::Commit, 3, 0, 1, 1);
    let (_, end) = network.span_of(3);
    for copy in 0..3 {
        network.deliver(&vote, 1, 0, end + copy);
    }
    let mut observations = observations(&network);
    for observation in &mut observations {
        if let Observation::Message(message) = observation
            && message.payload.hash == vote.hash
            && message.seen.nanos() == end
        {
            message.wire_len = 5000;
        }
    }
    let events = found_by(observations, &options(&network), &Tap::All);
    assert_eq!(rules(&events), ["oversized"], "{events:#?}");
    assert_eq!(
        (events[0].numbers["bytes"], events[0].numbers["messages"]),
        (5000, 1)
    );
    assert_eq!(events[0].sender.as_deref(), Some("cn1"));
}

#[test]
fn the_silence_of_who_was_voted_out_is_over() {
    let network = silent_in(20, 4..=20);
    let left = network.addresses()[..3].to_vec();
    let mut observations = observations(&network);
    for observation in &mut observations {
        if let Observation::Message(message) = observation
            && message.payload.message.view.sequence >= 10
        {
            message.payload = Network::with(&message.payload, |message| {
                if let Some(proposal) = &mut message.proposal {
                    proposal.validators = left.clone();
                }
            });
        }
    }
    let events = found_by(observations, &options(&network), &Tap::All);
    let silent: Vec<_> = events
        .iter()
        .filter(|event| event.rule == "silent_validator")
        .collect();
    assert_eq!(silent.len(), 1, "{events:#?}");
    assert_eq!((silent[0].numbers["open"], silent[0].numbers["rounds"]), (0, 6));
    assert!(silent[0].numbers["to_ns"] <= network.span_of(9).1);
}

#[test]
fn heights_that_one_node_makes_up_are_due_from_nobody_and_no_merit() {
    let network = healthy(20);
    let before = facts(&network, observations(&network));
    let mut flooded = healthy(20);
    let (_, end) = flooded.span_of(20);
    for sequence in 100..200 {
        let vote = flooded.vote(Kind::Prepare, sequence, 0, 1, 77);
        spread(&mut flooded, &vote, 1, end);
    }
    // Nor are rounds and variants of a height that is there.
    for round in 5..15 {
        let vote = flooded.vote(Kind::RoundChange, 20, round, 1, 0);
        spread(&mut flooded, &vote, 1, end);
    }
    for block in 20..60 {
        let vote = flooded.vote(Kind::Commit, 20, 0, 1, block);
        spread(&mut flooded, &vote, 1, end);
    }
    let after = facts(&flooded, observations(&flooded));
    for node in ["cn0", "cn1", "cn2", "cn3"] {
        let [was, is] = [&before, &after].map(|facts| score(facts, node));
        assert!(was.first_deliveries_milli > 0, "{was:?}");
        assert_eq!(is.first_deliveries_milli, was.first_deliveries_milli, "{node}");
        assert_eq!(
            (was.delivery_deficit_milli, is.delivery_deficit_milli),
            (0, 0),
            "{node}"
        );
    }
    // It is not forgotten what it did.
    assert!(score(&after, "cn1").behaviour_milli < 0);
}

#[test]
fn what_a_session_without_a_secret_carried_is_nobodys_deficit() {
    let partly_hidden = |unread: bool| {
        let mut network = Network::new(7);
        for sequence in 1..=20 {
            network.height(sequence, &[0]);
        }
        for other in 1..=5 {
            if unread {
                network.unread_session(other, 6, SessionState::NoSecret, 0, i64::MAX);
            }
            network.hide(other, 6);
        }
        let facts = facts(&network, observations(&network));
        score(&facts, "cn6").delivery_deficit_milli
    };
    assert!(partly_hidden(false) < 0, "it hands over to one of six");
    assert_eq!(partly_hidden(true), 0);
}

#[test]
fn events_of_the_policy_name_chain_and_key() {
    let network = healthy(2);
    let mut options = options(&network);
    options.exposure = Some(Arc::new(ExposurePolicy {
        groups: vec![ExposureGroup {
            name: "core".to_owned(),
            kind: ExposureKind::Consensus,
            closed: true,
            names: ["cn0", "cn1", "cn2"].map(str::to_owned).into(),
            ..ExposureGroup::default()
        }],
        ..ExposurePolicy::default()
    }));
    let events = judge(observations(&network), &options, &Tap::All).1.events;
    assert_eq!(rules(&events), ["exposure_unknown_peer"; 3], "{events:#?}");
    for event in events {
        assert!(event.chain.starts_with("1000/0x01"), "{event:?}");
        assert_eq!(event.address, Some(network.addresses()[3]));
        assert_eq!(event.node_id.map(|id| id.address()), event.address);
    }
}

#[test]
fn a_clock_that_is_set_back_makes_no_negative_block_time() {
    let mut network = healthy(5);
    network.pass(-3600 * SECOND);
    for sequence in 6..=9 {
        network.height(sequence, &[0]);
    }
    let (heights, facts) = judge(observations(&network), &options(&network), &Tap::All);
    let times: Vec<_> = heights
        .iter()
        .map(|height| height.rounds[0].block_time_ns)
        .collect();
    assert_eq!(times.len(), 9);
    for (at, time) in times.iter().enumerate() {
        assert_eq!(time.is_some(), at != 0 && at != 5, "{times:?}");
        assert!(time.is_none_or(|time| time > 0), "{times:?}");
    }
    assert_eq!(rules(&facts.events), ["clock_step"]);
    let event = &facts.events[0];
    assert_eq!(
        (event.sequence, event.suspicious, event.address),
        (Some(6), false, None)
    );
    assert!(event.numbers["back_ns"] > 3500 * SECOND, "{event:?}");
    let block_times = facts
        .phases
        .iter()
        .find(|phase| &*phase.phase == "block_time")
        .unwrap();
    assert_eq!(block_times.rounds, 7, "what is not known does not count");
    assert!(found(&healthy(9)).is_empty());
}
