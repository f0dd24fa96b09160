//! A network of seven validators that gossip: a height has 882 deliveries, 21 counts, a round, 7 rows of nodes and 15 votes.
//!
//! Nodes are shown by address, as without a nodes file.

use std::net::IpAddr;

use bftap_analysis::facts::{
    CodeFact, CopiesFact, CountFact, Coverage, DeliveryFact, HeightFacts, Label, LinkCountFact, NodeFact,
    NodeRoundFact, Outcome, RoundFact, RoundStanding, RunFacts, SessionFact, SessionState, Totals, VoteFact,
    VoteState,
};
use bftap_ibft_decode::Kind;
use bftap_model::{CaptureTime, Endpoint, Hash256, MacState, NodeId};

pub(crate) const NODES: u8 = 7;
const KINDS: [Kind; 3] = [Kind::Preprepare, Kind::Prepare, Kind::Commit];
const MESSAGE_BYTES: u64 = 304;
const MINUTE_NS: i64 = 60_000_000_000;

/// How nodes are shown.
pub(crate) fn labels() -> Vec<Label> {
    (0..NODES).map(|node| address(node).into()).collect()
}

fn address(node: u8) -> String {
    NodeId([node + 1; 64]).address().to_string()
}

fn ip(node: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, node + 1])
}

fn chain() -> Label {
    format!("1000/0x{}", "ab".repeat(32)).into()
}

/// What is known of a height whose preprepare came at `at_ns`.
pub(crate) fn height(sequence: u64, at_ns: i64, labels: &[Label]) -> HeightFacts {
    let at = |ms: i64| CaptureTime::from_nanos(at_ns + ms * 1_000_000);
    let mut height = HeightFacts::default();
    for kind in KINDS {
        for receiver in 0..NODES {
            height.counts.push(CountFact {
                chain: chain(),
                receiver_ip: ip(receiver),
                receiver: labels[usize::from(receiver)].clone(),
                sequence,
                round: 0,
                kind,
                messages: 42,
                useful: 6,
                repeats: 30,
                echoes: 6,
                resent: 0,
                echo_source: 5,
                crossing: 5,
                regossip: 20,
                invalid: 0,
                bytes: 42 * MESSAGE_BYTES,
                lower_bound: false,
                first_seen: at(2 + kind.index() as i64 * 20),
                last_seen: at(90 + kind.index() as i64 * 20),
            });
        }
    }
    for receiver in 0..NODES {
        for sender in (0..NODES).filter(|sender| *sender != receiver) {
            for signer in 0..NODES {
                for kind in KINDS {
                    height.deliveries.push(DeliveryFact {
                        chain: chain(),
                        receiver_ip: ip(receiver),
                        sender: labels[usize::from(sender)].clone(),
                        signer: labels[usize::from(signer)].clone(),
                        sequence,
                        round: 0,
                        kind,
                        copies: 1,
                        first_seen: at(2 + kind.index() as i64 * 20),
                        last_seen: at(2 + kind.index() as i64 * 20),
                    });
                }
            }
        }
    }
    let round = |round, outcome, preprepare: Option<CaptureTime>, committed| RoundFact {
        chain: chain(),
        sequence,
        round,
        proposer: Some(labels[(sequence + round) as usize % labels.len()].clone()),
        validators: Some(7),
        quorum: Some(5),
        preprepare_ns: preprepare,
        prepared_ns: preprepare.map(|_| at(45)),
        committed_ns: committed,
        messages: 882,
        outcome,
        standing: if outcome == Outcome::Changed {
            RoundStanding::Left
        } else {
            RoundStanding::Entered
        },
        cause: None,
        block_time_ns: None,
    };
    // One height in a hundred needs a second attempt.
    if sequence.is_multiple_of(100) {
        height.rounds.push(round(0, Outcome::Changed, Some(at(0)), None));
        height
            .rounds
            .push(round(1, Outcome::Decided, Some(at(40)), Some(at(88))));
    } else {
        height
            .rounds
            .push(round(0, Outcome::Decided, Some(at(0)), Some(at(80))));
    }
    add_story(&mut height, sequence, &at, labels);
    height
}

