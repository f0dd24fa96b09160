//! Peers, dials and exposure from hand-made sessions.

use std::collections::BTreeSet;
use std::sync::Arc;

use bftap_analysis::facts::{EventFact, RunFacts, SessionState};
use bftap_analysis::{
    Aggregator, AnalysisOptions, ChainId, ExposureGroup, ExposureKind, ExposurePolicy, Now, Observation,
    ReadFacts, Refused, SessionEnd, SessionInfo, SessionKey, StatusSeen, Subnet, WorkerTotals,
};
use bftap_model::{CaptureTime, Endpoint, Hash256, NodeId};

use crate::network::{Collect, ip, session_end};

fn at(seconds: i64) -> CaptureTime {
    CaptureTime::from_nanos(seconds * 1_000_000_000)
}

fn id(node: u8) -> NodeId {
    NodeId([node; 64])
}

fn end_of(node: u8, port: u16) -> Endpoint {
    Endpoint { ip: ip(node), port }
}

/// A session that `from` dialled; seconds.
fn session(from: u8, to: u8, span: (i64, i64)) -> SessionEnd {
    let info = SessionInfo {
        ends: [end_of(from, 40_000 + span.0 as u16), end_of(to, 32_323)],
        node_ids: [Some(id(from)), Some(id(to))],
        accepted: [true; 2],
        clients: [from, to].map(|node| Some(format!("Klaytn/v1.{node}.0/linux-amd64/go1.19"))),
        chain: None,
    };
    let mut end = session_end(&info, SessionState::Decrypted, (0, 0));
    end.span = (at(span.0), at(span.1));
    end.network.other_frames = 5;
    end.network.hellos_seen = [Some(at(span.0)); 2];
    end
}

fn refused(from: u8, to: u8, port: u16, seconds: i64) -> Observation {
    Observation::Refused(Refused {
        ends: [end_of(from, 50_000), end_of(to, port)],
        span: (at(seconds), at(seconds)),
    })
}

fn status(seconds: i64, total: u128) -> Option<StatusSeen> {
    Some(StatusSeen {
        seen: at(seconds),
        chain: ChainId {
            network_id: 7,
            genesis: Hash256([1; 32]),
        },
        head: Hash256([total as u8; 32]),
        total_difficulty: Some(total),
        head_number: None,
    })
}

fn ends(sessions: Vec<SessionEnd>) -> Vec<Observation> {
    (0..)
        .zip(sessions)
        .map(|(connection, end)| {
            Observation::End(
                SessionKey {
                    worker: 0,
                    connection,
                },
                Box::new(end),
            )
        })
        .collect()
}

fn judged(observations: &[Observation], options: &AnalysisOptions) -> RunFacts {
    let mut aggregator = Aggregator::new(options.clone());
    for observation in observations {
        aggregator.push(observation.clone()).unwrap();
    }
    aggregator
        .finish(
            ReadFacts::default(),
            WorkerTotals::default(),
            &mut Collect::default(),
        )
        .unwrap()
}

fn lists(facts: &RunFacts) -> String {
    format!(
        "{:#?}{:#?}{:#?}{:#?}",
        facts.peers, facts.dials, facts.census, facts.events
    )
}

