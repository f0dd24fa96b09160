//! Facts made by hand: seven nodes, of which the first was tapped, as in a capture at one switch port.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bftap_analysis::facts::{
    CaptureFact, CensusFact, CodeFact, CopiesFact, CountFact, Coverage, DelayBound, DelayFact, DialFact,
    EventFact, HeightFacts, NodeFact, NodeRoundFact, Outcome, ParticipationFact, PeerFact, PhaseFact,
    ReceivedFact, RoundCause, RoundFact, RoundStanding, RunFacts, ScoreFact, SessionFact, SessionState,
    TcpLinkFact, Totals, VoteFact, VoteState, WasteCause, WasteFact, WhatIfFact,
};
use bftap_ibft_decode::Kind;
use bftap_model::{CaptureTime, Endpoint, Hash256, MacState, NodeId};

const CHAIN: &str = "1000/0x00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const START: i64 = 1_795_251_600_000_000_000;

fn at(millis: i64) -> CaptureTime {
    CaptureTime::from_nanos(START + millis * 1_000_000)
}

fn ip(number: u8) -> IpAddr {
    [10, 0, 0, number].into()
}

fn count(
    receiver: u8,
    sequence: u64,
    round: u64,
    kind: Kind,
    parts: [u64; 3],
    lower_bound: bool,
) -> CountFact {
    let messages = parts.iter().sum();
    CountFact {
        chain: CHAIN.into(),
        receiver_ip: ip(receiver),
        receiver: format!("cn{receiver}").into(),
        sequence,
        round,
        kind,
        messages,
        useful: parts[0],
        repeats: parts[1],
        echoes: parts[2],
        resent: parts[1] / 12,
        echo_source: parts[1] / 3,
        crossing: parts[1] / 6,
        regossip: parts[1] - parts[1] / 12 - parts[1] / 3 - parts[1] / 6,
        invalid: 0,
        bytes: messages * 300,
        lower_bound,
        first_seen: at(sequence as i64 * 1000),
        last_seen: at(sequence as i64 * 1000 + 300),
    }
}

/// A height decided in round 0, in which the tapped node received `repeats` repeats of Prepare.
pub(crate) fn height(sequence: u64, repeats: u64) -> HeightFacts {
    let mut counts = vec![
        count(1, sequence, 0, Kind::Preprepare, [1, 3, 0], false),
        count(1, sequence, 0, Kind::Prepare, [6, repeats, 3], false),
        count(1, sequence, 0, Kind::Commit, [6, 12, 2], false),
    ];
    for receiver in 2..=7 {
        counts.push(count(receiver, sequence, 0, Kind::Prepare, [4, 0, 0], true));
    }
    let messages = counts.iter().map(|count| count.messages).sum();
    let proposed = at(sequence as i64 * 1000);
    let rounds = vec![RoundFact {
        chain: CHAIN.into(),
        sequence,
        round: 0,
        proposer: Some(format!("cn{}", sequence % 7 + 1).into()),
        validators: Some(7),
        quorum: Some(5),
        preprepare_ns: Some(proposed),
        prepared_ns: Some(at(sequence as i64 * 1000 + 12)),
        committed_ns: Some(at(sequence as i64 * 1000 + 20 + sequence as i64)),
        messages,
        outcome: Outcome::Decided,
        standing: RoundStanding::Entered,
        cause: None,
        block_time_ns: None,
    }];
    let node_rounds = (1..=7).map(|node| NodeRoundFact {
        chain: CHAIN.into(),
        sequence,
        round: 0,
        node_ip: ip(node),
        node: format!("cn{node}").into(),
        preprepare_ns: Some(at(sequence as i64 * 1000 + i64::from(node))),
        prepared_ns: (node == 1).then(|| at(sequence as i64 * 1000 + 12)),
        committed_ns: (node == 1).then(|| at(sequence as i64 * 1000 + 20 + sequence as i64)),
        roundchange_ns: None,
        lower_bound: node != 1,
    });
    let votes = (2..=7).map(|signer| {
        let state = match signer {
            7 if sequence.is_multiple_of(3) => VoteState::Missing,
            6 => VoteState::Late,
            _ => VoteState::Complete,
        };
        let seen = state != VoteState::Missing;
        VoteFact {
            chain: CHAIN.into(),
            sequence,
            round: 0,
            kind: Kind::Commit,
            signer: format!("cn{signer}").into(),
            digest: seen.then_some(Hash256([7; 32])),
            first_ns: seen.then(|| at(sequence as i64 * 1000 + 14)),
            first_sender: seen.then(|| format!("cn{signer}").into()),
            reached: u32::from(seen),
            of: 1,
            not_reached: if seen { Vec::new() } else { vec!["cn1".into()] },
            state,
            received: seen
                .then(|| ReceivedFact {
                    node_ip: ip(1),
                    node: "cn1".into(),
                    sender: format!("cn{}", 9 - signer).into(),
                    delay_ns: 400_000,
                    bound: DelayBound::AtLeast,
                })
                .into_iter()
                .collect(),
        }
    });
    HeightFacts {
        counts,
        rounds,
        node_rounds: node_rounds.collect(),
        votes: votes.collect(),
        ..HeightFacts::default()
    }
}

