//! The network under the messages.

use std::collections::BTreeMap;

use bftap_analysis::facts::{CensusFact, DialFact, PeerFact, ScoreFact, TcpLinkFact};

use super::{json_texts, key_text, long_text, optional_key_text, stored};
use crate::rows::{CensusRow, DialRow, PeerDisconnectRow, PeerRow, ScoreRow, TcpLinkRow};
use crate::store::RunId;

pub(crate) fn tcp_link_row(run: RunId, fact: &TcpLinkFact) -> TcpLinkRow {
    TcpLinkRow {
        run_id: run.0,
        sender_ip: fact.sender_ip.to_string(),
        sender: key_text(&fact.sender),
        receiver_ip: fact.receiver_ip.to_string(),
        receiver: key_text(&fact.receiver),
        segments: stored(fact.segments),
        bytes: stored(fact.bytes),
        retransmissions: stored(fact.retransmissions),
        rtt_samples: stored(fact.rtt_samples),
        rtt_min_ns: fact.rtt_min_ns,
        rtt_mean_ns: fact.rtt_mean_ns,
        rtt_max_ns: fact.rtt_max_ns,
        rtt_smoothed_ns: fact.rtt_smoothed_ns,
        one_way_samples: stored(fact.one_way_samples),
        one_way_min_ns: fact.one_way_min_ns,
        one_way_mean_ns: fact.one_way_mean_ns,
        skew_ns: fact.skew_ns,
    }
}

pub(crate) fn peer_row(run: RunId, number: i64, fact: &PeerFact) -> PeerRow {
    PeerRow {
        run_id: run.0,
        peer_number: number,
        node: key_text(&fact.node),
        node_id: fact.node_id.map(|id| id.to_string()),
        ips: json_texts(fact.ips.iter().map(ToString::to_string)),
        client: fact.client.as_deref().map(long_text),
        software: fact.software.as_deref().map(long_text),
        version: fact.version.as_deref().map(long_text),
        offers: long_text(&fact.offers.join(" ")),
        network_id: fact.network_id.map(stored),
        genesis: optional_key_text(fact.genesis.as_deref()),
        head: optional_key_text(fact.head.as_deref()),
        total_difficulty: optional_key_text(fact.total_difficulty.as_deref()),
        behind: optional_key_text(fact.behind.as_deref()),
        role: optional_key_text(fact.role),
        dials_out: stored(fact.dials_out),
        dials_in: stored(fact.dials_in),
        refused_out: stored(fact.refused_out),
        refused_in: stored(fact.refused_in),
        useless: stored(fact.useless),
        sessions: stored(fact.sessions),
        session_p50_ns: fact.session_p50_ns,
        reconnects: stored(fact.reconnects),
        reconnect_p50_ns: fact.reconnect_p50_ns,
    }
}

/// Disconnects of one peer, by direction and reason.
pub(crate) fn peer_disconnect_rows(run: RunId, number: i64, fact: &PeerFact) -> Vec<PeerDisconnectRow> {
    let lists = [
        ("sent", &fact.disconnects_sent),
        ("received", &fact.disconnects_received),
    ];
    let row = |direction: &str, reasons: &BTreeMap<String, u64>| {
        let rows = reasons.iter().map(|(reason, count)| PeerDisconnectRow {
            run_id: run.0,
            peer_number: number,
            node: key_text(&fact.node),
            direction: direction.to_owned(),
            reason: key_text(reason),
            disconnects: stored(*count),
        });
        rows.collect::<Vec<_>>()
    };
    lists
        .into_iter()
        .flat_map(|(direction, reasons)| row(direction, reasons))
        .collect()
}

pub(crate) fn dial_row(run: RunId, fact: &DialFact) -> DialRow {
    DialRow {
        run_id: run.0,
        initiator_ip: fact.initiator_ip.to_string(),
        initiator: key_text(&fact.initiator),
        recipient_ip: fact.recipient_ip.to_string(),
        recipient: key_text(&fact.recipient),
        dials: stored(fact.dials),
        refused: stored(fact.refused),
        useless: stored(fact.useless),
        first_seen_ns: fact.first_seen_ns.nanos(),
        last_seen_ns: fact.last_seen_ns.nanos(),
    }
}

pub(crate) fn census_row(run: RunId, fact: &CensusFact) -> CensusRow {
    CensusRow {
        run_id: run.0,
        list: key_text(fact.list),
        value: key_text(&fact.value),
        total: stored(fact.count),
    }
}

pub(crate) fn score_row(run: RunId, number: i64, fact: &ScoreFact) -> ScoreRow {
    ScoreRow {
        run_id: run.0,
        score_number: number,
        node: key_text(&fact.node),
        address: fact.address.map(|address| address.to_string()),
        ip: fact.ip.map(|ip| ip.to_string()),
        score_milli: fact.score_milli,
        time_in_mesh_milli: fact.time_in_mesh_milli,
        first_deliveries_milli: fact.first_deliveries_milli,
        delivery_deficit_milli: fact.delivery_deficit_milli,
        invalid_milli: fact.invalid_milli,
        colocation_milli: fact.colocation_milli,
        behaviour_milli: fact.behaviour_milli,
    }
}
