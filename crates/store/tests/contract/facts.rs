//! Facts to store: small, and different in every field, so that swapped columns show.

use std::net::IpAddr;

use bftap_analysis::facts::{
    CaptureFact, CensusFact, CodeFact, CopiesFact, CountFact, Coverage, DelayFact, DeliveryFact, DialFact,
    EventFact, HeightFacts, LinkCountFact, NodeFact, NodeRoundFact, Outcome, ParticipationFact, PeerFact,
    PhaseFact, RoundCause, RoundFact, RoundStanding, RunFacts, ScoreFact, SessionFact, SessionState,
    TcpLinkFact, Totals, VoteFact, VoteState, WasteCause, WasteFact, WhatIfFact,
};
use bftap_ibft_decode::Kind;
use bftap_model::{CaptureTime, Endpoint, Hash256, MacState, NodeId};
use bftap_store::{Batch, NewRun, RunSource};

pub(crate) const CHAIN: &str = "1000/0xaa";

pub(crate) const SELECTION: &str = r#"{"from_ns":null,"ports":[32323]}"#;

pub(crate) fn new_run(name: &str) -> NewRun {
    NewRun {
        name: name.into(),
        source: RunSource::Analyze,
        program_version: "0.1.0".into(),
        selection: Some(SELECTION.into()),
        live: false,
        pace_milli: None,
    }
}

pub(crate) fn at(nanos: i64) -> CaptureTime {
    CaptureTime::from_nanos(nanos)
}

pub(crate) fn ip(last: u8) -> IpAddr {
    [10, 0, 0, last].into()
}

/// `messages` of a kind to node `cn<node>` in a round.
pub(crate) fn count(node: u8, sequence: u64, round: u64, kind: Kind, messages: u64) -> CountFact {
    CountFact {
        chain: CHAIN.into(),
        receiver_ip: ip(node),
        receiver: format!("cn{node}").into(),
        sequence,
        round,
        kind,
        messages,
        useful: messages / 2,
        repeats: messages - messages / 2 - 1,
        echoes: 1,
        resent: u64::from(messages > 6),
        echo_source: 2 * u64::from(messages > 20),
        crossing: 3 * u64::from(messages > 30),
        regossip: messages
            - messages / 2
            - 1
            - u64::from(messages > 6)
            - 2 * u64::from(messages > 20)
            - 3 * u64::from(messages > 30),
        invalid: 0,
        bytes: messages * 304,
        lower_bound: node != 1,
        first_seen: at(sequence as i64 * 1000),
        last_seen: at(sequence as i64 * 1000 + 7),
    }
}

/// Copies that node `cn1` got from `sender`.
pub(crate) fn delivery(sender: &str, signer: &str, sequence: u64, kind: Kind, copies: u64) -> DeliveryFact {
    DeliveryFact {
        chain: CHAIN.into(),
        receiver_ip: ip(1),
        sender: sender.into(),
        signer: signer.into(),
        sequence,
        round: 0,
        kind,
        copies,
        first_seen: at(sequence as i64 * 1000 + 1),
        last_seen: at(sequence as i64 * 1000 + 6),
    }
}

/// A decided round 0.
pub(crate) fn round(sequence: u64) -> RoundFact {
    RoundFact {
        chain: CHAIN.into(),
        sequence,
        round: 0,
        proposer: Some("cn2".into()),
        validators: Some(7),
        quorum: Some(5),
        preprepare_ns: Some(at(sequence as i64 * 1000)),
        prepared_ns: Some(at(sequence as i64 * 1000 + 3)),
        committed_ns: None,
        messages: 52,
        outcome: Outcome::Decided,
        standing: RoundStanding::Entered,
        cause: (!sequence.is_multiple_of(2)).then_some(RoundCause::LatePreprepare),
        block_time_ns: Some(1_000_000_000 + sequence as i64),
    }
}

/// What node `cn<node>` lived of round 0.
pub(crate) fn node_round(node: u8, sequence: u64) -> NodeRoundFact {
    let time = |nanos| (node == 1).then(|| at(sequence as i64 * 1000 + nanos));
    NodeRoundFact {
        chain: CHAIN.into(),
        sequence,
        round: 0,
        node_ip: ip(node),
        node: format!("cn{node}").into(),
        preprepare_ns: Some(at(sequence as i64 * 1000 + 1)),
        prepared_ns: time(2),
        committed_ns: time(3),
        roundchange_ns: time(4),
        lower_bound: node != 1,
    }
}

/// The prepare of `signer`.
pub(crate) fn vote(signer: &str, sequence: u64, state: VoteState) -> VoteFact {
    VoteFact {
        chain: CHAIN.into(),
        sequence,
        round: 0,
        kind: Kind::Prepare,
        signer: signer.into(),
        digest: (state != VoteState::Missing).then_some(Hash256([0x22; 32])),
        first_ns: (state != VoteState::Missing).then(|| at(sequence as i64 * 1000 + 2)),
        first_sender: (state != VoteState::Missing).then(|| "cn2".into()),
        reached: 2,
        of: 4,
        not_reached: match state {
            VoteState::Partial => vec!["cn 4".into(), "cn\"5".into()],
            _ => Vec::new(),
        },
        state,
        received: Vec::new(),
    }
}