/// Ten heights; the first needs a second round.
pub(crate) fn heights() -> Vec<HeightFacts> {
    let mut heights: Vec<_> = (1..=10)
        .map(|sequence| height(sequence, sequence * 3 - 3))
        .collect();
    let first = &mut heights[0];
    let mut second = first.rounds[0].clone();
    first.rounds[0] = RoundFact {
        prepared_ns: None,
        committed_ns: None,
        outcome: Outcome::Changed,
        standing: RoundStanding::Left,
        cause: Some(RoundCause::VotesMissing),
        ..first.rounds[0].clone()
    };
    second.round = 1;
    second.messages = 6;
    first.rounds.push(second);
    first
        .counts
        .push(count(1, 1, 1, Kind::RoundChange, [6, 0, 0], false));
    heights
}

fn session(client: u8, port: u16, server: u8, state: SessionState) -> SessionFact {
    let open = state == SessionState::Decrypted;
    SessionFact {
        initiator: Endpoint { ip: ip(client), port },
        recipient: Endpoint {
            ip: ip(server),
            port: 32323,
        },
        state,
        attached: open.then_some("handshake"),
        opened_by: None,
        mac: open.then_some(MacState::Verified),
        frames_from_initiator: if open { 1000 } else { 0 },
        frames_from_recipient: if open { 900 } else { 0 },
        gaps: 0,
        lost_bytes: 0,
        incomplete_bytes: if open { 16 } else { 0 },
        frames_lost: [0; 2],
        inferred: None,
        capabilities: if open {
            vec!["istanbul/64".to_owned()]
        } else {
            Vec::new()
        },
        chain: if open { CHAIN.into() } else { "unknown".into() },
        stream_bytes: if open { [420_000, 380_000] } else { [399, 1] },
        clients: [None, None],
        node_ids: [None, None],
        detail: None,
        first_seen_ns: at(0),
        last_seen_ns: at(97_000),
    }
}

fn node(number: u8, coverage: Coverage) -> NodeFact {
    let id = NodeId([number; 64]);
    NodeFact {
        name: Some(format!("cn{number}")),
        label: format!("cn{number}").into(),
        node_id: Some(id),
        address: Some(id.address()),
        ips: vec![ip(number)],
        client: Some("Klaytn/v1.4.2/linux-amd64/go1.19.8".to_owned()),
        role: Some("cn"),
        coverage,
        validator: true,
    }
}

