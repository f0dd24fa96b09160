//! Each rule: what makes it speak, whom it names, and what is near enough to be mistaken for it.

use std::sync::Arc;

use bftap_analysis::facts::EventFact;
use bftap_analysis::{AnalysisOptions, Observation, Payload, ProposerPolicy, Spoken};
use bftap_ibft_decode::{ConsensusMessage, Kind, Validity};
use bftap_model::{Address, CaptureTime, Endpoint, Hash256, Nanos};

use crate::network::{Network, Tap, ip, judge};

pub(crate) const SECOND: i64 = 1_000_000_000;

/// Sessions last from a second before the first message to a second behind the last one.
pub(crate) fn observations(network: &Network) -> Vec<Observation> {
    let mut observations = network.observations();
    let times = observations.iter().filter_map(|observation| match observation {
        Observation::Message(message) => Some(message.seen.nanos()),
        _ => None,
    });
    let (first, last) = times.fold((i64::MAX, 0), |(low, high), time| (low.min(time), high.max(time)));
    for observation in &mut observations {
        if let Observation::End(_, end) = observation
            && end.losses.is_empty()
        {
            let at = CaptureTime::from_nanos;
            end.span = (at(first - SECOND), at(last + SECOND));
            end.spoken = [Spoken {
                messages: 10,
                first: Some(at(first)),
                last: Some(at(last)),
            }; 2];
        }
    }
    observations
}

pub(crate) fn options(network: &Network) -> AnalysisOptions {
    AnalysisOptions {
        nodes: network.names(),
        policy: Some(ProposerPolicy::RoundRobin),
        ..AnalysisOptions::default()
    }
}

pub(crate) fn found_by(
    observations: Vec<Observation>,
    options: &AnalysisOptions,
    tap: &Tap,
) -> Vec<EventFact> {
    let mut reversed = observations.clone();
    let (_, facts) = judge(observations, options, tap);
    // Messages may come in any other order, as long as sessions open before and end behind them.
    let messages = |observation: &Observation| matches!(observation, Observation::Message(_));
    let from = reversed.iter().position(messages);
    let to = reversed.iter().rposition(messages);
    if let (Some(from), Some(to)) = (from, to) {
        reversed[from..=to].reverse();
        let (_, again) = judge(reversed, options, tap);
        assert_eq!(
            again.events, facts.events,
            "the order of messages makes no difference"
        );
    }
    facts.events
}

pub(crate) fn found(network: &Network) -> Vec<EventFact> {
    found_by(observations(network), &options(network), &Tap::All)
}

pub(crate) fn rules(events: &[EventFact]) -> Vec<&'static str> {
    events.iter().map(|event| event.rule).collect()
}

pub(crate) fn one(network: &Network) -> EventFact {
    let events = found(network);
    assert_eq!(events.len(), 1, "{events:#?}");
    events.into_iter().next().unwrap()
}

pub(crate) fn nothing(network: &Network) {
    let events = found(network);
    assert!(events.is_empty(), "{events:#?}");
}

/// To everybody, the first copies by `sender`.
pub(crate) fn spread(network: &mut Network, payload: &Arc<Payload>, sender: u8, time: i64) {
    for receiver in (0..4).filter(|receiver| *receiver != sender) {
        network.deliver(payload, sender, receiver, time + i64::from(receiver));
    }
}

pub(crate) fn healthy(heights: u64) -> Network {
    let mut network = Network::new(4);
    for sequence in 1..=heights {
        network.height(sequence, &[0]);
    }
    network
}

/// A healthy network, and one more message of height 3, by its third node, that is changed.
fn with_one(change: impl Fn(&mut ConsensusMessage)) -> Network {
    let mut network = healthy(4);
    let vote = network.vote(Kind::Prepare, 3, 0, 2, 1);
    let (_, end) = network.span_of(3);
    spread(&mut network, &Network::with(&vote, change), 2, end);
    network
}

#[test]
fn healthy_heights_are_silent() {
    nothing(&healthy(30));
    let mut network = healthy(3);
    network.reinitialise();
    for sequence in 1..=3 {
        network.height(sequence, &[0]);
    }
    nothing(&network);
}

