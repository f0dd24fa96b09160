//! The lists and totals of a run that are small enough to be written whole each time.

use std::fmt::{self, Write as _};
use std::hash::{DefaultHasher, Hasher as _};

use bftap_analysis::facts::RunFacts;

use crate::facts_to_rows as to_rows;
use crate::names::Names;
use crate::rows::{CounterRow, Value};
use crate::store::{LiveState, RunId};

use super::{Driver, name_ids};

/// What a full spool gave up of a run that is written as it is seen, as `thinned` counters: rows of `delivery`, and copies in them.
const GIVEN_UP: [&str; 2] = ["spooled_delivery_rows", "spooled_delivery_copies"];

/// What the lists were when they were committed last, as a hash of each; `None` where nobody knows.
#[derive(Debug, Default)]
pub(super) struct Written([Option<u64>; 7]);

impl Written {
    /// Whether the list with this number is not as it was committed last; notes how it is now.
    fn changes(&mut self, number: usize, list: &impl fmt::Debug) -> bool {
        let mut hash = DebugHash(DefaultHasher::new());
        // Never fails: hashing does not.
        let hashed = write!(hash, "{list:?}").ok().map(|()| hash.0.finish());
        let before = std::mem::replace(&mut self.0[number], hashed);
        before.is_none() || before != hashed
    }
}

/// Takes text as bytes to hash.
struct DebugHash(DefaultHasher);

impl fmt::Write for DebugHash {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

/// Writes the lists in place of those before, as far as they changed.
pub(super) async fn replace<D: Driver>(
    driver: &mut D,
    run: RunId,
    names: &mut Names,
    written: &mut Written,
    facts: &RunFacts,
) -> Result<(), sqlx::Error> {
    let chains = facts.sessions.iter().map(|fact| &fact.chain);
    let unnamed = names.unnamed_chains(chains.chain(facts.events.iter().map(|fact| &fact.chain)));
    name_ids::give(driver, run, names, unnamed).await?;
    let names = &*names;
    let number = 0_i64..;
    let of_run = [Value::int(run.0)];
    if written.changes(0, &facts.captures) {
        driver
            .execute("DELETE FROM capture WHERE run_id = ?", &of_run)
            .await?;
        let captures = number.clone().zip(&facts.captures);
        driver
            .put(captures.map(|(n, fact)| to_rows::capture_row(run, n, fact)))
            .await?;
    }
    if written.changes(1, &facts.nodes) {
        for clear in [
            "DELETE FROM node WHERE run_id = ?",
            "DELETE FROM node_ip WHERE run_id = ?",
        ] {
            driver.execute(clear, &of_run).await?;
        }
        let nodes = number.clone().zip(&facts.nodes);
        driver
            .put(nodes.clone().map(|(n, fact)| to_rows::node_row(run, n, fact)))
            .await?;
        driver
            .put(nodes.flat_map(|(n, fact)| to_rows::node_ip_rows(run, n, fact)))
            .await?;
    }
    if written.changes(2, &facts.sessions) {
        driver
            .execute("DELETE FROM session WHERE run_id = ?", &of_run)
            .await?;
        let sessions = number.clone().zip(&facts.sessions);
        driver
            .put(sessions.map(|(n, fact)| to_rows::session_row(run, n, names, fact)))
            .await?;
    }
    if written.changes(3, &facts.codes) {
        driver
            .execute("DELETE FROM code WHERE run_id = ?", &of_run)
            .await?;
        driver
            .put(to_rows::code_rows(run, &facts.codes).into_iter())
            .await?;
    }
    if written.changes(4, &facts.copies) {
        driver
            .execute("DELETE FROM copies WHERE run_id = ?", &of_run)
            .await?;
        driver
            .put(facts.copies.iter().map(|fact| to_rows::copies_row(run, fact)))
            .await?;
    }
    if written.changes(5, &facts.events) {
        driver
            .execute("DELETE FROM event WHERE run_id = ?", &of_run)
            .await?;
        let events = number.zip(&facts.events);
        driver
            .put(events.map(|(n, fact)| to_rows::event_row(run, n, names, fact)))
            .await?;
    }
    let counters = to_rows::counter_rows(run, &facts.totals);
    if written.changes(6, &counters) {
        // What was thinned out is a total of the store's own and stays.
        driver
            .execute(
                "DELETE FROM counter WHERE run_id = ? AND list <> 'thinned'",
                &of_run,
            )
            .await?;
        driver.put(counters.into_iter()).await?;
    }
    Ok(())
}

/// Adds what a full spool gave up to the counters of the run.
pub(super) async fn add_given_up<D: Driver>(
    driver: &mut D,
    run: RunId,
    live: &LiveState,
) -> Result<(), sqlx::Error> {
    for (name, count) in GIVEN_UP.into_iter().zip([live.thinned_rows, live.thinned_copies]) {
        if count > 0 {
            add_thinned(driver, run, name, count).await?;
        }
    }
    Ok(())
}

/// All rows were written once more, those that a full spool had given up, too.
pub(super) async fn forget_given_up<D: Driver>(driver: &mut D, run: RunId) -> Result<(), sqlx::Error> {
    for name in GIVEN_UP {
        driver
            .execute(
                "DELETE FROM counter WHERE run_id = ? AND list = 'thinned' AND name = ?",
                &[Value::int(run.0), Value::text(name)],
            )
            .await?;
    }
    Ok(())
}

/// Adds to a run's counter of what is no more in the store.
pub(super) async fn add_thinned<D: Driver>(
    driver: &mut D,
    run: RunId,
    name: &str,
    count: i64,
) -> Result<(), sqlx::Error> {
    let before: Vec<(i64,)> = driver
        .select(
            "SELECT value FROM counter WHERE run_id = ? AND list = 'thinned' AND name = ?",
            &[Value::int(run.0), Value::text(name)],
        )
        .await?;
    let before = before.first().map_or(0, |(before,)| *before);
    let row = CounterRow {
        run_id: run.0,
        list: "thinned".to_owned(),
        name: name.to_owned(),
        value: before.saturating_add(count),
    };
    driver.put(std::iter::once(row)).await
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