/// One height with all four kinds.
pub(crate) fn height(sequence: u64) -> HeightFacts {
    HeightFacts {
        counts: vec![
            count(1, sequence, 0, Kind::Preprepare, 6),
            count(1, sequence, 0, Kind::Prepare, 36),
            count(1, sequence, 0, Kind::Commit, 10),
            count(2, sequence, 0, Kind::Prepare, 6),
            count(1, sequence, 1, Kind::Prepare, 4),
            count(1, sequence, 1, Kind::RoundChange, 3),
        ],
        deliveries: vec![
            delivery("cn2", "cn3", sequence, Kind::Prepare, 3),
            delivery("cn2", "cn2", sequence, Kind::Commit, 1),
            delivery("cn3", "cn1", sequence, Kind::RoundChange, 2),
        ],
        rounds: vec![round(sequence)],
        node_rounds: vec![node_round(1, sequence), node_round(2, sequence)],
        votes: vec![
            vote("cn2", sequence, VoteState::Complete),
            // It signed two.
            vote("cn3", sequence, VoteState::Partial),
            vote("cn3", sequence, VoteState::Late),
            vote("cn4", sequence, VoteState::Missing),
        ],
        events: Vec::new(),
    }
}

/// A batch of one height and one minute of a link.
pub(crate) fn batch(sequence: u64) -> Batch {
    let mut batch = Batch::default();
    batch.push_height(height(sequence));
    batch.links.push(link(sequence));
    batch
}

/// Minute number `minute` of the link from `cn2` to `cn1`.
pub(crate) fn link(minute: u64) -> LinkCountFact {
    LinkCountFact {
        chain: CHAIN.into(),
        minute: at(minute as i64 * 60_000_000_000),
        receiver_ip: ip(1),
        receiver: "cn1".into(),
        sender: "cn2".into(),
        kind: Kind::Prepare,
        messages: 360,
        bytes: 109_440,
    }
}