#[test]
fn a_signature_of_nobody_is_the_senders_fault() {
    for change in [
        (|message| {
            message.signer = None;
            message.validity = Validity::Unrecoverable;
        }) as fn(&mut ConsensusMessage),
        // Random bytes that give some key.
        |message| {
            message.signer = Some(Address([0xee; 20]));
            message.validity = Validity::NotClaimed;
        },
    ] {
        let mut network = with_one(change);
        let event = one(&network);
        assert_eq!(
            (event.rule, event.severity, event.suspicious),
            ("bad_signature", "critical", true)
        );
        assert_eq!(
            (event.sender.as_deref(), event.signer.as_deref()),
            (Some("cn2"), None)
        );
        assert_eq!(
            (event.ip, event.sequence, event.round),
            (Some(ip(2)), Some(3), Some(0))
        );
        assert_eq!(event.kind, Some(Kind::Prepare));
        assert!(event.node_id.is_some() && event.address == Some(network.addresses()[2]));
        assert_eq!(
            (
                event.numbers["messages"],
                event.numbers["copies"],
                event.payloads.len()
            ),
            (1, 3, 1)
        );
        // Who claims to be another is named all the same: the one that handed it over.
        let vote = network.vote(Kind::Commit, 3, 0, 1, 1);
        let forged = Network::with(&vote, change);
        let (_, end) = network.span_of(3);
        network.deliver(&forged, 3, 1, end);
        let senders: Vec<_> = found(&network)
            .into_iter()
            .filter_map(|event| event.sender)
            .collect();
        assert_eq!(senders.len(), 2, "{senders:?}");
        assert!(senders.iter().any(|sender| &**sender == "cn3"));
    }
}

#[test]
fn whose_key_signed_for_another_is_to_blame() {
    let network = Network::new(4);
    let [_, other, ..] = network.addresses()[..] else {
        panic!()
    };
    let network = with_one(|message| {
        message.claimed = Some(other);
        message.validity = Validity::NotClaimed;
    });
    let event = one(&network);
    assert_eq!((event.rule, event.suspicious), ("wrong_signer", true));
    assert_eq!((event.signer.as_deref(), event.ip), (Some("cn2"), Some(ip(2))));
    assert!(event.detail.contains("from cn1"), "{}", event.detail);
}

#[test]
fn strangers_have_no_vote() {
    let stranger = Address([0xdd; 20]);
    let change = |message: &mut ConsensusMessage| {
        message.signer = Some(stranger);
        message.claimed = Some(stranger);
    };
    let event = one(&with_one(change));
    assert_eq!((event.rule, event.suspicious), ("not_validator", true));
    assert_eq!(event.address, Some(stranger));
    assert_eq!((event.sender.as_deref(), event.ip), (Some("cn2"), Some(ip(2))));
    // Of another block before: it is of another chain, and proves nothing.
    let mut network = with_one(|message| {
        change(message);
        message.parent = Some(Hash256([9; 32]));
    });
    let parent = |message: &mut ConsensusMessage| message.parent = Some(Hash256([8; 32]));
    let vote = Network::with(&network.vote(Kind::Prepare, 3, 0, 1, 1), parent);
    let (_, end) = network.span_of(3);
    spread(&mut network, &vote, 1, end);
    assert!(!rules(&found(&network)).contains(&"not_validator"));
    // Nobody says which chain it is.
    let mut network = with_one(change);
    network.forget_all_chains();
    nothing(&network);
    // Hardly any of the known validators is at work: the set may be another by now.
    let mut network = with_one(change);
    let others = [0, 1, 3].map(|node| network.addresses()[node]);
    network.retain(|message| {
        message.payload.message.view.sequence != 3
            || message
                .payload
                .message
                .signer
                .is_none_or(|signer| !others.contains(&signer))
    });
    assert!(!rules(&found(&network)).contains(&"not_validator"));
}

pub(crate) fn other_block(message: &mut ConsensusMessage) {
    message.digest = Some(Hash256([0xcc; 32]));
}