#[test]
fn a_peer_is_what_its_sessions_say_of_it() {
    let mut first = session(1, 2, (0, 10));
    first.network.statuses = [status(1, 100), status(1, 90)];
    first.network.disconnects = [Some("client quitting".to_owned()), None];
    let mut second = session(2, 1, (14, 20));
    second.info.clients[1] = Some("Klaytn/v1.9.1/linux-amd64/go1.20".to_owned());
    second.network.offers[1] = vec!["istanbul/64".to_owned(), "istanbul/65".to_owned()];
    second.network.statuses = [status(15, 130), status(15, 128)];
    // Both dialled at once: they overlap, and carried nothing.
    let mut third = session(1, 2, (15, 16));
    third.network.other_frames = 0;
    third.network.disconnects[1] = Some("already connected".to_owned());
    let fourth = session(1, 2, (26, 30));
    let mut observations = ends(vec![first, second, third, fourth]);
    observations.push(refused(1, 2, 32_323, 12));
    observations.push(refused(1, 2, 32_323, 13));
    observations.push(refused(1, 2, 80, 13));
    observations.push(refused(9, 2, 32_323, 40));
    let options = AnalysisOptions::default();
    let facts = judged(&observations, &options);
    let of = |node: u8| {
        let mut peers = facts.peers.iter();
        peers.find(|peer| peer.ips == [ip(node)]).unwrap()
    };
    let one = of(1);
    assert_eq!(one.node_id, Some(id(1)));
    assert_eq!(
        one.version.as_deref(),
        Some("v1.1.0"),
        "that of the latest session"
    );
    assert_eq!(one.offers, Vec::<String>::new(), "the latest says nothing");
    assert_eq!(one.total_difficulty.as_deref(), Some("128"));
    assert_eq!(one.behind.as_deref(), Some("2"));
    assert_eq!(of(2).behind.as_deref(), Some("0"));
    assert_eq!(
        (one.dials_out, one.dials_in, one.refused_out, one.refused_in),
        (5, 1, 2, 0)
    );
    assert_eq!((of(2).dials_in, of(2).refused_in, of(9).refused_out), (6, 3, 1));
    assert_eq!((one.sessions, one.useless), (4, 1));
    assert_eq!(one.session_p50_ns, Some(4_000_000_000));
    assert_eq!((one.reconnects, one.reconnect_p50_ns), (2, Some(4_000_000_000)));
    assert_eq!(one.disconnects_sent, [("client quitting".to_owned(), 1)].into());
    assert_eq!(
        one.disconnects_received,
        [("already connected".to_owned(), 1)].into()
    );
    assert_eq!(
        (of(9).client.as_ref(), of(9).sessions, of(9).session_p50_ns),
        (None, 0, None)
    );
    let dials: Vec<_> = facts
        .dials
        .iter()
        .map(|dial| {
            (
                dial.dials,
                dial.refused,
                dial.useless,
                dial.first_seen_ns,
                dial.last_seen_ns,
            )
        })
        .collect();
    assert_eq!(
        dials,
        [
            (5, 2, 1, at(0), at(30)),
            (1, 0, 0, at(14), at(20)),
            (1, 1, 0, at(40), at(40))
        ]
    );

    let mut backwards = observations.clone();
    backwards.reverse();
    assert_eq!(lists(&judged(&backwards, &options)), lists(&facts));
    // Open sessions count as if they ended now.
    let mut aggregator = Aggregator::new(options);
    let mut open = Vec::new();
    for observation in observations {
        match observation {
            Observation::End(_, end) => open.push(*end),
            other => aggregator.push(other).unwrap(),
        }
    }
    let now = Now {
        open,
        ..Now::default()
    };
    assert_eq!(lists(&aggregator.update(now).unwrap().facts), lists(&facts));
}

#[test]
fn what_is_refused_takes_bounded_memory_and_is_counted() {
    let options = AnalysisOptions {
        refused_pairs: 10,
        ports: BTreeSet::from([32_323]),
        ..AnalysisOptions::default()
    };
    let many: Vec<Observation> = (0..200).map(|node| refused(node, 1, 32_323, 1)).collect();
    let facts = judged(&[many.clone(), many].concat(), &options);
    assert_eq!(facts.dials.len(), 10);
    assert!(facts.dials.iter().all(|dial| dial.refused == 2));
    assert_eq!(facts.totals.limits_reached["refused_pairs"], 380);
}

#[test]
fn what_was_refused_is_kept_over_a_restart() {
    let mut one = Aggregator::new(AnalysisOptions::default());
    one.keep_changes();
    let mut other = Aggregator::new(AnalysisOptions {
        ports: BTreeSet::from([32_323]),
        ..AnalysisOptions::default()
    });
    for round in 0..3 {
        one.push(refused(1, 2, 32_323, round)).unwrap();
        one.push(refused(1, 3, 32_323, round)).unwrap();
        let changes = one.changes(&[], round == 1);
        if round > 0 {
            other.recall(&changes.rest, round == 2).unwrap();
        }
    }
    other.push(refused(1, 2, 32_323, 9)).unwrap();
    let facts = other
        .finish(
            ReadFacts::default(),
            WorkerTotals::default(),
            &mut Collect::default(),
        )
        .unwrap();
    let dials: Vec<_> = facts
        .dials
        .iter()
        .map(|dial| (dial.refused, dial.last_seen_ns))
        .collect();
    assert_eq!(dials, [(4, at(9)), (3, at(2))]);
}

