//! Nodes, and what all of a run comes to.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use bftap_store::rows::Cell;
use serde_json::{Map, Value, json};

use super::events::BLAMED;
use super::reader::{COUNTS, INT, Reader, TEXT, int, number};
use crate::Problem;

/// Most nodes that are shown.
const NODES: u32 = 2000;

/// Sums of messages, in the order of [`NAMES`].
#[derive(Clone, Copy, Default)]
struct Sums([i64; 8]);

const NAMES: [&str; 8] = [
    "messages",
    "useful",
    "repeats",
    "echoes",
    "invalid",
    "bytes",
    "rows",
    "rows_lower_bound",
];

impl Sums {
    fn add(&mut self, other: Self) {
        for (sum, more) in self.0.iter_mut().zip(other.0) {
            *sum = sum.saturating_add(more);
        }
    }

    fn object(self) -> Map<String, Value> {
        let pairs = NAMES.iter().zip(self.0);
        pairs
            .map(|(name, sum)| ((*name).to_owned(), sum.into()))
            .collect()
    }
}

/// Sums by receiver IP address and kind, from the sums of minutes.
async fn sums(reader: &mut Reader<'_>) -> Result<Vec<(String, String, Sums)>, Problem> {
    let columns = [
        "messages",
        "useful",
        "repeats",
        "echoes",
        "invalid",
        "bytes",
        "heights",
        "rows_lower_bound",
    ];
    let summed: Vec<_> = columns
        .iter()
        .map(|column| format!("CAST(SUM({column}) AS {{int}})"))
        .collect();
    let sql = format!(
        "SELECT receiver_ip, kind, {} FROM minute_count WHERE run_id = ? GROUP BY receiver_ip, kind ORDER BY receiver_ip, kind",
        summed.join(", ")
    );
    let id = reader.id();
    let holds = [TEXT, TEXT, INT, INT, INT, INT, INT, INT, INT, INT];
    let rows = reader.query("adding up messages", &sql, &[id], &holds).await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let mut sums = [0; 8];
            for (sum, cell) in sums.iter_mut().zip(&row[2..]) {
                *sum = number(cell);
            }
            (word(&row[0]), word(&row[1]), Sums(sums))
        })
        .collect())
}

fn word(cell: &Cell) -> String {
    cell.text().unwrap_or_default().to_owned()
}

pub(super) async fn summary(reader: &mut Reader<'_>) -> Result<Value, Problem> {
    let mut totals = Sums::default();
    let mut by_kind: BTreeMap<String, Sums> = BTreeMap::new();
    for (_, kind, sums) in sums(reader).await? {
        totals.add(sums);
        by_kind.entry(kind).or_default().add(sums);
    }
    let mut totals = totals.object();
    let by_kind: Vec<Value> = by_kind
        .into_iter()
        .map(|(kind, sums)| {
            let mut object = sums.object();
            object.insert("kind".to_owned(), kind.into());
            Value::Object(object)
        })
        .collect();
    totals.insert("by_kind".to_owned(), by_kind.into());
    let id = reader.id();
    let rounds = reader
        .query(
            "counting rounds",
            &format!(
                "SELECT COUNT(*), CAST(SUM(CASE WHEN round > 0 THEN 1 ELSE 0 END) AS {{int}}), \
                 CAST(SUM(CASE WHEN outcome = 'decided' THEN 1 ELSE 0 END) AS {{int}}), MIN(sequence), MAX(sequence) \
                 FROM round WHERE run_id = ? AND {COUNTS}"
            ),
            std::slice::from_ref(&id),
            &[INT; 5],
        )
        .await?
        .into_iter()
        .next()
        .unwrap_or_else(|| vec![Cell::Int(None); 5]);
    let claimed = reader
        .query(
            "counting rounds",
            "SELECT COUNT(*) FROM round WHERE run_id = ? AND standing = 'claimed'",
            std::slice::from_ref(&id),
            &[INT],
        )
        .await?;
    let causes = left(reader).await?;
    let rules = reader
        .query(
            "counting events",
            "SELECT rule, severity, suspicious, COUNT(*) FROM event WHERE run_id = ? \
             GROUP BY rule, severity, suspicious ORDER BY rule, severity, suspicious",
            std::slice::from_ref(&id),
            &[TEXT, TEXT, INT, INT],
        )
        .await?;
    let of = |want: &dyn Fn(&Vec<Cell>) -> bool| -> i64 {
        rules
            .iter()
            .filter(|row| want(row))
            .map(|row| number(&row[3]))
            .sum()
    };
    let severity = |name: &'static str| of(&move |row| row[1].text() == Some(name));
    let events = json!({
        "critical": severity("critical"),
        "warning": severity("warning"),
        "info": severity("info"),
        "suspicious": of(&|row| row[2].int() == Some(1)),
        "rules": rules.iter().map(|row| json!({
            "rule": row[0].text(),
            "severity": row[1].text(),
            "suspicious": row[2].int() == Some(1),
            "events": row[3].int(),
        })).collect::<Vec<_>>(),
        "behind": behind(reader).await?,
    });
    let sessions = sessions_by_state(reader).await?;
    let mut phases = reader.table("phase", "ORDER BY chain_id, phase", &[]).await?;
    for phase in &mut phases {
        let place = longest(reader, phase).await?;
        phase["longest"] = place;
    }
    let cut = reader
        .query(
            "counting captures",
            "SELECT COUNT(*) FROM capture WHERE run_id = ? AND problem IS NOT NULL",
            std::slice::from_ref(&id),
            &[INT],
        )
        .await?;
    let validators = reader
        .query(
            "counting validators",
            "SELECT COUNT(*) FROM node WHERE run_id = ? AND validator = 1",
            &[id],
            &[INT],
        )
        .await?;
    Ok(json!({
        "totals": totals,
        "rounds": {
            "rounds": number(&rounds[0]),
            "higher_rounds": number(&rounds[1]),
            "committed": number(&rounds[2]),
            "lowest_sequence": rounds[3].int(),
            "highest_sequence": rounds[4].int(),
            "claimed": claimed.first().and_then(|row| row.first()).map_or(0, number),
            "causes": causes,
        },
        "events": events,
        "sessions": sessions,
        "phases": phases,
        "captures_cut": cut.first().and_then(|row| row.first()).map_or(0, number),
        "validators": validators.first().and_then(|row| row.first()).map_or(0, number),
    }))
}