#[test]
fn two_votes_in_one_view_are_equivocation() {
    for kind in [Kind::Prepare, Kind::Commit, Kind::Preprepare] {
        let mut network = healthy(4);
        let signer = if kind == Kind::Preprepare {
            network.proposer(3, 0)
        } else {
            2
        };
        let vote = Network::with(&network.vote(kind, 3, 0, signer, 1), other_block);
        let (from, _) = network.span_of(3);
        spread(&mut network, &vote, signer, from + 90_000_000);
        let event = one(&network);
        assert_eq!(
            (event.rule, event.severity, event.suspicious),
            ("equivocation", "critical", true)
        );
        assert_eq!(event.signer.as_deref(), Some(&*format!("cn{signer}")));
        assert_eq!((event.kind, event.payloads.len()), (Some(kind), 2));
        assert_eq!((event.numbers["digests"], event.numbers["views"]), (2, 1));
    }
    // Votes for rounds of their own contradict nothing.
    let mut network = healthy(2);
    network.height(3, &[0]);
    let vote = network.vote(Kind::Prepare, 3, 1, 2, 7);
    let (_, end) = network.span_of(3);
    spread(&mut network, &vote, 2, end);
    nothing(&network);
}

#[test]
fn equivocation_needs_one_chain_and_looked_at_signatures() {
    let unchecked = |message: &mut ConsensusMessage| {
        other_block(message);
        message.validity = Validity::NotChecked;
    };
    nothing(&with_one(unchecked));
    let mut network = with_one(other_block);
    network.forget_all_chains();
    nothing(&network);
    // One session without a Status is enough to doubt.
    let mut network = with_one(other_block);
    network.forget_chain(0, 2);
    nothing(&network);
    // But one block before both tells.
    for (parents, rules_found) in [([1, 1], 1), ([1, 2], 0)] {
        let mut network = healthy(4);
        network.forget_all_chains();
        let (from, _) = network.span_of(3);
        for (block, parent) in (5..).zip(parents) {
            let vote = network.vote(Kind::Prepare, 3, 0, 2, block);
            let vote = Network::with(&vote, |message| message.parent = Some(Hash256([parent; 32])));
            spread(&mut network, &vote, 2, from);
        }
        let found = found(&network);
        let equivocations = found.iter().filter(|event| event.rule == "equivocation").count();
        assert_eq!(equivocations, rules_found, "{found:#?}");
    }
}

#[test]
fn a_start_in_between_excuses_who_forgot() {
    let mut network = healthy(6);
    let (from, _) = network.span_of(3);
    let vote = Network::with(&network.vote(Kind::Prepare, 3, 0, 2, 1), other_block);
    spread(&mut network, &vote, 2, from + 3 * SECOND);
    assert!(one(&network).suspicious, "its sessions went on all the time");
    // All sessions of the node broke, and new ones began.
    let mut broken = observations(&network);
    for observation in &mut broken {
        if let Observation::End(_, end) = observation
            && end.info.ends.iter().any(|end| end.ip == ip(2))
        {
            let at = usize::from(end.info.ends[1].ip == ip(2));
            end.spoken[at].last = Some(CaptureTime::from_nanos(from + SECOND));
        }
    }
    let events = found_by(broken.clone(), &options(&network), &Tap::All);
    assert_eq!(rules(&events), ["equivocation"]);
    assert!(
        !events[0].suspicious && events[0].severity == "warning",
        "{events:?}"
    );
    // Nobody starts within a millisecond.
    let mut quick = options(&network);
    quick.rules.restart = Nanos::from_secs(4);
    assert!(found_by(broken, &quick, &Tap::All)[0].suspicious);
}

/// Height 3 goes to a second round: who commits to which block in which round.
pub(crate) fn locks(commits: &[(u8, u64, u8)]) -> Network {
    let mut network = healthy(2);
    let (from, _) = network.span_of(2);
    let from = from + 2 * SECOND;
    for (at, &(signer, round, block)) in (0..).zip(commits) {
        let vote = network.vote(Kind::Commit, 3, round, signer, block);
        spread(
            &mut network,
            &vote,
            signer,
            from + 10_000_000 * at + 200_000_000 * round as i64,
        );
    }
    network
}

#[test]
fn nodes_that_are_locked_on_different_blocks_are_told_and_not_blamed() {
    let event = one(&locks(&[(0, 0, 1), (1, 0, 1), (2, 1, 2), (3, 1, 2)]));
    assert_eq!(
        (event.rule, event.severity, event.suspicious),
        ("conflicting_lock", "critical", false)
    );
    assert_eq!((event.signer, event.sender, event.address), (None, None, None));
    assert_eq!((event.numbers["on_first"], event.numbers["on_second"]), (2, 2));
    // The same block proposed again, as locks want it.
    nothing(&locks(&[(0, 0, 1), (1, 0, 1), (2, 1, 1), (3, 1, 1)]));
}

