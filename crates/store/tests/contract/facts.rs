//! Facts to store: small, and different in every field, so that swapped columns show.

use std::net::IpAddr;

use bftap_analysis::facts::{
    CaptureFact, CodeFact, CopiesFact, CountFact, Coverage, DeliveryFact, EventFact, HeightFacts,
    LinkCountFact, NodeFact, Outcome, RoundFact, RunFacts, SessionFact, SessionState, Totals,
};
use bftap_ibft_decode::Kind;
use bftap_model::{CaptureTime, Endpoint, MacState, NodeId};
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
        resent: 0,
        echo_source: 0,
        crossing: 0,
        regossip: messages - messages / 2 - 1,
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
        cause: None,
        block_time_ns: None,
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
        ..HeightFacts::default()
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
            ..CaptureFact::default()
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
        ..RunFacts::default()
    }
}
