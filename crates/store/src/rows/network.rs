//! Rows of the network under the messages.

use super::table_row;

table_row! {
    /// One direction between two IP addresses, as TCP tells it.
    pub struct TcpLinkRow in "tcp_link" by [run_id, sender_ip, receiver_ip] {
        /// Run.
        run_id: i64,
        /// Who sent.
        sender_ip: String,
        /// The sender in text.
        sender: String,
        /// Who received.
        receiver_ip: String,
        /// The receiver in text.
        receiver: String,
        /// Segments with payload.
        segments: i64,
        /// Payload bytes in them.
        bytes: i64,
        /// Segments that were sent again.
        retransmissions: i64,
        /// Segments whose acknowledgement told a round trip.
        rtt_samples: i64,
        /// The shortest of these.
        rtt_min_ns: Option<i64>,
        /// Their mean.
        rtt_mean_ns: Option<i64>,
        /// The longest.
        rtt_max_ns: Option<i64>,
        /// Smoothed as RFC 6298 does, at the end of the latest connection.
        rtt_smoothed_ns: Option<i64>,
        /// Segments that passed two taps.
        one_way_samples: i64,
        /// Shortest time between the two taps, the skew taken off.
        one_way_min_ns: Option<i64>,
        /// Mean time between the two taps, the skew taken off.
        one_way_mean_ns: Option<i64>,
        /// What the clock of the receiver's tap is ahead of that of the sender's.
        skew_ns: Option<i64>,
    }
}

table_row! {
    /// One node as a crawler would describe it.
    pub struct PeerRow in "peer" by [run_id, peer_number] {
        /// Run.
        run_id: i64,
        /// Position in the run's list of peers, from 0.
        peer_number: i64,
        /// The node in text.
        node: String,
        /// Its key.
        node_id: Option<String>,
        /// Where it was seen, a JSON array; null if nowhere.
        ips: Option<String>,
        /// The name in its latest Hello, control characters escaped.
        client: Option<String>,
        /// Client without version.
        software: Option<String>,
        /// Version of the client.
        version: Option<String>,
        /// What its latest Hello offers, separated by a space: `istanbul/64 p2p/5`.
        offers: String,
        /// Network id in its latest Status.
        network_id: Option<i64>,
        /// Genesis hash in its latest Status.
        genesis: Option<String>,
        /// Hash of the head in its latest Status.
        head: Option<String>,
        /// Total difficulty in its latest Status, decimal.
        total_difficulty: Option<String>,
        /// How far that was behind the highest seen so far, decimal.
        behind: Option<String>,
        /// Role from the connection type: `cn`, `en`, `pn`, `bn`.
        role: Option<String>,
        /// Connections that it dialled.
        dials_out: i64,
        /// Connections that were dialled to it.
        dials_in: i64,
        /// Of `dials_out`, those refused or without payload.
        refused_out: i64,
        /// Of `dials_in`, those refused or without payload.
        refused_in: i64,
        /// Sessions that carried nothing but Hello, Disconnect, Ping and Pong.
        useless: i64,
        /// Sessions.
        sessions: i64,
        /// Median length of its sessions.
        session_p50_ns: Option<i64>,
        /// Times from the end of a session to the next one with the same peer.
        reconnects: i64,
        /// Their median.
        reconnect_p50_ns: Option<i64>,
    }
}

table_row! {
    /// Disconnects of one peer with one reason.
    pub struct PeerDisconnectRow in "peer_disconnect" by [run_id, peer_number, direction, reason] {
        /// Run.
        run_id: i64,
        /// The peer.
        peer_number: i64,
        /// The peer in text.
        node: String,
        /// `sent` or `received`.
        direction: String,
        /// The reason.
        reason: String,
        /// How many.
        disconnects: i64,
    }
}

table_row! {
    /// Who dialled whom.
    pub struct DialRow in "dial" by [run_id, initiator_ip, recipient_ip] {
        /// Run.
        run_id: i64,
        /// Who dialled.
        initiator_ip: String,
        /// The same in text.
        initiator: String,
        /// Who was dialled.
        recipient_ip: String,
        /// The same in text.
        recipient: String,
        /// Connections.
        dials: i64,
        /// Of these, refused or without payload.
        refused: i64,
        /// Of these, sessions that carried nothing but Hello, Disconnect, Ping and Pong.
        useless: i64,
        /// First packet of the first one.
        first_seen_ns: i64,
        /// Last packet of the last one.
        last_seen_ns: i64,
    }
}

table_row! {
    /// How many nodes, or Disconnects, have one value.
    pub struct CensusRow in "census" by [run_id, list, value] {
        /// Run.
        run_id: i64,
        /// `software`, `version`, `capability`, `role`, `disconnect`.
        list: String,
        /// The value.
        value: String,
        /// How many.
        total: i64,
    }
}

table_row! {
    /// Advice on one node; thousandths.
    pub struct ScoreRow in "score" by [run_id, score_number] {
        /// Run.
        run_id: i64,
        /// Position in the run's list of scores, from 0.
        score_number: i64,
        /// The node in text.
        node: String,
        /// Its address.
        address: Option<String>,
        /// An IP address of it.
        ip: Option<String>,
        /// Sum of the parts.
        score_milli: i64,
        /// For the time of its sessions.
        time_in_mesh_milli: i64,
        /// For being the first to hand over payloads.
        first_deliveries_milli: i64,
        /// Against handing over fewer payloads than expected.
        delivery_deficit_milli: i64,
        /// Against invalid messages.
        invalid_milli: i64,
        /// Against sharing an IP address with others.
        colocation_milli: i64,
        /// Against what rules blamed on it.
        behaviour_milli: i64,
    }
}