#[test]
fn a_key_that_nobody_accepted_lets_nobody_in() {
    let mut stranger = session(9, 1, (0, 9));
    stranger.info.node_ids[0] = Some(id(2));
    let options = AnalysisOptions {
        exposure: Some(Arc::new(policy())),
        ..AnalysisOptions::default()
    };
    let run = |accepted: bool| {
        let mut stranger = stranger.clone();
        stranger.info.accepted[0] = accepted;
        let facts = judged(&ends(vec![stranger, session(1, 2, (0, 9))]), &options);
        let events = facts
            .events
            .iter()
            .map(|event| (event.rule, event.ip, event.address));
        events.collect::<Vec<_>>()
    };
    assert_eq!(run(false), [("exposure_unknown_peer", Some(ip(9)), None)]);
    assert_eq!(run(true), [], "one node may be at two places");
}

fn policy() -> ExposurePolicy {
    let nets = |nodes: &[u8]| {
        let subnet = |node: &u8| Subnet {
            ip: ip(*node),
            bits: 32,
        };
        nodes.iter().map(subnet).collect()
    };
    ExposurePolicy {
        groups: vec![
            ExposureGroup {
                name: "inner".to_owned(),
                kind: ExposureKind::Consensus,
                closed: true,
                addresses: [id(1).address(), id(2).address()].into(),
                ..ExposureGroup::default()
            },
            ExposureGroup {
                name: "outer".to_owned(),
                kind: ExposureKind::Proxy,
                serves: [0].into(),
                subnets: nets(&[3]),
                ..ExposureGroup::default()
            },
            ExposureGroup {
                name: "desk".to_owned(),
                subnets: nets(&[5]),
                ..ExposureGroup::default()
            },
        ],
        ..ExposurePolicy::default()
    }
}

#[test]
fn talking_against_the_policy_is_one_event_for_each_pair() {
    let observations = ends(vec![
        session(1, 2, (0, 9)),
        session(1, 3, (0, 9)),
        session(9, 1, (3, 4)),
        session(9, 1, (5, 8)),
        session(5, 2, (6, 7)),
        session(9, 3, (1, 2)),
    ]);
    let with = |policy: ExposurePolicy| AnalysisOptions {
        exposure: Some(Arc::new(policy)),
        ..AnalysisOptions::default()
    };
    let told = |facts: &RunFacts| -> Vec<(&'static str, CaptureTime, Option<std::net::IpAddr>, i64)> {
        let one = |event: &EventFact| (event.rule, event.time_ns, event.ip, event.numbers["sessions"]);
        facts.events.iter().map(one).collect()
    };
    let facts = judged(&observations, &with(policy()));
    assert_eq!(
        told(&facts),
        [
            ("exposure_shared_subnet", at(0), Some(ip(3)), 0),
            ("exposure_shared_subnet", at(0), Some(ip(3)), 1),
            ("exposure_unknown_peer", at(3), Some(ip(9)), 2),
            ("exposure_violation", at(6), Some(ip(5)), 1),
        ]
    );
    let stranger = &facts.events[2];
    assert_eq!(
        (stranger.numbers["first_ns"], stranger.numbers["last_ns"]),
        (at(3).nanos(), at(8).nanos())
    );
    assert!(
        facts
            .events
            .iter()
            .all(|event| !event.suspicious && event.severity == "warning")
    );
    assert!(stranger.detail.contains("consensus of group inner") && stranger.detail.contains("2 sessions"));
    let mut backwards = observations.clone();
    backwards.reverse();
    assert_eq!(lists(&judged(&backwards, &with(policy()))), lists(&facts));

    let mut mild = policy();
    mild.subnet_bits = [32, 128];
    mild.allowed.insert((0, 2));
    let facts = judged(&observations, &with(mild.clone()));
    assert_eq!(told(&facts), [("exposure_unknown_peer", at(3), Some(ip(9)), 2)]);
    assert_eq!(judged(&observations, &AnalysisOptions::default()).events, []);

    let few = AnalysisOptions {
        listed_events: 1,
        ..with(policy())
    };
    let facts = judged(&observations, &few);
    assert_eq!(
        (facts.events.len(), facts.totals.limits_reached["listed_events"]),
        (1, 3)
    );
}