/// The rest of a run.
pub(crate) fn run_facts() -> RunFacts {
    let id = NodeId([0x11; 64]);
    let endpoint = |last, port| Endpoint { ip: ip(last), port };
    let counted = |name: &str, number| [(name.to_owned(), number)].into();
    RunFacts {
        captures: vec![CaptureFact {
            path: "tap1.pcap".into(),
            sha256: "ab".repeat(32),
            packets: 1001,
            bytes: 1002,
            problem: Some("cut in the middle".into()),
            kernel_drops: Some(1003),
            interface_drops: None,
            times_down: Some(1005),
        }],
        nodes: vec![
            NodeFact {
                name: Some("cn1".into()),
                label: "cn1".into(),
                node_id: Some(id),
                address: Some(id.address()),
                ips: vec![ip(1), ip(101), ip(1)],
                client: Some("Klaytn/v1.4.2".into()),
                role: Some("cn"),
                coverage: Coverage::Full,
                validator: true,
            },
            NodeFact {
                name: None,
                label: "10.0.0.2".into(),
                node_id: None,
                address: None,
                ips: vec![ip(2)],
                client: None,
                role: None,
                coverage: Coverage::Partial,
                validator: false,
            },
        ],
        sessions: vec![SessionFact {
            initiator: endpoint(1, 40_000),
            recipient: endpoint(2, 32_323),
            state: SessionState::Lost,
            attached: Some("handshake"),
            opened_by: None,
            mac: Some(MacState::Unverifiable),
            frames_from_initiator: 11,
            frames_from_recipient: 12,
            gaps: 13,
            lost_bytes: 14,
            incomplete_bytes: 15,
            frames_lost: [71, 72],
            inferred: Some("klaytn, inferred".into()),
            capabilities: vec!["istanbul/64".into(), "klay/65".into()],
            chain: "1001/0xbb".into(),
            stream_bytes: [16, 17],
            clients: [Some("one".into()), None],
            node_ids: [None, Some(id)],
            detail: Some("a gap".into()),
            first_seen_ns: at(18),
            last_seen_ns: at(19),
        }],
        codes: vec![CodeFact {
            capability: "istanbul/64".into(),
            name: "consensus".into(),
            wire_code: 33,
            frames: 21,
            bytes: 22,
        }],
        copies: vec![
            CopiesFact {
                receiver_ip: ip(1),
                copies: 1,
                payloads: 30,
            },
            CopiesFact {
                receiver_ip: ip(1),
                copies: 6,
                payloads: 31,
            },
        ],
        events: vec![EventFact {
            severity: "critical",
            signer: Some("cn3".into()),
            sender: None,
            chain: CHAIN.into(),
            sequence: Some(42),
            round: Some(43),
            suspicious: true,
            kind: Some(Kind::Commit),
            node_id: Some(id),
            address: Some(id.address()),
            ip: Some(ip(3)),
            numbers: [("second_ns", -44), ("digests", 2)].into(),
            payloads: vec![Hash256([0x33; 32]), Hash256([0x44; 32])],
            ..EventFact::new("equivocation", at(41), "two digests".into())
        }],
        totals: Totals {
            packets: 51,
            bytes: 52,
            tcp_packets: 53,
            sessions: 54,
            refused: 55,
            other_flows: 56,
            frames: 57,
            consensus_messages: 58,
            undecodable: 59,
            gaps: 60,
            lost_bytes: 61,
            incomplete_bytes: 62,
            bad_checksums: 63,
            skipped_packets: counted("not IP", 64),
            undecodable_reasons: counted("bad RLP", 65),
            frames_lost: 67,
            searched_bytes: 68,
            limits_reached: counted("reorder buffer", 66),
        },
        waste: vec![WasteFact {
            chain: CHAIN.into(),
            receiver_ip: ip(1),
            receiver: "cn1".into(),
            sender: "cn2".into(),
            kind: Kind::Commit,
            cause: WasteCause::EchoSource,
            copies: 81,
            bytes: 82,
        }],
        what_if: vec![WhatIfFact {
            chain: CHAIN.into(),
            policy: "degree_4".into(),
            payloads: 83,
            messages: 84,
            bytes: 85,
            not_delivered: 86,
            delay_p50_ns: Some(87),
            delay_p95_ns: None,
        }],
        phases: vec![PhaseFact {
            chain: "1002/0xcc".into(),
            phase: "block_time".into(),
            rounds: 88,
            p50_ns: 89,
            p95_ns: 90,
            p99_ns: 91,
            max_ns: 92,
        }],
        delays: vec![DelayFact {
            chain: CHAIN.into(),
            node_ip: ip(2),
            node: "cn2".into(),
            payloads: 201,
            exact: 202,
            p50_ns: Some(203),
            p95_ns: Some(204),
            p99_ns: None,
            max_ns: Some(205),
        }],
        participation: vec![ParticipationFact {
            chain: CHAIN.into(),
            validator: "cn3".into(),
            address: Some(id.address()),
            rounds: 93,
            proposals_due: 94,
            proposals: 95,
            prepares: 96,
            commits: 97,
            roundchanges: 98,
            late: 99,
            partial: 100,
            missing: 101,
            unknown: 102,
            invalid: 103,
            commit_delay_p50_ns: Some(104),
            commit_delay_p95_ns: Some(105),
        }],
        links: vec![TcpLinkFact {
            sender_ip: ip(2),
            sender: "cn2".into(),
            receiver_ip: ip(1),
            receiver: "cn1".into(),
            segments: 106,
            bytes: 107,
            retransmissions: 108,
            rtt_samples: 109,
            rtt_min_ns: Some(110),
            rtt_mean_ns: Some(111),
            rtt_max_ns: Some(112),
            rtt_smoothed_ns: Some(113),
            one_way_samples: 114,
            one_way_min_ns: Some(115),
            one_way_mean_ns: Some(116),
            skew_ns: Some(-117),
        }],
        peers: vec![PeerFact {
            node: "cn2".into(),
            node_id: Some(id),
            ips: vec![ip(2), ip(102)],
            client: Some("Klaytn/v1.4.2/linux".into()),
            software: Some("Klaytn".into()),
            version: Some("v1.4.2".into()),
            offers: vec!["istanbul/64".into(), "klay/65".into()],
            network_id: Some(118),
            genesis: Some("0xaa".into()),
            head: Some("0xbb".into()),
            total_difficulty: Some("119".into()),
            behind: Some("120".into()),
            role: Some("cn"),
            dials_out: 121,
            dials_in: 122,
            refused_out: 123,
            refused_in: 124,
            useless: 125,
            sessions: 126,
            session_p50_ns: Some(127),
            reconnects: 128,
            reconnect_p50_ns: Some(129),
            disconnects_sent: counted("too many peers", 130),
            disconnects_received: counted("quitting", 131),
        }],
        dials: vec![DialFact {
            initiator_ip: ip(1),
            initiator: "cn1".into(),
            recipient_ip: ip(2),
            recipient: "cn2".into(),
            dials: 132,
            refused: 133,
            useless: 134,
            first_seen_ns: at(135),
            last_seen_ns: at(136),
        }],
        census: vec![CensusFact {
            list: "version",
            value: "v1.4.2".into(),
            count: 137,
        }],
        scores: vec![ScoreFact {
            node: "cn2".into(),
            address: Some(id.address()),
            ip: Some(ip(2)),
            score_milli: -138,
            time_in_mesh_milli: 139,
            first_deliveries_milli: 140,
            delivery_deficit_milli: -141,
            invalid_milli: -142,
            colocation_milli: -143,
            behaviour_milli: -144,
        }],
    }
}
