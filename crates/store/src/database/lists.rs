//! The lists and totals of a run that are small enough to be written whole each time.

use bftap_analysis::facts::RunFacts;

use crate::facts_to_rows as to_rows;
use crate::names::Names;
use crate::rows::Value;
use crate::store::{LiveState, RunId};

use super::{Driver, name_ids};

/// Tables of these lists. What was thinned out is a total of the store's own and stays.
const CLEAR: [&str; 8] = [
    "DELETE FROM capture WHERE run_id = ?",
    "DELETE FROM node WHERE run_id = ?",
    "DELETE FROM node_ip WHERE run_id = ?",
    "DELETE FROM session WHERE run_id = ?",
    "DELETE FROM code WHERE run_id = ?",
    "DELETE FROM copies WHERE run_id = ?",
    "DELETE FROM event WHERE run_id = ?",
    "DELETE FROM counter WHERE run_id = ? AND list <> 'thinned'",
];

/// Writes the lists in place of those before.
pub(super) async fn replace<D: Driver>(
    driver: &mut D,
    run: RunId,
    names: &mut Names,
    facts: &RunFacts,
) -> Result<(), sqlx::Error> {
    let chains = facts.sessions.iter().map(|fact| &fact.chain);
    let unnamed = names.unnamed_chains(chains.chain(facts.events.iter().map(|fact| &fact.chain)));
    name_ids::give(driver, run, names, unnamed).await?;
    for clear in CLEAR {
        driver.execute(clear, &[Value::int(run.0)]).await?;
    }
    let names = &*names;
    let number = 0_i64..;
    let captures = number.clone().zip(&facts.captures);
    driver
        .put(captures.map(|(n, fact)| to_rows::capture_row(run, n, fact)))
        .await?;
    let nodes = number.clone().zip(&facts.nodes);
    driver
        .put(nodes.clone().map(|(n, fact)| to_rows::node_row(run, n, fact)))
        .await?;
    driver
        .put(nodes.flat_map(|(n, fact)| to_rows::node_ip_rows(run, n, fact)))
        .await?;
    let sessions = number.clone().zip(&facts.sessions);
    driver
        .put(sessions.map(|(n, fact)| to_rows::session_row(run, n, names, fact)))
        .await?;
    driver
        .put(to_rows::code_rows(run, &facts.codes).into_iter())
        .await?;
    driver
        .put(facts.copies.iter().map(|fact| to_rows::copies_row(run, fact)))
        .await?;
    let events = number.zip(&facts.events);
    driver
        .put(events.map(|(n, fact)| to_rows::event_row(run, n, names, fact)))
        .await?;
    driver
        .put(to_rows::counter_rows(run, &facts.totals).into_iter())
        .await
}

/// Writes the totals in the run's row.
pub(super) async fn set_totals<D: Driver>(
    driver: &mut D,
    run: RunId,
    facts: &RunFacts,
) -> Result<(), sqlx::Error> {
    let totals = to_rows::run_totals(facts);
    let columns = totals.each_ref().map(|(column, _)| format!("{column} = ?"));
    let sql = format!("UPDATE run SET {} WHERE run_id = ?", columns.join(", "));
    let mut values: Vec<_> = totals.iter().map(|(_, value)| Value::Int(*value)).collect();
    values.push(Value::int(run.0));
    driver.execute(&sql, &values).await?;
    Ok(())
}

/// Writes how far a run is that is written as it is seen.
pub(super) async fn set_progress<D: Driver>(
    driver: &mut D,
    run: RunId,
    number: i64,
    rows: usize,
    live: &LiveState,
) -> Result<(), sqlx::Error> {
    driver
        .execute(
            "UPDATE run SET written_ns = ?, seen_ns = ?, lag_ns = ? WHERE run_id = ?",
            &[
                Value::int(live.written_ns),
                Value::Int(live.seen_ns),
                Value::int(live.lag_ns),
                Value::int(run.0),
            ],
        )
        .await?;
    let row = to_rows::progress_row(run, number, rows, live);
    driver.put(std::iter::once(row)).await
}