#[test]
fn who_breaks_its_lock_is_blamed_if_nothing_honest_explains_it() {
    // One commit of four: nobody can have had a quorum.
    let events = found(&locks(&[(0, 0, 1), (0, 1, 2), (1, 1, 2)]));
    assert_eq!(rules(&events), ["conflicting_lock"]);
    assert!(events[0].suspicious, "{events:?}");
    assert_eq!(events[0].signer.as_deref(), Some("cn0"));
    // Three of four: the block may have been decided and not have been valid, and then they took another one.
    let events = found(&locks(&[
        (0, 0, 1),
        (1, 0, 1),
        (2, 0, 1),
        (0, 1, 2),
        (1, 1, 2),
        (3, 1, 2),
    ]));
    assert!(
        events
            .iter()
            .all(|event| event.rule == "conflicting_lock" && !event.suspicious),
        "{events:#?}"
    );
    // One tap does not show all commits.
    let mut network = locks(&[(0, 0, 1), (0, 1, 2), (1, 1, 2)]);
    network.tap_only(3);
    let events = found_by(observations(&network), &options(&network), &Tap::Of(3));
    assert!(events.iter().all(|event| !event.suspicious), "{events:#?}");
}

#[test]
fn handing_a_payload_over_again_and_again_is_the_senders_fault() {
    for (copies, speaks) in [(4, false), (5, true)] {
        let mut network = healthy(4);
        // Signed by another.
        let vote = network.vote(Kind::Prepare, 3, 0, 1, 1);
        let (from, _) = network.span_of(3);
        network.retain(|message| message.payload.hash != vote.hash);
        spread(&mut network, &vote, 1, from + 50_000_000);
        for copy in 0..copies {
            network.deliver(&vote, 2, 0, from + 60_000_000 + copy);
        }
        let events = found(&network);
        assert_eq!(
            rules(&events),
            if speaks { vec!["repeated_payload"] } else { vec![] }
        );
        for event in events {
            assert!(event.suspicious);
            assert_eq!((event.sender.as_deref(), event.numbers["most"]), (Some("cn2"), 5));
        }
    }
}

#[test]
fn votes_of_kilobytes_are_oversized() {
    for (bytes, speaks) in [(4096, false), (4097, true)] {
        let network = healthy(4);
        let mut observations = observations(&network);
        let vote = network.vote(Kind::Commit, 3, 0, 1, 1);
        for observation in &mut observations {
            if let Observation::Message(message) = observation
                && message.payload.hash == vote.hash
            {
                message.wire_len = bytes;
            }
        }
        let events = found_by(observations, &options(&network), &Tap::All);
        assert!(
            events
                .iter()
                .all(|event| event.rule == "oversized" && event.suspicious)
        );
        // Its author, and whoever passes such frames on.
        assert_eq!(!events.is_empty(), speaks, "{events:?}");
    }
}

#[test]
fn asking_for_ever_new_rounds_is_a_storm() {
    for (rounds, speaks) in [(16, false), (17, true)] {
        let mut network = healthy(4);
        let (_, end) = network.span_of(4);
        for round in 1..=rounds {
            let vote = network.vote(Kind::RoundChange, 5, round, 1, 0);
            spread(&mut network, &vote, 1, end + 1_000_000 * round as i64);
        }
        let events = found(&network);
        assert_eq!(
            rules(&events),
            if speaks { vec!["roundchange_storm"] } else { vec![] }
        );
        for event in events {
            assert_eq!(
                (event.sender.as_deref(), event.numbers["rounds"]),
                (Some("cn1"), 17)
            );
            assert!(event.suspicious);
        }
    }
}

#[test]
fn messages_of_heights_to_come_are_a_flood() {
    // Height 100 while the chain is at 20, and height 14 when it was at 3.
    for (heights, ahead, at) in [(20, 100..107, 20), (20, 14..21, 3)] {
        for (limit, speaks) in [(21, true), (22, false)] {
            let mut network = healthy(heights);
            let (_, end) = network.span_of(at);
            for sequence in ahead.clone() {
                let vote = network.vote(Kind::Prepare, sequence, 0, 1, 77);
                // Only its own connections: nobody passes it on.
                spread(&mut network, &vote, 1, end);
            }
            let mut options = options(&network);
            options.rules.future_per_minute = limit;
            let events = found_by(observations(&network), &options, &Tap::All);
            let floods: Vec<_> = events
                .iter()
                .filter(|event| event.rule == "future_flood")
                .collect();
            assert_eq!(floods.len(), usize::from(speaks), "{at}: {events:#?}");
            for event in floods {
                assert_eq!((event.sender.as_deref(), event.ip), (Some("cn1"), Some(ip(1))));
                assert_eq!(event.numbers["messages"], 21);
                assert!(event.suspicious);
                // To the second.
                let since = end - event.time_ns.nanos();
                assert!((0..SECOND).contains(&since), "{since}");
                assert_eq!(event.numbers["from_ns"], event.time_ns.nanos());
            }
        }
    }
}

