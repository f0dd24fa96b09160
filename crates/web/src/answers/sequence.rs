//! One height: rounds, votes, counts, and every delivery.

use bftap_store::rows::Cell;
use serde_json::{Value, json};

use super::events::opened;
use super::reader::{COUNTS, INT, Reader, TEXT, cut, int, json, text};
use crate::Problem;

/// Most rows of each list of a height.
const ROWS: u32 = 5000;

pub(super) async fn sequence(reader: &mut Reader<'_>, sequence: i64, chain: i64) -> Result<Value, Problem> {
    let key = [int(sequence), int(chain)];
    let mut more = false;
    let mut lists = Vec::new();
    for (table, order) in [
        ("round", "round"),
        ("message_count", "round, receiver_ip, kind"),
        ("node_round", "round, node_ip"),
        ("vote", "round, kind, signer, position"),
        ("event", "event_number"),
    ] {
        let rest = format!(
            "AND sequence = ? AND chain_id = ? ORDER BY {order} LIMIT {}",
            ROWS + 1
        );
        let mut rows = reader.table(table, &rest, &key).await?;
        more |= cut(&mut rows, ROWS);
        lists.push(rows);
    }
    let [rounds, counts, node_rounds, votes, events] = <[Vec<Value>; 5]>::try_from(lists)
        .map_err(|_| Problem::Missing("there is no such height".to_owned()))?;
    if rounds.is_empty() && counts.is_empty() {
        return Err(Problem::Missing(format!(
            "nothing was seen of height {sequence} on chain {chain}, or its detail was removed"
        )));
    }
    let neighbour = async |reader: &mut Reader<'_>, sql: &str| -> Result<Option<i64>, Problem> {
        let values = [reader.id(), int(sequence), int(chain)];
        let rows = reader
            .query("looking for the next height", sql, &values, &[INT])
            .await?;
        Ok(rows.first().and_then(|row| row[0].int()))
    };
    let beside = |than, order| {
        format!(
            "SELECT sequence FROM round WHERE run_id = ? AND sequence {than} ? AND chain_id = ? AND {COUNTS} \
             ORDER BY sequence{order} LIMIT 1"
        )
    };
    let previous = neighbour(reader, &beside("<", " DESC")).await?;
    let next = neighbour(reader, &beside(">", "")).await?;
    let events: Vec<Value> = events.into_iter().map(opened).collect();
    Ok(json!({
        "sequence": sequence,
        "chain_id": chain,
        "rounds": rounds,
        "counts": counts,
        "node_rounds": node_rounds,
        "votes": votes,
        "events": events,
        "previous": previous,
        "next": next,
        "more": more,
    }))
}

/// Which deliveries.
pub(super) struct Wanted<'a> {
    pub(super) sequence: i64,
    pub(super) chain: i64,
    pub(super) round: Option<i64>,
    pub(super) kind: Option<&'a str>,
    pub(super) receiver: Option<&'a str>,
    pub(super) signer: Option<&'a str>,
}

pub(super) async fn messages(
    reader: &mut Reader<'_>,
    wanted: &Wanted<'_>,
    limit: u32,
) -> Result<Value, Problem> {
    let mut sql = "SELECT delivery.receiver_ip, COALESCE(node.label, delivery.receiver_ip), delivery.sender, delivery.signer, \
                   delivery.round, delivery.kind, delivery.copies, delivery.first_seen_ns, delivery.last_seen_ns \
                   FROM delivery LEFT JOIN node_ip ON node_ip.run_id = delivery.run_id AND node_ip.ip = delivery.receiver_ip \
                   AND node_ip.node_number = (SELECT MIN(one.node_number) FROM node_ip one \
                   WHERE one.run_id = delivery.run_id AND one.ip = delivery.receiver_ip) \
                   LEFT JOIN node ON node.run_id = node_ip.run_id AND node.node_number = node_ip.node_number \
                   WHERE delivery.run_id = ? AND delivery.sequence = ? AND delivery.chain_id = ?"
        .to_owned();
    let mut values: Vec<Cell> = vec![reader.id(), int(wanted.sequence), int(wanted.chain)];
    if let Some(round) = wanted.round {
        sql.push_str(" AND delivery.round = ?");
        values.push(int(round));
    }
    for (condition, value) in [
        (" AND delivery.kind = ?", wanted.kind),
        (" AND delivery.receiver_ip = ?", wanted.receiver),
        (" AND delivery.signer = ?", wanted.signer),
    ] {
        if let Some(value) = value {
            sql.push_str(condition);
            values.push(text(value));
        }
    }
    sql.push_str(&format!(" LIMIT {}", limit + 1));
    let holds = [TEXT, TEXT, TEXT, TEXT, INT, TEXT, INT, INT, INT];
    let mut rows = reader.query("reading deliveries", &sql, &values, &holds).await?;
    let more = cut(&mut rows, limit);
    // In order of time here: a database would have to sort all of them to give the first.
    rows.sort_by_key(|row| row[7].int());
    let names = [
        "receiver_ip",
        "receiver",
        "sender",
        "signer",
        "round",
        "kind",
        "copies",
        "first_seen_ns",
        "last_seen_ns",
    ];
    let rows: Vec<Value> = rows
        .into_iter()
        .map(|row| {
            let pairs = names.iter().zip(row);
            Value::Object(
                pairs
                    .map(|(name, cell)| ((*name).to_owned(), json(cell)))
                    .collect(),
            )
        })
        .collect();
    Ok(json!({
        "sequence": wanted.sequence,
        "chain_id": wanted.chain,
        "messages": rows,
        "more": more,
    }))
}
