//! Who sends to whom, and what copies cost.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::reader::{INT, Reader, TEXT, int, json, number, text};
use crate::Problem;

/// Rows of links that one answer reads at most.
const ROWS: i64 = 100_000;

const MINUTE_NS: i64 = 60_000_000_000;

/// Links that cost most, in a list.
const WORST: u32 = 100;

#[derive(Default)]
struct Link {
    messages: i64,
    bytes: i64,
}

/// Messages by link over the newest minutes, as many as can be read quickly: all of them in most runs.
pub(super) async fn matrix(reader: &mut Reader<'_>, kind: Option<&str>) -> Result<Value, Problem> {
    let id = reader.id();
    let (Some(first), Some(last)) = reader.ends("link_count", "minute_ns").await? else {
        return Ok(json!({ "nodes": [], "since_ns": null, "until_ns": null, "links": [] }));
    };
    let a_minute = reader
        .query(
            "counting links",
            "SELECT COUNT(*) FROM link_count WHERE run_id = ? AND minute_ns = ?",
            &[id.clone(), int(last)],
            &[INT],
        )
        .await?;
    // The newest minute may have only begun: a full one has about as many rows as the one before.
    let before = reader
        .query(
            "counting links",
            "SELECT COUNT(*) FROM link_count WHERE run_id = ? AND minute_ns = ?",
            &[id.clone(), int(last - MINUTE_NS)],
            &[INT],
        )
        .await?;
    let rows = a_minute
        .iter()
        .chain(&before)
        .map(|row| number(&row[0]))
        .max()
        .unwrap_or(0)
        .max(1);
    let since = last.saturating_sub((ROWS / rows).max(1).saturating_sub(1).saturating_mul(MINUTE_NS));
    let part = since > first;
    let mut values = vec![id.clone(), int(if part { since } else { first })];
    let of_kind = match kind {
        Some(kind) => {
            values.push(text(kind));
            " AND kind = ?"
        }
        None => "",
    };
    let sql = format!(
        "SELECT receiver, sender, CAST(SUM(messages) AS {{int}}), CAST(SUM(bytes) AS {{int}}) FROM link_count \
         WHERE run_id = ? AND minute_ns >= ?{of_kind} GROUP BY receiver, sender"
    );
    let rows = reader
        .query("adding up links", &sql, &values, &[TEXT, TEXT, INT, INT])
        .await?;
    let mut links: BTreeMap<(String, String), Link> = BTreeMap::new();
    for row in rows {
        let name = |place: usize| row[place].text().unwrap_or_default().to_owned();
        let link = links.entry((name(0), name(1))).or_default();
        link.messages += number(&row[2]);
        link.bytes += number(&row[3]);
    }
    // What was wasted is known of the whole run only.
    let mut wasted: BTreeMap<(String, String), i64> = BTreeMap::new();
    if !part {
        let mut values = vec![id];
        values.extend(kind.map(text));
        let sql = format!(
            "SELECT receiver, sender, CAST(SUM(copies) AS {{int}}) FROM waste WHERE run_id = ?{of_kind} GROUP BY receiver, sender"
        );
        for row in reader
            .query("adding up waste", &sql, &values, &[TEXT, TEXT, INT])
            .await?
        {
            let name = |place: usize| row[place].text().unwrap_or_default().to_owned();
            wasted.insert((name(0), name(1)), number(&row[2]));
        }
    }
    let nodes: BTreeSet<&String> = links
        .keys()
        .flat_map(|(receiver, sender)| [receiver, sender])
        .collect();
    let shown: Vec<Value> = links
        .iter()
        .map(|(key, link)| {
            let wasted = (!part).then(|| wasted.get(key).copied().unwrap_or(0));
            json!({
                "receiver": key.0,
                "sender": key.1,
                "messages": link.messages,
                "bytes": link.bytes,
                "useful": wasted.map(|wasted| link.messages - wasted),
                "wasted": wasted,
            })
        })
        .collect();
    Ok(json!({
        "nodes": nodes,
        "since_ns": part.then_some(since),
        "until_ns": part.then_some(last + MINUTE_NS),
        "links": shown,
    }))
}

pub(super) async fn copies(reader: &mut Reader<'_>) -> Result<Value, Problem> {
    let mut names: BTreeMap<i64, String> = BTreeMap::new();
    for row in reader.table("node", "ORDER BY node_number", &[]).await? {
        if let (Some(number), Some(label)) = (row["node_number"].as_i64(), row["label"].as_str()) {
            names.insert(number, label.to_owned());
        }
    }
    let mut of_ip: BTreeMap<String, String> = BTreeMap::new();
    for row in reader.table("node_ip", "ORDER BY ip, node_number", &[]).await? {
        if let (Some(ip), Some(number)) = (row["ip"].as_str(), row["node_number"].as_i64())
            && let Some(name) = names.get(&number)
        {
            of_ip.entry(ip.to_owned()).or_insert_with(|| name.clone());
        }
    }
    let mut receivers: BTreeMap<String, Vec<[i64; 2]>> = BTreeMap::new();
    for row in reader
        .table("copies", "ORDER BY receiver_ip, copies", &[])
        .await?
    {
        if let Some(ip) = row["receiver_ip"].as_str() {
            let pair = [
                row["copies"].as_i64().unwrap_or(0),
                row["payloads"].as_i64().unwrap_or(0),
            ];
            receivers.entry(ip.to_owned()).or_default().push(pair);
        }
    }
    let receivers: Vec<Value> = receivers
        .into_iter()
        .map(|(ip, histogram)| {
            let receiver = of_ip.get(&ip).unwrap_or(&ip).clone();
            json!({ "receiver_ip": ip, "receiver": receiver, "histogram": histogram })
        })
        .collect();
    Ok(json!({ "receivers": receivers }))
}

pub(super) async fn redundancy(reader: &mut Reader<'_>) -> Result<Value, Problem> {
    let id = reader.id();
    let waste = reader
        .query(
            "adding up waste",
            "SELECT kind, cause, CAST(SUM(copies) AS {int}), CAST(SUM(bytes) AS {int}) FROM waste WHERE run_id = ? \
             GROUP BY kind, cause ORDER BY kind, cause",
            std::slice::from_ref(&id),
            &[TEXT, TEXT, INT, INT],
        )
        .await?;
    let links = reader
        .query(
            "looking for the links that cost most",
            &format!(
                "SELECT receiver, sender, CAST(SUM(copies) AS {{int}}) AS wasted, CAST(SUM(bytes) AS {{int}}) FROM waste \
                 WHERE run_id = ? GROUP BY receiver, sender ORDER BY wasted DESC, receiver, sender LIMIT {WORST}"
            ),
            &[id],
            &[TEXT, TEXT, INT, INT],
        )
        .await?;
    let what_if = reader.table("what_if", "ORDER BY chain_id, policy", &[]).await?;
    let named = |rows: Vec<Vec<bftap_store::rows::Cell>>, names: [&str; 4]| -> Vec<Value> {
        rows.into_iter()
            .map(|row| {
                let pairs = names.iter().zip(row);
                Value::Object(
                    pairs
                        .map(|(name, cell)| ((*name).to_owned(), json(cell)))
                        .collect(),
                )
            })
            .collect()
    };
    Ok(json!({
        "waste": named(waste, ["kind", "cause", "copies", "bytes"]),
        "links": named(links, ["receiver", "sender", "copies", "bytes"]),
        "what_if": what_if,
    }))
}
