//! Messages by height, or by minute where that would be too many.

use std::collections::BTreeMap;

use bftap_store::rows::Cell;
use serde_json::{Value, json};

use super::reader::{INT, Reader, TEXT, int, number, text};
use crate::Problem;

/// Heights that are given one by one.
const HEIGHTS: i64 = 120;

/// Rows of sums that one answer reads at most, so that it takes the same time in a run of weeks.
const ROWS: i64 = 200_000;

const MINUTE_NS: i64 = 60_000_000_000;

#[derive(Default)]
struct Point {
    sequence: Option<i64>,
    /// By kind, in the order of [`KINDS`].
    kinds: [i64; 4],
    messages: i64,
    useful: i64,
    lower_bound: bool,
}

const KINDS: [&str; 4] = ["preprepare", "prepare", "commit", "roundchange"];

impl Point {
    /// Adds kind, messages, useful, lower bounds.
    fn add(&mut self, row: &[Cell]) {
        let kind = row[0].text().unwrap_or_default();
        let messages = number(&row[1]);
        if let Some(place) = KINDS.iter().position(|known| *known == kind) {
            self.kinds[place] += messages;
        }
        self.messages += messages;
        self.useful += number(&row[2]);
        self.lower_bound |= number(&row[3]) > 0;
    }

    fn json(&self, minute: Option<i64>) -> Value {
        json!({
            "sequence": self.sequence,
            "minute_ns": minute,
            "preprepare": self.kinds[0],
            "prepare": self.kinds[1],
            "commit": self.kinds[2],
            "roundchange": self.kinds[3],
            "messages": self.messages,
            "useful": self.useful,
            "lower_bound": self.lower_bound,
        })
    }
}

pub(super) async fn traffic(
    reader: &mut Reader<'_>,
    (from, to): (Option<i64>, Option<i64>),
    chain: Option<i64>,
    node: Option<&str>,
) -> Result<Value, Problem> {
    // Where much was lost, no round may count: then all that was counted is shown.
    let (first, last, all) = match reader.heights().await? {
        (None, None) => {
            let (first, last) = reader.ends("message_count", "sequence").await?;
            (first, last, true)
        }
        (first, last) => (first, last, false),
    };
    let mut claimed = 0;
    let receivers = receivers(reader).await?;
    let (points, by, since) = match (first, last) {
        (Some(first), Some(last)) => {
            let (low, high) = (from.unwrap_or(first).max(first), to.unwrap_or(last).min(last));
            if high.saturating_sub(low) < HEIGHTS {
                let (points, left_out) = by_sequence(reader, (low, high), chain, node, all).await?;
                claimed = left_out;
                (points, "sequence", None)
            } else {
                let range = (from.is_some() || to.is_some()).then_some((low, high));
                let (points, since) = by_minute(reader, range, chain, node, receivers.len()).await?;
                (points, "minute", since)
            }
        }
        // Detail may have been removed; its sums stay.
        _ => {
            let (points, since) = by_minute(reader, None, chain, node, receivers.len()).await?;
            (points, "minute", since)
        }
    };
    Ok(json!({
        "by": by,
        "points": points,
        "first": first,
        "last": last,
        "since_ns": since,
        "claimed": claimed,
        "receivers": receivers,
    }))
}

/// Names of receivers.
async fn receivers(reader: &mut Reader<'_>) -> Result<Vec<String>, Problem> {
    let id = reader.id();
    // From the newest minute and the nodes, not from all counts: those may be millions.
    let rows = reader
        .query(
            "looking for receivers",
            "SELECT DISTINCT receiver FROM minute_count WHERE run_id = ? AND minute_ns >= \
             (SELECT MAX(minute_ns) FROM minute_count WHERE run_id = ?) - 600000000000 ORDER BY receiver",
            &[id.clone(), id],
            &[TEXT],
        )
        .await?;
    Ok(rows
        .iter()
        .filter_map(|row| row[0].text().map(str::to_owned))
        .collect())
}

fn filters(table: &str, chain: Option<i64>, node: Option<&str>, values: &mut Vec<Cell>) -> String {
    let mut sql = String::new();
    if let Some(chain) = chain {
        sql.push_str(&format!(" AND {table}.chain_id = ?"));
        values.push(int(chain));
    }
    if let Some(node) = node {
        sql.push_str(&format!(" AND {table}.receiver = ?"));
        values.push(text(node));
    }
    sql
}