/// The height as each node lived it, and who voted.
fn add_story(height: &mut HeightFacts, sequence: u64, at: &impl Fn(i64) -> CaptureTime, labels: &[Label]) {
    for node in 0..NODES {
        height.node_rounds.push(NodeRoundFact {
            chain: chain(),
            sequence,
            round: 0,
            node_ip: ip(node),
            node: labels[usize::from(node)].clone(),
            preprepare_ns: Some(at(2)),
            prepared_ns: Some(at(45)),
            committed_ns: Some(at(80)),
            roundchange_ns: None,
            lower_bound: false,
        });
    }
    for kind in KINDS {
        let signers = if kind == Kind::Preprepare { 1 } else { labels.len() };
        height
            .votes
            .extend(labels.iter().take(signers).map(|signer| VoteFact {
                chain: chain(),
                sequence,
                round: 0,
                kind,
                signer: signer.clone(),
                digest: Some(Hash256([sequence as u8; 32])),
                first_ns: Some(at(2 + kind.index() as i64 * 20)),
                first_sender: Some(signer.clone()),
                reached: 6,
                of: 6,
                not_reached: Vec::new(),
                state: VoteState::Complete,
                received: Vec::new(),
            }));
    }
}

/// The links of the minute that starts at `minute_ns`, with so many heights in it.
#[allow(dead_code, reason = "not every benchmark asks for minutes")]
pub(crate) fn links(minute_ns: i64, heights: u64, labels: &[Label]) -> Vec<LinkCountFact> {
    let mut links = Vec::new();
    for receiver in 0..NODES {
        for sender in (0..NODES).filter(|sender| *sender != receiver) {
            for kind in KINDS {
                links.push(LinkCountFact {
                    chain: chain(),
                    minute: CaptureTime::from_nanos(minute_ns / MINUTE_NS * MINUTE_NS),
                    receiver_ip: ip(receiver),
                    receiver: labels[usize::from(receiver)].clone(),
                    sender: labels[usize::from(sender)].clone(),
                    kind,
                    messages: heights * 7,
                    bytes: heights * 7 * MESSAGE_BYTES,
                });
            }
        }
    }
    links
}

/// The small lists, after so many heights between two times.
#[allow(dead_code, reason = "not every benchmark asks for them")]
pub(crate) fn run_facts(heights: u64, first_ns: i64, last_ns: i64, labels: &[Label]) -> RunFacts {
    let mut facts = RunFacts::default();
    for node in 0..NODES {
        let id = NodeId([node + 1; 64]);
        facts.nodes.push(NodeFact {
            name: None,
            label: labels[usize::from(node)].clone(),
            node_id: Some(id),
            address: Some(id.address()),
            ips: vec![ip(node)],
            client: Some("Klaytn/v1.12.1/linux-amd64/go1.22.1".into()),
            role: Some("cn"),
            coverage: Coverage::Full,
            validator: true,
        });
        for copies in [1, 6] {
            facts.copies.push(CopiesFact {
                receiver_ip: ip(node),
                copies,
                payloads: heights * 7,
            });
        }
        for other in node + 1..NODES {
            let lost = (node, other) == (5, 6);
            facts.sessions.push(SessionFact {
                initiator: Endpoint {
                    ip: ip(node),
                    port: 40_000 + u16::from(other),
                },
                recipient: Endpoint {
                    ip: ip(other),
                    port: 32_323,
                },
                state: if lost {
                    SessionState::Lost
                } else {
                    SessionState::Decrypted
                },
                attached: Some("handshake"),
                opened_by: None,
                mac: Some(MacState::Verified),
                frames_from_initiator: heights * 21,
                frames_from_recipient: heights * 21,
                gaps: u64::from(lost),
                lost_bytes: if lost { 4096 } else { 0 },
                incomplete_bytes: 0,
                frames_lost: [u64::from(lost) * 3, 0],
                inferred: None,
                capabilities: vec!["istanbul/64".into()],
                chain: chain(),
                stream_bytes: [heights * 21 * MESSAGE_BYTES; 2],
                clients: [None, None],
                node_ids: [Some(NodeId([node + 1; 64])), Some(NodeId([other + 1; 64]))],
                detail: lost.then(|| "a gap".into()),
                first_seen_ns: CaptureTime::from_nanos(first_ns),
                last_seen_ns: CaptureTime::from_nanos(last_ns),
            });
        }
    }
    facts.codes.push(CodeFact {
        capability: "istanbul/64".into(),
        name: "consensus".into(),
        wire_code: 33,
        frames: heights * 882,
        bytes: heights * 882 * MESSAGE_BYTES,
    });
    facts.totals = Totals {
        packets: heights * 900,
        bytes: heights * 900 * 370,
        tcp_packets: heights * 900,
        sessions: facts.sessions.len() as u64,
        frames: heights * 882,
        consensus_messages: heights * 882,
        gaps: 1,
        lost_bytes: 4096,
        frames_lost: 3,
        ..Totals::default()
    };
    facts
}