/// Rounds that were left for a higher one, by cause.
async fn left(reader: &mut Reader<'_>) -> Result<Value, Problem> {
    let id = reader.id();
    let rows = reader
        .query(
            "counting rounds by cause",
            "SELECT cause, COUNT(*) FROM round WHERE run_id = ? AND outcome = 'changed' \
             AND (standing IS NULL OR standing = 'left') GROUP BY cause ORDER BY cause",
            &[id],
            &[TEXT, INT],
        )
        .await?;
    let causes = rows
        .iter()
        .map(|row| json!({ "cause": row[0].text(), "rounds": row[1].int() }));
    Ok(causes.collect::<Vec<_>>().into())
}

/// The rank of the worst severity, and how many events of each rule: of a name, and whether that is a node's (else it is what little
/// is known of who it was).
type Behind = (usize, BTreeMap<String, i64>);

/// Most nodes that are named as being behind events.
const BEHIND: usize = 8;

/// Who is behind events that no honest node shows, the worst first, as the report says it; and how many more are.
async fn behind(reader: &mut Reader<'_>) -> Result<Value, Problem> {
    let id = reader.id();
    let rows = reader
        .query(
            "counting events by node and rule",
            &format!(
                "SELECT {BLAMED}, address, ip, severity, rule, COUNT(*) FROM event WHERE run_id = ? AND suspicious = 1 \
                 GROUP BY {BLAMED}, address, ip, severity, rule"
            ),
            &[id],
            &[TEXT, TEXT, TEXT, TEXT, TEXT, INT],
        )
        .await?;
    let mut by_node: BTreeMap<(Option<String>, bool), Behind> = BTreeMap::new();
    for row in rows {
        let rank = severity_rank(&row[3]).unwrap_or(SEVERITIES.len());
        let name = row[..3].iter().find_map(Cell::text).map(str::to_owned);
        let (worst, rules) = by_node
            .entry((name, row[0].text().is_some()))
            .or_insert_with(|| (rank, BTreeMap::new()));
        *worst = (*worst).min(rank);
        *rules.entry(word(&row[4])).or_default() += number(&row[5]);
    }
    let mut nodes: Vec<_> = by_node.into_iter().collect();
    nodes.sort_by_key(|(_, (worst, rules))| (*worst, Reverse(rules.values().sum::<i64>())));
    let more = nodes.len().saturating_sub(BEHIND);
    let named = nodes
        .into_iter()
        .take(BEHIND)
        .map(|((name, known), (worst, rules))| {
            let rules: Vec<Value> = rules
                .into_iter()
                .map(|(rule, events)| json!({ "rule": rule, "events": events }))
                .collect();
            json!({ "name": name, "node": known, "severity": SEVERITIES.get(worst), "rules": rules })
        });
    Ok(json!({ "nodes": named.collect::<Vec<_>>(), "more": more }))
}

/// Rounds in which the longest of a phase is looked for, the newest ones: so many are read quickly.
const NEWEST: u32 = 25_000;

/// The round in which a phase was longest, or null where it is not among the newest.
async fn longest(reader: &mut Reader<'_>, phase: &Value) -> Result<Value, Problem> {
    let took = match phase["phase"].as_str() {
        Some("block_time") => "block_time_ns",
        Some("preprepare_to_prepared") => "prepared_ns - preprepare_ns",
        Some("prepared_to_committed") => "committed_ns - prepared_ns",
        Some("preprepare_to_committed") => "committed_ns - preprepare_ns",
        _ => return Ok(Value::Null),
    };
    let (Some(chain), Some(most)) = (phase["chain_id"].as_i64(), phase["max_ns"].as_i64()) else {
        return Ok(Value::Null);
    };
    let sql = format!(
        "SELECT sequence, round FROM (SELECT sequence, round, chain_id, preprepare_ns, prepared_ns, committed_ns, block_time_ns, \
         standing FROM round WHERE run_id = ? ORDER BY sequence DESC, round DESC LIMIT {NEWEST}) round \
         WHERE {COUNTS} AND chain_id = ? AND {took} = ? ORDER BY sequence DESC, round DESC LIMIT 1"
    );
    let values = [reader.id(), int(chain), int(most)];
    let rows = reader
        .query("looking for the longest", &sql, &values, &[INT, INT])
        .await?;
    Ok(rows.first().map_or(
        Value::Null,
        |row| json!({ "sequence": row[0].int(), "round": row[1].int() }),
    ))
}