/// The rest of the run that [`heights`] belongs to.
pub(crate) fn run() -> RunFacts {
    let mut sessions: Vec<_> = (2..=7)
        .map(|peer| session(1, 40_000 + u16::from(peer), peer, SessionState::Decrypted))
        .collect();
    sessions.push(SessionFact {
        detail: Some("only the connection type and no ack".to_owned()),
        ..session(7, 50_000, 1, SessionState::NoHandshake)
    });
    let copies = (1..=6).map(|copies| CopiesFact {
        receiver_ip: ip(1),
        copies,
        payloads: 20 + copies * 7,
    });
    let mut copies: Vec<_> = copies.collect();
    copies.extend((2..=7).map(|number| CopiesFact {
        receiver_ip: ip(number),
        copies: 1,
        payloads: 40,
    }));
    RunFacts {
        captures: vec![CaptureFact {
            path: "tap1.pcap".to_owned(),
            sha256: "8c1f".repeat(16),
            packets: 69_482,
            bytes: 8_100_000,
            ..CaptureFact::default()
        }],
        nodes: (1..=7)
            .map(|n| node(n, if n == 1 { Coverage::Full } else { Coverage::Partial }))
            .collect(),
        sessions,
        codes: vec![
            CodeFact {
                capability: "istanbul/64".to_owned(),
                name: "Istanbul".to_owned(),
                wire_code: 0x21,
                frames: 9471,
                bytes: 3_000_000,
            },
            CodeFact {
                capability: "p2p".to_owned(),
                name: "Ping".to_owned(),
                wire_code: 2,
                frames: 60,
                bytes: 3840,
            },
        ],
        copies,
        events: Vec::new(),
        totals: Totals {
            packets: 69_482,
            bytes: 8_100_000,
            tcp_packets: 69_480,
            sessions: 7,
            refused: 10,
            other_flows: 0,
            frames: 11_400,
            consensus_messages: 9471,
            incomplete_bytes: 96,
            skipped_packets: BTreeMap::from([("ARP".to_owned(), 2)]),
            ..Totals::default()
        },
        waste: waste(),
        what_if: [
            ("as_seen", 711, 0, 4),
            ("none", 376, 0, 6),
            ("not_to_signer_and_source", 640, 0, 4),
            ("sqrt", 420, 3, 5),
        ]
        .into_iter()
        .map(|(policy, messages, not_delivered, millis)| WhatIfFact {
            chain: CHAIN.into(),
            policy: policy.into(),
            payloads: 376,
            messages,
            bytes: messages * 300,
            not_delivered,
            delay_p50_ns: Some(millis * 1_000_000),
            delay_p95_ns: Some(millis * 3_000_000),
        })
        .collect(),
        delays: [(1, 900, 400_000), (2, 860, 2_900_000), (3, 0, 0)]
            .into_iter()
            .map(|(node, exact, nanos)| {
                let times = |factor: i64| (exact > 0).then_some(nanos * factor);
                DelayFact {
                    chain: CHAIN.into(),
                    node_ip: ip(node),
                    node: format!("cn{node}").into(),
                    payloads: 900,
                    exact,
                    p50_ns: times(1),
                    p95_ns: times(2),
                    p99_ns: times(4),
                    max_ns: times(5),
                }
            })
            .collect(),
        phases: [
            ("block_time", 9, 1000),
            ("preprepare_to_prepared", 10, 12),
            ("prepared_to_committed", 10, 13),
            ("roundchange_to_preprepare", 1, 40),
        ]
        .into_iter()
        .map(|(phase, rounds, millis)| PhaseFact {
            chain: CHAIN.into(),
            phase: phase.into(),
            rounds,
            p50_ns: millis * 1_000_000,
            p95_ns: millis * 1_200_000,
            p99_ns: millis * 1_500_000,
            max_ns: millis * 1_600_000,
        })
        .collect(),
        participation: (1..=7).map(participation).collect(),
        links: (2..=7).flat_map(links).collect(),
        peers: (1..=7).map(peer).collect(),
        dials: (2..=7)
            .map(|peer| DialFact {
                initiator_ip: ip(1),
                initiator: "cn1".into(),
                recipient_ip: ip(peer),
                recipient: format!("cn{peer}").into(),
                dials: 1,
                refused: 0,
                useless: 0,
                first_seen_ns: at(0),
                last_seen_ns: at(97_000),
            })
            .collect(),
        census: vec![CensusFact {
            list: "version",
            value: "v1.4.2".to_owned(),
            count: 7,
        }],
        scores: (1..=7)
            .map(|number| ScoreFact {
                node: format!("cn{number}").into(),
                address: Some(NodeId([number; 64]).address()),
                ip: Some(ip(number)),
                score_milli: if number == 7 { -2500 } else { 1200 },
                time_in_mesh_milli: 700,
                first_deliveries_milli: 500,
                delivery_deficit_milli: if number == 7 { -3700 } else { 0 },
                invalid_milli: 0,
                colocation_milli: 0,
                behaviour_milli: 0,
            })
            .collect(),
    }
}

/// As many copies as in `counts`, all by one sender.
fn waste() -> Vec<WasteFact> {
    let causes = [
        (WasteCause::EchoSigner, 50),
        (WasteCause::Resent, 18),
        (WasteCause::EchoSource, 95),
        (WasteCause::Crossing, 40),
        (WasteCause::Regossip, 132),
    ];
    let fact = |(cause, copies)| WasteFact {
        chain: CHAIN.into(),
        receiver_ip: ip(1),
        receiver: "cn1".into(),
        sender: "cn2".into(),
        kind: Kind::Prepare,
        cause,
        copies,
        bytes: copies * 300,
    };
    causes.into_iter().map(fact).collect()
}

fn participation(number: u8) -> ParticipationFact {
    let missing = if number == 7 { 3 } else { 0 };
    ParticipationFact {
        chain: CHAIN.into(),
        validator: format!("cn{number}").into(),
        address: Some(NodeId([number; 64]).address()),
        rounds: 10,
        proposals_due: 2,
        proposals: if number == 7 { 1 } else { 2 },
        prepares: 10,
        commits: 10 - missing,
        late: if number == 6 { 10 } else { 0 },
        missing,
        commit_delay_p50_ns: Some(i64::from(number) * 1_000_000),
        commit_delay_p95_ns: Some(i64::from(number) * 2_000_000),
        ..ParticipationFact::default()
    }
}