#[test]
fn a_chain_that_went_on_unseen_is_no_flood() {
    let mut network = healthy(20);
    network.pass(3600 * SECOND);
    for sequence in 4000..4010 {
        network.height(sequence, &[0]);
    }
    nothing(&network);
    // Nor is a clock that was set back.
    let mut network = healthy(20);
    network.pass(-3600 * SECOND);
    for sequence in 21..40 {
        network.height(sequence, &[0]);
    }
    assert_eq!(rules(&found(&network)), ["clock_step"]);
}

#[test]
fn messages_of_heights_long_past_are_a_flood() {
    for (number, speaks) in [(49, false), (50, true)] {
        let mut network = healthy(40);
        let (_, end) = network.span_of(40);
        for block in 0..number {
            let vote = network.vote(Kind::RoundChange, 1 + block % 15, 1, 1, 1);
            let vote = Network::with(&vote, |message| message.parent = Some(Hash256([block as u8; 32])));
            network.deliver(&vote, 1, 0, end + block as i64);
        }
        let mut observations = observations(&network);
        for observation in &mut observations {
            // Sessions know the order of their bytes, and tell.
            if let Observation::Message(message) = observation {
                message.stale = message.seen.nanos() >= end;
            }
        }
        let events = found_by(observations, &options(&network), &Tap::All);
        let floods: Vec<_> = events
            .iter()
            .filter(|event| event.rule == "stale_flood")
            .collect();
        assert_eq!(floods.len(), usize::from(speaks), "{events:#?}");
        for event in floods {
            assert_eq!(
                (event.sender.as_deref(), event.numbers["messages"]),
                (Some("cn1"), 50)
            );
            assert!(event.suspicious);
            assert_eq!(event.time_ns.nanos(), end, "the first of them");
        }
    }
}

#[test]
fn far_more_than_others_and_than_before_is_loud() {
    let mut network = healthy(4);
    let (_, end) = network.span_of(4);
    for block in 0..200_u64 {
        let vote = network.vote(Kind::RoundChange, 5, 1, 1, 1);
        let vote = Network::with(&vote, |message| message.parent = Some(Hash256([block as u8; 32])));
        network.deliver(&vote, 1, 0, end + block as i64);
    }
    let mut options = options(&network);
    options.rules.volume_per_minute = 150;
    options.rules.volume_factor = 4;
    let events = found_by(observations(&network), &options, &Tap::All);
    assert_eq!(rules(&events), ["volume"], "{events:#?}");
    assert_eq!(events[0].sender.as_deref(), Some("cn1"));
    assert!(events[0].suspicious);
    options.rules.volume_factor = 40;
    assert!(found_by(observations(&network), &options, &Tap::All).is_empty());
    options.rules.volume_factor = 4;
    options.rules.off.insert("volume".to_owned());
    assert!(
        found_by(observations(&network), &options, &Tap::All).is_empty(),
        "it is off"
    );
}

#[test]
fn frames_that_say_nothing_are_a_flood_if_they_are_many() {
    for (frames, hellos, speaks) in [(10, 2, true), (9, 2, false), (10, 1, false)] {
        let network = healthy(4);
        let mut observations = observations(&network);
        for frame in 0..frames {
            let mut event = EventFact::new(
                "undecodable",
                CaptureTime::from_nanos(SECOND + frame),
                "why".to_owned(),
            );
            event.ip = Some(ip(1));
            event.numbers.insert("hellos", hellos);
            observations.push(Observation::Event(Box::new(event)));
        }
        let events = found_by(observations, &options(&network), &Tap::All);
        let floods: Vec<_> = events
            .iter()
            .filter(|event| event.rule == "undecodable_flood")
            .collect();
        assert_eq!(floods.len(), usize::from(speaks), "{events:#?}");
        for event in floods {
            assert_eq!(
                (event.sender.as_deref(), event.numbers["messages"]),
                (Some("cn1"), 10)
            );
            assert!(event.suspicious);
            assert_eq!(event.time_ns.nanos(), SECOND, "the first of them");
        }
        let single = events.iter().find(|event| event.rule == "undecodable").unwrap();
        assert_eq!(
            (single.sender.as_deref(), single.suspicious),
            (Some("cn1"), false)
        );
    }
}

