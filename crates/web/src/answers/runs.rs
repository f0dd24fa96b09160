//! Runs.

use bftap_store::rows::{Cell, Table};
use bftap_store::{Question, SCHEMA, Store};
use serde_json::{Value, json};

use super::reader::{INT, Reader, TEXT, object};
use crate::Problem;

/// Most runs that are listed.
const RUNS: u32 = 500;

pub(super) async fn runs(store: &mut dyn Store) -> Result<Value, Problem> {
    let Some(table) = Table::named("run") else {
        return Err(Problem::Missing("there is no table of runs".to_owned()));
    };
    let question = Question {
        doing: "reading runs",
        sql: &table.select(&format!("ORDER BY run_id DESC LIMIT {RUNS}")),
        values: &[],
        holds: table.types(),
    };
    let rows = store.ask(&question).await?;
    let listed: Vec<Value> = rows.into_iter().map(|row| object(table, row)).collect();
    Ok(json!({ "version": env!("CARGO_PKG_VERSION"), "schema": SCHEMA, "runs": listed }))
}

pub(super) async fn run(reader: &mut Reader<'_>, run: Value) -> Result<Value, Problem> {
    let chains = reader.table("chain", "ORDER BY chain_id LIMIT 500", &[]).await?;
    Ok(json!({ "run": run, "chains": chains }))
}

/// How a run stands: whoever saw this state knows whether there is news.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RunState {
    pub(crate) run_id: i64,
    pub(crate) state: String,
    pub(crate) live: bool,
    pub(crate) batches: i64,
    pub(crate) written_ns: Option<i64>,
    pub(crate) seen_ns: Option<i64>,
    pub(crate) lag_ns: Option<i64>,
    /// Detail that was removed changes what is shown, too.
    thinned_before_ns: Option<i64>,
}

impl RunState {
    /// Whether its rows count.
    pub(crate) fn is_shown(&self) -> bool {
        self.state == "complete" || (self.state == "running" && self.live)
    }

    /// What is pushed to whoever watches it.
    pub(crate) fn json(&self) -> Value {
        json!({
            "run_id": self.run_id,
            "state": self.state,
            "live": self.live,
            "batches": self.batches,
            "written_ns": self.written_ns,
            "seen_ns": self.seen_ns,
            "lag_ns": self.lag_ns,
        })
    }
}

/// How all runs stand, the latest first.
pub(crate) async fn states(store: &mut dyn Store) -> Result<Vec<RunState>, Problem> {
    let sql = format!(
        "SELECT run_id, state, live, batches, written_ns, seen_ns, lag_ns, thinned_before_ns FROM run \
         ORDER BY run_id DESC LIMIT {RUNS}"
    );
    let question = Question {
        doing: "reading runs",
        sql: &sql,
        values: &[],
        holds: &[INT, TEXT, INT, INT, INT, INT, INT, INT],
    };
    let rows = store.ask(&question).await?;
    let state = |row: Vec<Cell>| {
        Some(RunState {
            run_id: row.first()?.int()?,
            state: row.get(1)?.text()?.to_owned(),
            live: row.get(2)?.int()? != 0,
            batches: row.get(3)?.int()?,
            written_ns: row.get(4)?.int(),
            seen_ns: row.get(5)?.int(),
            lag_ns: row.get(6)?.int(),
            thinned_before_ns: row.get(7)?.int(),
        })
    };
    Ok(rows.into_iter().filter_map(state).collect())
}

/// The latest run whose rows count.
pub(crate) async fn latest(store: &mut dyn Store) -> Result<i64, Problem> {
    let runs = states(store).await?;
    runs.iter()
        .find(|run| run.is_shown())
        .map(|run| run.run_id)
        .ok_or_else(|| Problem::Missing("there is no run in the store yet".to_owned()))
}
