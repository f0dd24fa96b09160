//! Facts made by hand: seven nodes, of which the first was tapped, as in a capture at one switch port.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bftap_analysis::facts::{
    CaptureFact, CodeFact, CopiesFact, CountFact, Coverage, EventFact, HeightFacts, NodeFact, Outcome,
    RoundFact, RunFacts, SessionFact, SessionState, Totals,
};
use bftap_ibft_decode::Kind;
use bftap_model::{CaptureTime, Endpoint, MacState, NodeId};

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
        resent: 0,
        echo_source: 0,
        crossing: 0,
        regossip: parts[1],
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
        cause: None,
        block_time_ns: None,
    }];
    HeightFacts {
        counts,
        rounds,
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
        ..RunFacts::default()
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
    facts.events.push(EventFact {
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