#[test]
fn consensus_of_an_endpoint_is_forbidden() {
    for (role, speaks) in [("cn", false), ("en", true), ("pn", true), ("bn", true)] {
        let network = healthy(2);
        let mut observations = observations(&network);
        for observation in &mut observations {
            if let Observation::End(_, end) = observation
                && end.info.ends[0].ip == ip(0)
            {
                end.roles[0] = Some(role);
                // Others may send to it: they do not know better.
                end.spoken[0].messages = 4;
            }
        }
        let events = found_by(observations, &options(&network), &Tap::All);
        assert_eq!(
            rules(&events),
            if speaks { vec!["forbidden_code"] } else { vec![] }
        );
        for event in events {
            assert_eq!(
                (event.sender.as_deref(), event.numbers["messages"]),
                (Some("cn0"), 12)
            );
            assert!(event.suspicious);
        }
    }
}

#[test]
fn connections_without_an_end_are_churn() {
    for (connections, apart, ports, speaks) in [
        (20, SECOND, 1, true),
        (19, SECOND, 1, false),
        (20, 4 * SECOND, 1, false),
        // Behind one address there may be several nodes, to each of which few connections are made.
        (38, SECOND, 2, false),
    ] {
        let network = healthy(2);
        let mut observations = observations(&network);
        let Some(Observation::End(key, end)) = observations.last().cloned() else {
            panic!()
        };
        for number in 0..connections {
            let mut end = end.clone();
            let from = end.span.0.nanos() + number * apart;
            end.info.ends[0] = Endpoint {
                ip: ip(1),
                port: 50_000 + number as u16,
            };
            end.span = (
                CaptureTime::from_nanos(from),
                CaptureTime::from_nanos(from + 1000),
            );
            end.info.ends[1] = Endpoint {
                ip: ip(0),
                port: 32_323 + (number % ports) as u16,
            };
            end.info.node_ids = [None, None];
            end.spoken = [Spoken::default(); 2];
            observations.push(Observation::End(key, end));
        }
        let events = found_by(observations, &options(&network), &Tap::All);
        assert_eq!(
            rules(&events),
            if speaks { vec!["connection_churn"] } else { vec![] },
            "{events:#?}"
        );
        for event in events {
            assert_eq!((event.ip, event.numbers["connections"]), (Some(ip(1)), 20));
            assert!(event.suspicious);
        }
    }
}

/// Node 3 signs nothing in these heights.
pub(crate) fn silent_in(heights: u64, silent: std::ops::RangeInclusive<u64>) -> Network {
    let mut network = healthy(heights);
    let quiet = network.addresses()[3];
    network.retain(|message| {
        let message = &message.payload.message;
        !(silent.contains(&message.view.sequence) && message.signer == Some(quiet))
    });
    network
}

#[test]
fn who_sends_nothing_is_named_with_the_right_seconds() {
    let network = silent_in(14, 4..=9);
    let event = one(&network);
    assert_eq!((event.rule, event.suspicious), ("silent_validator", false));
    assert_eq!((event.signer.as_deref(), event.ip), (Some("cn3"), Some(ip(3))));
    assert_eq!(
        (event.numbers["rounds"], event.numbers["open"], event.sequence),
        (6, 0, Some(4))
    );
    let within = |time: i64, (from, to): (i64, i64)| (from..=to).contains(&time);
    assert!(within(event.numbers["from_ns"], network.span_of(3)), "{event:?}");
    assert!(within(event.numbers["to_ns"], network.span_of(10)), "{event:?}");
    // It lasts.
    let event = one(&silent_in(14, 4..=14));
    assert_eq!((event.numbers["rounds"], event.numbers["open"]), (11, 1));
    // It was never there.
    let event = one(&silent_in(14, 0..=14));
    assert_eq!(event.numbers["rounds"], 14);
    // Not long enough.
    nothing(&silent_in(14, 4..=6));
}

