//! The network under the messages: connections, the peers at their ends, and how far one may trust them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bftap_model::{Address, CaptureTime, NodeId};
use serde::Serialize;

use super::{Label, nanos, optional_text};

/// One direction between two IP addresses, as TCP tells it, over all connections of the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TcpLinkFact {
    /// Who sent.
    pub sender_ip: IpAddr,
    /// The sender in text.
    pub sender: Label,
    /// Who received.
    pub receiver_ip: IpAddr,
    /// The receiver in text.
    pub receiver: Label,
    /// Segments with payload, each once however many taps saw it.
    pub segments: u64,
    /// Payload bytes in them.
    pub bytes: u64,
    /// Segments that were sent again.
    pub retransmissions: u64,
    /// Segments whose acknowledgement told a round trip, from the tap to the receiver and back.
    pub rtt_samples: u64,
    /// The shortest of these, in nanoseconds.
    pub rtt_min_ns: Option<i64>,
    /// Their mean.
    pub rtt_mean_ns: Option<i64>,
    /// The longest.
    pub rtt_max_ns: Option<i64>,
    /// Smoothed as RFC 6298 does, at the end of the latest connection.
    pub rtt_smoothed_ns: Option<i64>,
    /// Segments that passed two taps.
    pub one_way_samples: u64,
    /// Shortest time between the two taps, the skew of their clocks taken off, in nanoseconds.
    pub one_way_min_ns: Option<i64>,
    /// Mean time between the two taps, the skew taken off.
    pub one_way_mean_ns: Option<i64>,
    /// What the clock of the receiver's tap is ahead of that of the sender's, estimated from both directions.
    pub skew_ns: Option<i64>,
}

/// One node as a crawler would describe it, from what passed by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PeerFact {
    /// The node in text.
    pub node: Label,
    /// Its key, if a Hello or a handshake showed it.
    #[serde(serialize_with = "optional_text")]
    pub node_id: Option<NodeId>,
    /// Where it was seen.
    pub ips: Vec<IpAddr>,
    /// The name in its latest Hello; escaped.
    pub client: Option<String>,
    /// Client without version: `Klaytn`, `Geth`.
    pub software: Option<String>,
    /// `v1.4.2`.
    pub version: Option<String>,
    /// What its latest Hello offers: `istanbul/64`.
    pub offers: Vec<String>,
    /// Network id in its latest Status.
    pub network_id: Option<u64>,
    /// Genesis hash in its latest Status.
    pub genesis: Option<String>,
    /// Hash of the head in its latest Status.
    pub head: Option<String>,
    /// Total difficulty in its latest Status, decimal; with Klaytn about the height.
    pub total_difficulty: Option<String>,
    /// How far that was behind the highest seen so far in a Status of the same chain, decimal.
    pub behind: Option<String>,
    /// Role from the connection type: `cn`, `en`, `pn`, `bn`.
    pub role: Option<&'static str>,
    /// Connections that it dialled, and that were dialled to it.
    pub dials_out: u64,
    /// See there.
    pub dials_in: u64,
    /// Of `dials_out`, those refused or without payload.
    pub refused_out: u64,
    /// Of `dials_in`, those refused or without payload.
    pub refused_in: u64,
    /// Sessions that were opened and carried nothing but Hello, Disconnect, Ping and Pong.
    pub useless: u64,
    /// Sessions.
    pub sessions: u64,
    /// Median length of its sessions, in nanoseconds; of those cut by the end of the capture as far as they were seen.
    pub session_p50_ns: Option<i64>,
    /// Times from the end of a session to the next one with the same peer.
    pub reconnects: u64,
    /// Their median, in nanoseconds.
    pub reconnect_p50_ns: Option<i64>,
    /// Disconnects that it sent, by reason.
    pub disconnects_sent: BTreeMap<String, u64>,
    /// Disconnects that it received, by reason.
    pub disconnects_received: BTreeMap<String, u64>,
}

/// Who dialled whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DialFact {
    /// Who dialled.
    pub initiator_ip: IpAddr,
    /// The same in text.
    pub initiator: Label,
    /// Who was dialled.
    pub recipient_ip: IpAddr,
    /// The same in text.
    pub recipient: Label,
    /// Connections.
    pub dials: u64,
    /// Of these, refused or without payload.
    pub refused: u64,
    /// Of these, sessions that carried nothing but Hello, Disconnect, Ping and Pong.
    pub useless: u64,
    /// First packet of the first one.
    #[serde(serialize_with = "nanos")]
    pub first_seen_ns: CaptureTime,
    /// Last packet of the last one.
    #[serde(serialize_with = "nanos")]
    pub last_seen_ns: CaptureTime,
}

/// How many nodes, or Disconnects, have one value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CensusFact {
    /// `software`, `version`, `capability`, `role`, `disconnect`.
    pub list: &'static str,
    /// The value; escaped.
    pub value: String,
    /// How many.
    pub count: u64,
}

/// Advice on one node, in the manner of GossipSub's peer score (docs/score.md); thousandths. Nothing acts on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ScoreFact {
    /// The node in text.
    pub node: Label,
    /// Its address.
    #[serde(serialize_with = "optional_text")]
    pub address: Option<Address>,
    /// An IP address of it.
    pub ip: Option<IpAddr>,
    /// Sum of the parts.
    pub score_milli: i64,
    /// For the time of its sessions.
    pub time_in_mesh_milli: i64,
    /// For being the first to hand over payloads.
    pub first_deliveries_milli: i64,
    /// Against handing over fewer payloads than expected.
    pub delivery_deficit_milli: i64,
    /// Against invalid messages.
    pub invalid_milli: i64,
    /// Against sharing an IP address with others.
    pub colocation_milli: i64,
    /// Against what rules blamed on it.
    pub behaviour_milli: i64,
}