fn links(peer: u8) -> [TcpLinkFact; 2] {
    let link = |sender: u8, receiver: u8, retransmissions| TcpLinkFact {
        sender_ip: ip(sender),
        sender: format!("cn{sender}").into(),
        receiver_ip: ip(receiver),
        receiver: format!("cn{receiver}").into(),
        segments: 1000,
        bytes: 400_000,
        retransmissions,
        rtt_samples: 900,
        rtt_min_ns: Some(200_000),
        rtt_mean_ns: Some(300_000),
        rtt_max_ns: Some(9_000_000),
        rtt_smoothed_ns: Some(310_000),
        one_way_samples: 0,
        one_way_min_ns: None,
        one_way_mean_ns: None,
        skew_ns: None,
    };
    [link(1, peer, 0), link(peer, 1, if peer == 5 { 31 } else { 1 })]
}

fn peer(number: u8) -> PeerFact {
    PeerFact {
        node: format!("cn{number}").into(),
        node_id: Some(NodeId([number; 64])),
        ips: vec![ip(number)],
        client: Some("Klaytn/v1.4.2/linux-amd64/go1.19.8".to_owned()),
        software: Some("Klaytn".to_owned()),
        version: Some("v1.4.2".to_owned()),
        offers: vec!["istanbul/64".to_owned(), "klay/65".to_owned()],
        network_id: Some(1000),
        genesis: Some(CHAIN[5..].to_owned()),
        head: None,
        total_difficulty: Some("11".to_owned()),
        behind: Some("0".to_owned()),
        role: Some("cn"),
        dials_out: if number == 1 { 6 } else { 0 },
        dials_in: u64::from(number != 1),
        refused_out: 0,
        refused_in: 0,
        useless: 0,
        sessions: if number == 1 { 6 } else { 1 },
        session_p50_ns: Some(97_000_000_000),
        reconnects: 0,
        reconnect_p50_ns: None,
        disconnects_sent: BTreeMap::new(),
        disconnects_received: BTreeMap::new(),
    }
}

/// A run in which a peer and the files' authors tried to get at whoever reads the report.
pub(crate) fn hostile_run() -> RunFacts {
    let mut facts = run();
    facts.captures[0].path = "tap\x1b]0;owned\x07.pcap".to_owned();
    facts.captures[0].problem = Some("cut\r\nin the middle".to_owned());
    facts.nodes[0].label = "cn1\x1b[2J<script>alert(1)</script>".into();
    facts.nodes[0].name = Some(facts.nodes[0].label.to_string());
    facts.nodes[1].client = Some(bftap_model::escape_peer_text(b"Evil/\x1b[31m\xff<b>\xe2\x80\xae"));
    facts.sessions[6].detail = Some("detail\x1b[5m".to_owned());
    facts.codes[0].name = "\x1b[1mbold".to_owned();
    facts.participation[6].validator = "cn7\x1b[2J".into();
    facts.scores[6].node = "cn7\x1b[2J".into();
    facts.links[7].sender = "cn5\x07".into();
    facts.what_if[3].policy = "sqrt\r\n".into();
    facts.phases[0].phase = "block_time\x1b[1m".into();
    facts.delays[0].node = "cn1\x1b[1m".into();
    facts.events.push(EventFact {
        severity: "critical",
        signer: Some("cn3\x1b[2J".into()),
        ip: Some(ip(3)),
        kind: Some(Kind::Commit),
        chain: CHAIN.into(),
        sequence: Some(1),
        round: Some(0),
        suspicious: true,
        ..EventFact::new("sample", at(5), "seen\x07from \u{202e}peer".to_owned())
    });
    facts
}

/// A run over many networks at once: 420 receivers.
pub(crate) fn many() -> (Vec<HeightFacts>, RunFacts) {
    let mut facts = run();
    let mut heights = heights();
    let template: Vec<_> = heights.clone();
    for network in 1..60u8 {
        for (height, original) in heights.iter_mut().zip(&template) {
            height
                .counts
                .extend(original.counts.iter().cloned().map(|mut count| {
                    count.receiver_ip = moved(count.receiver_ip, network);
                    count.receiver = format!("{}-{network}", count.receiver).into();
                    count
                }));
        }
        for node in run().nodes {
            let label = format!("{}-{network}", node.label);
            facts.nodes.push(NodeFact {
                ips: node.ips.iter().map(|&ip| moved(ip, network)).collect(),
                name: Some(label.clone()),
                label: label.into(),
                ..node
            });
        }
        facts.copies.extend(run().copies.into_iter().map(|mut fact| {
            fact.receiver_ip = moved(fact.receiver_ip, network);
            fact
        }));
        for session in run().sessions {
            let end = |end: Endpoint| Endpoint {
                ip: moved(end.ip, network),
                ..end
            };
            facts.sessions.push(SessionFact {
                initiator: end(session.initiator),
                recipient: end(session.recipient),
                ..session
            });
        }
    }
    (heights, facts)
}

fn moved(ip: IpAddr, network: u8) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, _, d] = ip.octets();
            [a, b, network, d].into()
        }
        IpAddr::V6(_) => ip,
    }
}