#[test]
fn where_something_may_be_hidden_nobody_is_silent() {
    let mut network = silent_in(14, 4..=9);
    network.tap_only(0);
    let events = found_by(observations(&network), &options(&network), &Tap::Of(0));
    assert!(
        events.is_empty(),
        "one tap does not show what it sent to others: {events:#?}"
    );
    let mut network = silent_in(14, 4..=9);
    let (from, _) = network.span_of(4);
    let (_, to) = network.span_of(9);
    network.unread_session(1, 3, bftap_analysis::facts::SessionState::NoSecret, from, to);
    let events = found(&network);
    assert!(
        events.is_empty(),
        "it may have talked in the session that nobody can read: {events:#?}"
    );
    // Who votes is drawn by lot.
    let network = silent_in(14, 4..=9);
    let mut options = options(&network);
    options.committee = 3;
    assert!(found_by(observations(&network), &options, &Tap::All).is_empty());
}

/// In height 6 the proposer of round 0 sends none, and the others ask for round 1 at the second given.
fn missed_turn(proposal_at: Option<i64>) -> Network {
    let mut network = Network::new(4);
    for sequence in 1..=5 {
        network.height(sequence, &[0]);
    }
    let proposer = network.proposer(6, 0);
    let begin = network.now();
    for node in (0..4).filter(|node| *node != proposer) {
        let vote = network.vote(Kind::RoundChange, 6, 1, node, 0);
        spread(&mut network, &vote, node, begin + 10 * SECOND + i64::from(node));
    }
    if let Some(at) = proposal_at {
        let vote = network.vote(Kind::Preprepare, 6, 0, proposer, 1);
        spread(&mut network, &vote, proposer, begin + at * SECOND);
    }
    network.pass(11 * SECOND);
    network.height(6, &[1]);
    for sequence in 7..=9 {
        network.height(sequence, &[0]);
    }
    network
}

#[test]
fn a_turn_without_a_proposal_is_missed() {
    let network = missed_turn(None);
    let proposer = format!("cn{}", network.proposer(6, 0));
    let event = one(&network);
    assert_eq!((event.rule, event.suspicious), ("missing_proposer", false));
    assert_eq!(event.signer.as_deref(), Some(&*proposer));
    assert_eq!(
        (event.sequence, event.round, event.numbers["turns"]),
        (Some(6), Some(0), 1)
    );
    // Too late is missed, too.
    let events = found(&missed_turn(Some(12)));
    assert_eq!(
        (rules(&events), events[0].numbers["late"]),
        (vec!["missing_proposer"], 1)
    );
    // In time, and the round was left for another reason.
    assert!(!rules(&found(&missed_turn(Some(1)))).contains(&"missing_proposer"));
    // Without a policy nobody knows whose turn it was; one tap does not show what the proposer sent.
    let mut network = missed_turn(None);
    let mut unknown = options(&network);
    unknown.committee = 2;
    assert!(found_by(observations(&network), &unknown, &Tap::All).is_empty());
    let tapped = (0..4).find(|node| *node != network.proposer(6, 0)).unwrap();
    network.tap_only(tapped);
    assert!(found_by(observations(&network), &options(&network), &Tap::Of(tapped)).is_empty());
}

#[test]
fn late_proposals_turn_after_turn_are_slow() {
    let slow = |turns: &[u64]| {
        let mut network = Network::new(4);
        for sequence in 1..=24 {
            if turns.contains(&sequence) {
                network.pass(5 * SECOND);
            }
            network.height(sequence, &[0]);
        }
        network
    };
    // Turns of the same node: every fourth height is its.
    let event = one(&slow(&[13, 17]));
    assert_eq!(
        (event.rule, event.suspicious, event.numbers["turns"]),
        ("slow_proposer", false, 2)
    );
    assert_eq!(event.signer.as_deref(), Some("cn1"));
    nothing(&slow(&[13]));
    nothing(&slow(&[13, 18]));
}