pub(super) async fn sessions_by_state(reader: &mut Reader<'_>) -> Result<Value, Problem> {
    let id = reader.id();
    let rows = reader
        .query(
            "counting sessions",
            "SELECT state, COUNT(*) FROM session WHERE run_id = ? GROUP BY state ORDER BY state",
            &[id],
            &[TEXT, INT],
        )
        .await?;
    let states = rows
        .iter()
        .map(|row| json!({ "state": row[0].text(), "sessions": row[1].int() }));
    Ok(states.collect::<Vec<_>>().into())
}

pub(super) async fn nodes(reader: &mut Reader<'_>) -> Result<Value, Problem> {
    let mut by_ip: BTreeMap<String, Sums> = BTreeMap::new();
    for (ip, _, sums) in sums(reader).await? {
        by_ip.entry(ip).or_default().add(sums);
    }
    let order = format!("ORDER BY node_number LIMIT {}", NODES + 1);
    let mut nodes = reader.table("node", &order, &[]).await?;
    let more = super::reader::cut(&mut nodes, NODES);
    let mut ips: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    for row in reader.table("node_ip", "ORDER BY node_number, ip", &[]).await? {
        if let (Some(node), Some(ip)) = (row["node_number"].as_i64(), row["ip"].as_str()) {
            ips.entry(node).or_default().push(ip.to_owned());
        }
    }
    let mut participation = by_text(
        reader
            .table("participation", "ORDER BY validator, chain_id", &[])
            .await?,
        "validator",
    );
    let mut delays = by_text(
        reader
            .table("delivery_delay", "ORDER BY node, chain_id, node_ip", &[])
            .await?,
        "node",
    );
    let mut scores = by_text(reader.table("score", "ORDER BY score_number", &[]).await?, "node");
    let mut suspicious = suspicious(reader).await?;
    for node in &mut nodes {
        let label = node["label"].as_str().unwrap_or_default().to_owned();
        let ips = node["node_number"]
            .as_i64()
            .and_then(|number| ips.remove(&number))
            .unwrap_or_default();
        let mut sums = Sums::default();
        for ip in &ips {
            sums.add(by_ip.get(ip).copied().unwrap_or_default());
        }
        let Some(object) = node.as_object_mut() else {
            continue;
        };
        object.extend(sums.object());
        object.insert("ips".to_owned(), ips.into());
        let participation = participation.remove(&label).unwrap_or_default();
        object.insert("participation".to_owned(), participation.into());
        let delays = delays.remove(&label).unwrap_or_default();
        object.insert("delays".to_owned(), delays.into());
        let score = scores.remove(&label).and_then(|mut rows| rows.pop());
        object.insert("score".to_owned(), score.unwrap_or(Value::Null));
        let [critical, warning, info] = suspicious.remove(&label).unwrap_or_default();
        object.insert(
            "suspicious".to_owned(),
            json!({ "critical": critical, "warning": warning, "info": info }),
        );
    }
    Ok(json!({ "nodes": nodes, "more": more }))
}

/// Events that no honest node shows, by whom they blame and their severity.
async fn suspicious(reader: &mut Reader<'_>) -> Result<BTreeMap<String, [i64; 3]>, Problem> {
    let id = reader.id();
    let rows = reader
        .query(
            "counting events by node",
            &format!(
                "SELECT {BLAMED}, severity, COUNT(*) FROM event WHERE run_id = ? AND suspicious = 1 GROUP BY {BLAMED}, severity"
            ),
            &[id],
            &[TEXT, TEXT, INT],
        )
        .await?;
    let mut by_node: BTreeMap<String, [i64; 3]> = BTreeMap::new();
    for row in rows {
        if let (Some(label), Some(severity)) = (row[0].text(), severity_rank(&row[1])) {
            by_node.entry(label.to_owned()).or_default()[severity] += number(&row[2]);
        }
    }
    Ok(by_node)
}

/// The worst first.
const SEVERITIES: [&str; 3] = ["critical", "warning", "info"];

fn severity_rank(severity: &Cell) -> Option<usize> {
    SEVERITIES.iter().position(|known| severity.text() == Some(known))
}

fn by_text(rows: Vec<Value>, key: &str) -> BTreeMap<String, Vec<Value>> {
    let mut map: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for row in rows {
        let name = row[key].as_str().unwrap_or_default().to_owned();
        map.entry(name).or_default().push(row);
    }
    map
}
