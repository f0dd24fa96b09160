//! Lists of the whole run: links, peers, sessions, what the counts rest on.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::nodes::sessions_by_state;
use super::reader::{Reader, cut, int};
use crate::Problem;

const LINKS: u32 = 2000;
const BROKEN: u32 = 500;
const BATCHES: u32 = 300;

pub(super) async fn links(reader: &mut Reader<'_>) -> Result<Value, Problem> {
    let order = format!("ORDER BY bytes DESC, sender_ip, receiver_ip LIMIT {}", LINKS + 1);
    let mut links = reader.table("tcp_link", &order, &[]).await?;
    let more = cut(&mut links, LINKS);
    Ok(json!({ "links": links, "more": more }))
}

pub(super) async fn peers(reader: &mut Reader<'_>) -> Result<Value, Problem> {
    let order = format!("ORDER BY peer_number LIMIT {}", LINKS + 1);
    let mut peers = reader.table("peer", &order, &[]).await?;
    let more_peers = cut(&mut peers, LINKS);
    let mut disconnects: BTreeMap<i64, Vec<Value>> = BTreeMap::new();
    let order = format!("ORDER BY peer_number, direction, reason LIMIT {}", 10 * LINKS);
    for row in reader.table("peer_disconnect", &order, &[]).await? {
        if let Some(peer) = row["peer_number"].as_i64() {
            disconnects.entry(peer).or_default().push(row);
        }
    }
    for peer in &mut peers {
        let of_peer = peer["peer_number"]
            .as_i64()
            .and_then(|number| disconnects.remove(&number))
            .unwrap_or_default();
        peer["disconnects"] = of_peer.into();
    }
    let order = format!(
        "ORDER BY dials DESC, initiator_ip, recipient_ip LIMIT {}",
        LINKS + 1
    );
    let mut dials = reader.table("dial", &order, &[]).await?;
    let more_dials = cut(&mut dials, LINKS);
    let census = reader
        .table("census", "ORDER BY list, total DESC, value LIMIT 2000", &[])
        .await?;
    Ok(json!({ "peers": peers, "dials": dials, "census": census, "more": more_peers || more_dials }))
}

pub(super) async fn health(reader: &mut Reader<'_>, run: Value) -> Result<Value, Problem> {
    let captures = reader
        .table("capture", "ORDER BY capture_number LIMIT 500", &[])
        .await?;
    let counters = reader
        .table("counter", "ORDER BY list, name LIMIT 1000", &[])
        .await?;
    let codes = reader
        .table("code", "ORDER BY capability, wire_code, name LIMIT 1000", &[])
        .await?;
    let order = format!("ORDER BY batch DESC LIMIT {BATCHES}");
    let mut progress = reader.table("progress", &order, &[]).await?;
    progress.reverse();
    let sessions = sessions_by_state(reader).await?;
    let order = format!(
        "AND (state <> 'decrypted' OR lost_bytes > 0) ORDER BY session_number LIMIT {}",
        BROKEN + 1
    );
    let mut broken = reader.table("session", &order, &[]).await?;
    let more = cut(&mut broken, BROKEN);
    Ok(json!({
        "run": run,
        "captures": captures,
        "counters": counters,
        "codes": codes,
        "progress": progress,
        "sessions": sessions,
        "broken": broken,
        "more": more,
    }))
}

pub(super) async fn sessions(
    reader: &mut Reader<'_>,
    before: Option<i64>,
    limit: u32,
) -> Result<Value, Problem> {
    let condition = if before.is_some() {
        "AND session_number < ?"
    } else {
        ""
    };
    let rest = format!("{condition} ORDER BY session_number DESC LIMIT {}", limit + 1);
    let values: Vec<_> = before.into_iter().map(int).collect();
    let mut sessions = reader.table("session", &rest, &values).await?;
    let more = cut(&mut sessions, limit);
    let next = sessions
        .last()
        .filter(|_| more)
        .map(|row| row["session_number"].clone());
    Ok(json!({ "sessions": sessions, "more": more, "next": next }))
}