#[test]
fn votes_that_reach_some_only_are_partial() {
    let partial = |heights: std::ops::RangeInclusive<u64>, receivers: &'static [u8]| {
        let network = healthy(12);
        let signer = network.addresses()[2];
        let all = observations(&network);
        let hidden: Vec<_> = all
            .into_iter()
            .filter(|observation| {
                let Observation::Message(message) = observation else {
                    return true;
                };
                let vote = &message.payload.message;
                let receiver = receiver_of(&network, message);
                !(heights.contains(&vote.view.sequence)
                    && vote.signer == Some(signer)
                    && vote.kind != Kind::Preprepare
                    && receivers.contains(&receiver))
            })
            .collect();
        found_by(hidden, &options(&network), &Tap::All)
    };
    let events = partial(3..=6, &[1]);
    assert_eq!(rules(&events), ["partial_sender"], "{events:#?}");
    assert_eq!(
        (events[0].signer.as_deref(), events[0].suspicious),
        (Some("cn2"), false)
    );
    assert_eq!(
        (events[0].numbers["heights"], events[0].numbers["not_reached"]),
        (4, 1)
    );
    assert!(partial(3..=4, &[1]).is_empty(), "that may happen");
}

/// As where each author sends its own votes: without a connection they do not reach each other.
#[test]
fn a_cut_connection_makes_nobody_partial() {
    let votes_lost = |is_cut: bool| {
        let network = healthy(12);
        let addresses = network.addresses();
        let all = observations(&network);
        let passed: Vec<_> = all
            .into_iter()
            .filter(|observation| {
                let Observation::Message(message) = observation else {
                    return true;
                };
                let vote = &message.payload.message;
                let ends = network.ends_of(message.session);
                let between = [ends.0, ends.1] == [1, 2] || [ends.0, ends.1] == [2, 1];
                let receiver = receiver_of(&network, message);
                let other: u8 = if receiver == 1 { 2 } else { 1 };
                let of_the_other = [1, 2].contains(&receiver)
                    && vote.kind != Kind::Preprepare
                    && vote.signer == Some(addresses[usize::from(other)]);
                !((3..=8).contains(&vote.view.sequence) && (of_the_other || is_cut && between))
            })
            .collect();
        found_by(passed, &options(&network), &Tap::All)
    };
    assert!(rules(&votes_lost(false)).contains(&"partial_sender"));
    let events = votes_lost(true);
    assert!(!rules(&events).contains(&"partial_sender"), "{events:#?}");
}

/// Who got a message.
fn receiver_of(network: &Network, message: &bftap_analysis::Occurrence) -> u8 {
    let ends = network.ends_of(message.session);
    match message.direction {
        bftap_model::Direction::FromInitiator => ends.1,
        bftap_model::Direction::FromRecipient => ends.0,
    }
}

#[test]
fn a_chain_without_blocks_is_stalled() {
    let stalled = |seconds: i64| {
        let mut network = Network::new(4);
        for sequence in 1..=5 {
            network.height(sequence, &[0]);
        }
        for node in 0..4 {
            let vote = network.vote(Kind::RoundChange, 6, 1, node, 0);
            let at = network.now() + 10 * SECOND + i64::from(node);
            spread(&mut network, &vote, node, at);
        }
        network.pass(seconds * SECOND);
        network.height(6, &[1]);
        network.height(7, &[0]);
        let mut options = options(&network);
        options.policy = None;
        // Without a policy nobody is missed, if proposals do not tell one.
        options.rules.off.insert("missing_proposer".to_owned());
        found_by(observations(&network), &options, &Tap::All)
    };
    let events = stalled(35);
    assert_eq!(rules(&events), ["stalled_chain"], "{events:#?}");
    assert_eq!(
        (events[0].severity, events[0].suspicious, events[0].sequence),
        ("critical", false, Some(6))
    );
    assert_eq!((events[0].signer.clone(), events[0].numbers["open"]), (None, 0));
    assert!(stalled(20).is_empty());
    // A clock that is set forward stalls nothing.
    let mut network = healthy(5);
    network.pass(3600 * SECOND);
    for sequence in 6..=8 {
        network.height(sequence, &[0]);
    }
    nothing(&network);
    // It stands still at the end.
    let network = healthy(5);
    let mut observations = observations(&network);
    for observation in &mut observations {
        if let Observation::End(_, end) = observation {
            end.span.1 = CaptureTime::from_nanos(end.span.1.nanos() + 40 * SECOND);
        }
    }
    let events = found_by(observations.clone(), &options(&network), &Tap::All);
    assert_eq!(
        (rules(&events), events[0].numbers["open"]),
        (vec!["stalled_chain"], 1)
    );
    // Unless only a part of the heights was asked for.
    let mut part = options(&network);
    part.whole = false;
    assert!(found_by(observations, &part, &Tap::All).is_empty());
}