/// Points by height, of rounds that count (or of `all`), and how many messages of others were left out.
async fn by_sequence(
    reader: &mut Reader<'_>,
    (low, high): (i64, i64),
    chain: Option<i64>,
    node: Option<&str>,
    all: bool,
) -> Result<(Vec<Value>, i64), Problem> {
    let mut values = vec![reader.id(), int(low), int(high)];
    let filters = filters("message_count", chain, node, &mut values);
    // A round is found by its key: the range bounds how many are looked up.
    let sql = format!(
        "SELECT message_count.sequence, message_count.kind, CAST(SUM(message_count.messages) AS {{int}}), \
         CAST(SUM(message_count.useful) AS {{int}}), CAST(SUM(message_count.lower_bound) AS {{int}}), round.standing \
         FROM message_count LEFT JOIN round ON round.run_id = message_count.run_id AND round.sequence = message_count.sequence \
         AND round.round = message_count.round AND round.chain_id = message_count.chain_id \
         WHERE message_count.run_id = ? AND message_count.sequence >= ? AND message_count.sequence <= ?{filters} \
         GROUP BY message_count.sequence, message_count.kind, round.standing"
    );
    let rows = reader
        .query(
            "adding up heights",
            &sql,
            &values,
            &[INT, TEXT, INT, INT, INT, TEXT],
        )
        .await?;
    let mut points: BTreeMap<i64, Point> = BTreeMap::new();
    let mut claimed = 0;
    for row in rows {
        if !all && row[5].text() == Some("claimed") {
            claimed += number(&row[2]);
            continue;
        }
        let sequence = number(&row[0]);
        let point = points.entry(sequence).or_default();
        point.sequence = Some(sequence);
        point.add(&row[1..]);
    }
    Ok((points.values().map(|point| point.json(None)).collect(), claimed))
}

/// Points by minute, and the time since which there are any if older ones were left out.
async fn by_minute(
    reader: &mut Reader<'_>,
    range: Option<(i64, i64)>,
    chain: Option<i64>,
    node: Option<&str>,
    receivers: usize,
) -> Result<(Vec<Value>, Option<i64>), Problem> {
    let id = reader.id();
    let (Some(mut low), Some(mut high)) = reader.ends("minute_count", "minute_ns").await? else {
        return Ok((Vec::new(), None));
    };
    if let Some((from, to)) = range {
        let times = reader
            .query(
                "looking for the time of heights",
                "SELECT (SELECT MIN(first_seen_ns) FROM message_count WHERE run_id = ? AND sequence = ?), \
                 (SELECT MAX(first_seen_ns) FROM message_count WHERE run_id = ? AND sequence = ?)",
                &[id.clone(), int(from), id.clone(), int(to)],
                &[INT, INT],
            )
            .await?;
        let minute = |ns: i64| ns - ns.rem_euclid(MINUTE_NS);
        if let Some(row) = times.first() {
            low = row[0].int().map_or(low, minute);
            high = row[1].int().map_or(high, minute);
        }
    }
    // Each minute has a row for each receiver, kind and chain.
    let minutes = ROWS / i64::try_from(receivers.max(1) * 4).unwrap_or(ROWS);
    let newest = high.saturating_sub(minutes.max(1).saturating_mul(MINUTE_NS));
    let since = (newest > low).then_some(newest);
    low = low.max(newest);
    let mut values = vec![id.clone(), int(low), int(high)];
    let filters = filters("minute_count", chain, node, &mut values);
    let sql = format!(
        "SELECT minute_ns, kind, CAST(SUM(messages) AS {{int}}), CAST(SUM(useful) AS {{int}}), \
         CAST(SUM(rows_lower_bound) AS {{int}}) FROM minute_count \
         WHERE run_id = ? AND minute_ns >= ? AND minute_ns <= ?{filters} GROUP BY minute_ns, kind"
    );
    let rows = reader
        .query("adding up minutes", &sql, &values, &[INT, TEXT, INT, INT, INT])
        .await?;
    let mut points: BTreeMap<i64, Point> = BTreeMap::new();
    for row in rows {
        points.entry(number(&row[0])).or_default().add(&row[1..]);
    }
    let heights = reader
        .query(
            "looking for heights of minutes",
            "SELECT minute_ns, MAX(highest_sequence) FROM minute_round WHERE run_id = ? AND minute_ns >= ? AND minute_ns <= ? \
             GROUP BY minute_ns",
            &[id, int(low), int(high)],
            &[INT, INT],
        )
        .await?;
    for row in heights {
        if let Some(point) = points.get_mut(&number(&row[0])) {
            point.sequence = row[1].int();
        }
    }
    let points = points.iter().map(|(minute, point)| point.json(Some(*minute)));
    Ok((points.collect(), since))
}
