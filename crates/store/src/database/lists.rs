//! The lists and totals of a run that are small enough to be written whole each time.

use std::fmt::{self, Write as _};
use std::hash::{DefaultHasher, Hasher as _};

use bftap_analysis::facts::RunFacts;

use crate::facts_to_rows as to_rows;
use crate::names::Names;
use crate::rows::{CounterRow, TableRow, Value};
use crate::store::{LiveState, RunId};

use super::{Driver, name_ids};

/// What a full spool gave up of a run that is written as it is seen, as `thinned` counters: rows of `delivery`, and copies in them.
const GIVEN_UP: [&str; 2] = ["spooled_delivery_rows", "spooled_delivery_copies"];

/// What the lists were when they were committed last, as a hash of each; `None` where nobody knows.
#[derive(Debug, Default)]
pub(super) struct Written([Option<u64>; 17]);

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
    let chains = chains.chain(facts.events.iter().map(|fact| &fact.chain));
    let chains = chains.chain(facts.waste.iter().map(|fact| &fact.chain));
    let chains = chains.chain(facts.what_if.iter().map(|fact| &fact.chain));
    let chains = chains.chain(facts.phases.iter().map(|fact| &fact.chain));
    let chains = chains.chain(facts.participation.iter().map(|fact| &fact.chain));
    let chains = chains.chain(facts.delays.iter().map(|fact| &fact.chain));
    let unnamed = names.unnamed_chains(chains);
    name_ids::give(driver, run, names, unnamed).await?;
    let names = &*names;
    let mut list = Replacing { driver, run, written };
    let number = 0_i64..;
    if list.changes(0, &facts.captures) {
        let captures = number.clone().zip(&facts.captures);
        list.set(captures.map(|(n, fact)| to_rows::capture_row(run, n, fact)))
            .await?;
    }
    if list.changes(1, &facts.nodes) {
        let nodes = number.clone().zip(&facts.nodes);
        list.set(nodes.clone().map(|(n, fact)| to_rows::node_row(run, n, fact)))
            .await?;
        list.set(nodes.flat_map(|(n, fact)| to_rows::node_ip_rows(run, n, fact)))
            .await?;
    }
    if list.changes(2, &facts.sessions) {
        let sessions = number.clone().zip(&facts.sessions);
        list.set(sessions.map(|(n, fact)| to_rows::session_row(run, n, names, fact)))
            .await?;
    }
    if list.changes(3, &facts.codes) {
        list.set(to_rows::code_rows(run, &facts.codes).into_iter())
            .await?;
    }
    if list.changes(4, &facts.copies) {
        list.set(facts.copies.iter().map(|fact| to_rows::copies_row(run, fact)))
            .await?;
    }
    if list.changes(5, &facts.events) {
        let events = number.clone().zip(&facts.events);
        list.set(events.map(|(n, fact)| to_rows::event_row(run, n, names, fact)))
            .await?;
    }
    if list.changes(7, &facts.waste) {
        let waste = facts.waste.iter();
        list.set(waste.map(|fact| to_rows::waste_row(run, names, fact)))
            .await?;
    }
    if list.changes(8, &facts.what_if) {
        let policies = facts.what_if.iter();
        list.set(policies.map(|fact| to_rows::what_if_row(run, names, fact)))
            .await?;
    }
    if list.changes(9, &facts.phases) {
        let phases = facts.phases.iter();
        list.set(phases.map(|fact| to_rows::phase_row(run, names, fact)))
            .await?;
    }
    if list.changes(10, &facts.participation) {
        let validators = facts.participation.iter();
        list.set(validators.map(|fact| to_rows::participation_row(run, names, fact)))
            .await?;
    }
    if list.changes(16, &facts.delays) {
        let delays = facts.delays.iter();
        list.set(delays.map(|fact| to_rows::delay_row(run, names, fact)))
            .await?;
    }
    if list.changes(11, &facts.links) {
        list.set(facts.links.iter().map(|fact| to_rows::tcp_link_row(run, fact)))
            .await?;
    }
    if list.changes(12, &facts.peers) {
        let peers = number.clone().zip(&facts.peers);
        list.set(peers.clone().map(|(n, fact)| to_rows::peer_row(run, n, fact)))
            .await?;
        list.set(peers.flat_map(|(n, fact)| to_rows::peer_disconnect_rows(run, n, fact)))
            .await?;
    }
    if list.changes(13, &facts.dials) {
        list.set(facts.dials.iter().map(|fact| to_rows::dial_row(run, fact)))
            .await?;
    }
    if list.changes(14, &facts.census) {
        list.set(facts.census.iter().map(|fact| to_rows::census_row(run, fact)))
            .await?;
    }
    if list.changes(15, &facts.scores) {
        let scores = number.zip(&facts.scores);
        list.set(scores.map(|(n, fact)| to_rows::score_row(run, n, fact)))
            .await?;
    }
    let counters = to_rows::counter_rows(run, &facts.totals);
    if list.changes(6, &counters) {
        // What was thinned out is a total of the store's own and stays.
        driver
            .execute(
                "DELETE FROM counter WHERE run_id = ? AND list <> 'thinned'",
                &[Value::int(run.0)],
            )
            .await?;
        driver.put(counters.into_iter()).await?;
    }
    Ok(())
}

/// Lists on their way into the tables of a run.
struct Replacing<'a, D> {
    driver: &'a mut D,
    run: RunId,
    written: &'a mut Written,
}

impl<D: Driver> Replacing<'_, D> {
    fn changes(&mut self, number: usize, list: &impl fmt::Debug) -> bool {
        self.written.changes(number, list)
    }

    /// Puts these rows in place of all of their table.
    async fn set<R: TableRow>(&mut self, rows: impl Iterator<Item = R> + Send) -> Result<(), sqlx::Error> {
        let clear = format!("DELETE FROM {} WHERE run_id = ?", R::TABLE);
        self.driver.execute(&clear, &[Value::int(self.run.0)]).await?;
        self.driver.put(rows).await
    }
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
