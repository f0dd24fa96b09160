//! The store's verbs, as any SQL database answers them.
//!
//! What databases do differently is behind [`Driver`]; what is here is said once for all of them.

mod check;
mod chunks;
mod driver;
mod lists;
mod minutes;
mod name_ids;
mod original;
mod prune;
mod remove;
mod replaced;
mod transaction;
mod votes;

use std::ops::RangeInclusive;

use bftap_analysis::facts::RunFacts;

use crate::StoreError;
use crate::facts_to_rows as to_rows;
use crate::maintenance::{Prune, Pruned, StoreCheck};
use crate::names::Names;
use crate::rows::{Cell, CountRow, LinkCountRow, RunRow, Table, TableRow, Value};
use crate::store::{Answer, Batch, NewRun, Question, RunDetails, RunId, RunState, Store};

pub(crate) use chunks::Chunks;
pub(crate) use driver::{Dialect, Driver, NewId, insert_values, on_conflict};
pub(crate) use remove::RUN_TABLES;
use transaction::{Failure, Turn, claim};

/// A store in a SQL database.
#[derive(Debug)]
pub(crate) struct SqlStore<D> {
    driver: D,
    /// Whether a transaction may be open: also after a verb whose future was dropped in the middle.
    in_transaction: bool,
    /// Ids of the run that is being written; `None` before its first batch and after a failed transaction.
    names: Option<(RunId, Names)>,
    /// Its lists as they were committed last; nobody knows once `names` is `None`.
    lists: lists::Written,
}

impl<D: Driver> SqlStore<D> {
    pub(crate) fn new(driver: D) -> Self {
        Self {
            driver,
            in_transaction: false,
            names: None,
            lists: lists::Written::default(),
        }
    }

    async fn begin_run(&mut self, run: &NewRun, started_ns: i64) -> Result<RunId, StoreError> {
        run.check()?;
        self.names = None;
        self.begin().await?;
        let begun = self.add_run(run, started_ns).await;
        let id = self.end(begun, "beginning a run").await?;
        self.remove_leftovers().await;
        Ok(id)
    }

    async fn add_run(&mut self, run: &NewRun, started_ns: i64) -> Result<RunId, Failure> {
        let unfinished: Vec<(i64,)> = self
            .driver
            .select(
                "SELECT run_id FROM run WHERE name = ? AND state <> 'complete'",
                &[Value::text(&run.name)],
            )
            .await?;
        for (old,) in unfinished {
            self.remove_run(RunId(old)).await?;
        }
        let version = to_rows::key_text(&run.program_version);
        let selection = run.selection.as_deref().map(to_rows::long_text);
        let insert = "INSERT INTO run (name, state, source, program_version, started_ns, selection, live, pace_milli) \
                      VALUES (?, 'running', ?, ?, ?, ?, ?, ?)";
        let values = [
            Value::text(&run.name),
            Value::text(run.source.as_str()),
            Value::text(&version),
            Value::int(started_ns),
            Value::Text(selection.as_deref()),
            Value::int(i64::from(run.live)),
            Value::Int(run.pace_milli),
        ];
        let id: Vec<(i64,)> = match D::DIALECT.new_id {
            NewId::Returned(returning) => {
                self.driver
                    .select(&format!("{insert}{returning}"), &values)
                    .await?
            }
            NewId::Asked(question) => {
                self.driver.execute(insert, &values).await?;
                self.driver.select(question, &[]).await?
            }
        };
        let (id,) = id.into_iter().next().ok_or(sqlx::Error::RowNotFound)?;
        Ok(RunId(id))
    }

    async fn resume_run(&mut self, run: &NewRun) -> Result<Option<(RunId, i64)>, StoreError> {
        run.check()?;
        self.names = None;
        self.begin().await?;
        let resumed = self.take_up(run).await;
        self.end(resumed, "going on with a run").await
    }

    async fn take_up(&mut self, run: &NewRun) -> Result<Option<(RunId, i64)>, Failure> {
        let found: Vec<(i64, i64)> = self
            .driver
            .select(
                "SELECT run_id, batches FROM run WHERE name = ? AND source = ? AND live = 1 \
                 AND state IN ('running', 'complete') ORDER BY run_id DESC",
                &[Value::text(&run.name), Value::text(run.source.as_str())],
            )
            .await?;
        let Some((id, batches)) = found.into_iter().next() else {
            return Ok(None);
        };
        let version = to_rows::key_text(&run.program_version);
        self.driver
            .execute(
                "UPDATE run SET state = 'running', finished_ns = NULL, program_version = ? WHERE run_id = ?",
                &[Value::text(&version), Value::int(id)],
            )
            .await?;
        Ok(Some((RunId(id), batches)))
    }

    async fn write(&mut self, run: RunId, number: i64, batch: &Batch) -> Result<(), StoreError> {
        // Taken out, and only put back once committed: ids of a transaction that fails must not be remembered.
        let (mut names, mut lists) = self.take_names(run);
        names.trim();
        self.begin().await?;
        let written = self.write_rows(run, number, batch, &mut names, &mut lists).await;
        if self.end(written, "writing rows").await? == Turn::Taken {
            self.names = Some((run, names));
            self.lists = lists;
        }
        Ok(())
    }

    async fn write_rows(
        &mut self,
        run: RunId,
        number: i64,
        batch: &Batch,
        names: &mut Names,
        lists: &mut lists::Written,
    ) -> Result<Turn, Failure> {
        if claim(&mut self.driver, run, number).await? == Turn::DoneBefore {
            return Ok(Turn::DoneBefore);
        }
        let driver = &mut self.driver;
        replaced::remove(driver, run, &batch.replaced).await?;
        let unnamed = names.unnamed(batch);
        name_ids::give(driver, run, names, unnamed).await?;
        let counts = batch.counts.iter();
        driver
            .put(counts.map(|fact| to_rows::count_row(run, names, fact)))
            .await?;
        let deliveries = batch.deliveries.iter();
        driver
            .put(deliveries.map(|fact| to_rows::delivery_row(run, names, fact)))
            .await?;
        let rounds = batch.rounds.iter();
        driver
            .put(rounds.map(|fact| to_rows::round_row(run, names, fact)))
            .await?;
        let node_rounds = batch.node_rounds.iter();
        driver
            .put(node_rounds.map(|fact| to_rows::node_round_row(run, names, fact)))
            .await?;
        votes::replace(driver, run, names, &batch.votes).await?;
        let links = batch.links.iter();
        driver
            .put(links.map(|fact| to_rows::link_count_row(run, names, fact)))
            .await?;
        if let Some(live) = &batch.live {
            lists::replace(driver, run, names, lists, &live.facts).await?;
            lists::add_given_up(driver, run, live).await?;
            lists::set_totals(driver, run, &live.facts).await?;
            lists::set_progress(driver, run, number, batch.len(), live).await?;
            minutes::remake_around(driver, run, batch).await?;
        }
        Ok(Turn::Taken)
    }

    async fn finish_run(
        &mut self,
        run: RunId,
        number: i64,
        facts: &RunFacts,
        finished_ns: i64,
    ) -> Result<(), StoreError> {
        let (mut names, mut lists) = self.take_names(run);
        self.begin().await?;
        let finished = self
            .finish_rows(run, number, facts, finished_ns, &mut names, &mut lists)
            .await;
        self.end(finished, "finishing a run").await?;
        self.remove_leftovers().await;
        Ok(())
    }

    async fn finish_rows(
        &mut self,
        run: RunId,
        number: i64,
        facts: &RunFacts,
        finished_ns: i64,
        names: &mut Names,
        lists: &mut lists::Written,
    ) -> Result<(), Failure> {
        if claim(&mut self.driver, run, number).await? == Turn::DoneBefore {
            // The number alone could be that of rows, too.
            let state = transaction::state(&mut self.driver, run).await?;
            let complete = state.is_some_and(|(state, _)| state == RunState::Complete.as_str());
            return if complete {
                Ok(())
            } else {
                Err(Failure::TakenOver(run))
            };
        }
        lists::replace(&mut self.driver, run, names, lists, facts).await?;
        lists::forget_given_up(&mut self.driver, run).await?;
        lists::set_totals(&mut self.driver, run, facts).await?;
        minutes::remake_all(&mut self.driver, run).await?;
        let replaced: Vec<(i64,)> = self
            .driver
            .select(
                "SELECT run_id FROM run WHERE state = 'complete' AND name = (SELECT name FROM run WHERE run_id = ?)",
                &[Value::int(run.0)],
            )
            .await?;
        for (old,) in replaced {
            self.remove_run(RunId(old)).await?;
        }
        self.driver
            .execute(
                "UPDATE run SET state = 'complete', finished_ns = ? WHERE run_id = ?",
                &[Value::int(finished_ns), Value::int(run.0)],
            )
            .await?;
        Ok(())
    }

    async fn fail_run(&mut self, run: RunId, problem: &str, finished_ns: i64) -> Result<(), StoreError> {
        self.names = None;
        self.begin().await?;
        let failed = self.mark_failed(run, problem, finished_ns).await;
        self.end(failed, "marking a run failed").await?;
        self.remove_leftovers().await;
        Ok(())
    }

    async fn mark_failed(&mut self, run: RunId, problem: &str, finished_ns: i64) -> Result<(), Failure> {
        let problem = to_rows::long_text(problem);
        let marked = self
            .driver
            .execute(
                "UPDATE run SET state = 'failed', problem = ?, finished_ns = ? WHERE run_id = ? AND state = 'running'",
                &[
                    Value::text(&problem),
                    Value::int(finished_ns),
                    Value::int(run.0),
                ],
            )
            .await?;
        if marked == 1 {
            return self.leave_rows(run).await;
        }
        let state = transaction::state(&mut self.driver, run).await?;
        if state.is_some_and(|(state, _)| state == RunState::Failed.as_str()) {
            return Ok(());
        }
        Err(Failure::TakenOver(run))
    }

    async fn runs(&mut self) -> Result<Vec<RunRow>, StoreError> {
        let sql = format!(
            "SELECT {} FROM run ORDER BY run_id DESC",
            RunRow::COLUMNS.join(", ")
        );
        let rows = self.driver.select(&sql, &[]).await;
        rows.map_err(|error| self.driver.refusal("reading runs", error))
    }

    async fn find_run(&mut self, name: Option<&str>) -> Result<RunRow, StoreError> {
        let runs = self.runs().await?;
        let mut complete: Vec<RunRow> = runs
            .into_iter()
            .filter(|run| run.state == RunState::Complete.as_str())
            .collect();
        let store = self.driver.store().to_owned();
        let found = complete
            .iter()
            .position(|run| name.is_none_or(|name| run.name == name));
        match (found, name) {
            (Some(found), _) => Ok(complete.swap_remove(found)),
            (None, Some(name)) if !complete.is_empty() => {
                let known: Vec<_> = complete
                    .iter()
                    .take(10)
                    .map(|run| format!("{:?}", run.name))
                    .collect();
                Err(StoreError::NoSuchRun {
                    store,
                    name: name.to_owned(),
                    known: known.join(", "),
                })
            }
            (None, _) => Err(StoreError::NoRuns { store }),
        }
    }

    async fn counts(
        &mut self,
        run: RunId,
        sequences: RangeInclusive<i64>,
        after: Option<&CountRow>,
        limit: u32,
    ) -> Result<Vec<CountRow>, StoreError> {
        let sql = format!(
            "SELECT {} FROM message_count WHERE run_id = ? AND sequence BETWEEN ? AND ? \
             AND (sequence, round, chain_id, receiver_ip, kind) > (?, ?, ?, ?, ?) \
             ORDER BY sequence, round, chain_id, receiver_ip, kind LIMIT ?",
            CountRow::COLUMNS.join(", ")
        );
        // No sequence is negative.
        let (sequence, round, chain, ip, kind) = after.map_or((-1, -1, -1, "", ""), |row| {
            (
                row.sequence,
                row.round,
                row.chain_id,
                &*row.receiver_ip,
                &*row.kind,
            )
        });
        let values = [
            Value::int(run.0),
            // Not every database sees that the heights before need not be looked at.
            Value::int(*sequences.start().max(&sequence)),
            Value::int(*sequences.end()),
            Value::int(sequence),
            Value::int(round),
            Value::int(chain),
            Value::text(ip),
            Value::text(kind),
            Value::int(i64::from(limit)),
        ];
        let rows = self.driver.select(&sql, &values).await;
        rows.map_err(|error| self.driver.refusal("reading counts", error))
    }

    async fn page(
        &mut self,
        table: &'static Table,
        run: RunId,
        after: Option<&[Cell]>,
        limit: u32,
    ) -> Result<Vec<Vec<Cell>>, StoreError> {
        let mut sql = format!(
            "SELECT {} FROM {} WHERE run_id = ?",
            table.column_names().join(", "),
            table.name
        );
        let mut values = vec![Value::int(run.0)];
        // The run itself has one row, and no key behind it.
        let key = &table.key[1..];
        match after {
            Some(_) if key.is_empty() => return Ok(Vec::new()),
            Some(after) => {
                let of_key: Vec<Value<'_>> = key
                    .iter()
                    .map(
                        |column| match table.place(column).and_then(|place| after.get(place)) {
                            Some(Cell::Int(value)) => Value::Int(*value),
                            Some(Cell::Text(value)) => Value::Text(value.as_deref()),
                            None => Value::Int(None),
                        },
                    )
                    .collect();
                // Not every database sees that what is before need not be looked at.
                let places = vec!["?"; key.len()].join(", ");
                sql.push_str(&format!(
                    " AND {} >= ? AND ({}) > ({places})",
                    key[0],
                    key.join(", ")
                ));
                values.push(of_key[0]);
                values.extend(of_key);
            }
            None => {}
        }
        sql.push_str(&format!(" ORDER BY {} LIMIT ?", table.key.join(", ")));
        values.push(Value::int(i64::from(limit)));
        let rows = self.driver.select_cells(&sql, &values, table.types()).await;
        rows.map_err(|error| self.driver.refusal("reading a table", error))
    }

    async fn details(&mut self, run: RunId) -> Result<RunDetails, StoreError> {
        // One snapshot: a run that is replaced meanwhile is read whole or not at all.
        self.begin_snapshot().await?;
        let details = self.read_details(run).await;
        self.end(details, "reading a run").await
    }

    async fn read_details(&mut self, run: RunId) -> Result<RunDetails, Failure> {
        let Some(row) = self.list::<RunRow>(run, "run_id").await?.into_iter().next() else {
            return Err(Failure::Gone(run));
        };
        Ok(RunDetails {
            run: row,
            counters: self.list(run, "list, name").await?,
            captures: self.list(run, "capture_number").await?,
            chains: self.list(run, "chain_id").await?,
            nodes: self.list(run, "node_number").await?,
            node_ips: self.list(run, "ip, node_number").await?,
            sessions: self.list(run, "session_number").await?,
            codes: self.list(run, "capability, wire_code, name").await?,
            copies: self.list(run, "receiver_ip, copies").await?,
            events: self.list(run, "event_number").await?,
            waste: self
                .list(run, "chain_id, receiver_ip, sender, kind, cause")
                .await?,
            what_if: self.list(run, "chain_id, policy").await?,
            phases: self.list(run, "chain_id, phase").await?,
            participation: self.list(run, "chain_id, validator").await?,
            delays: self.list(run, "chain_id, node_ip").await?,
            tcp_links: self.list(run, "sender_ip, receiver_ip").await?,
            peers: self.list(run, "peer_number").await?,
            peer_disconnects: self.list(run, "peer_number, direction, reason").await?,
            dials: self.list(run, "initiator_ip, recipient_ip").await?,
            census: self.list(run, "list, value").await?,
            scores: self.list(run, "score_number").await?,
        })
    }

    /// A run's rows of a table in the given order.
    async fn list<R: TableRow>(&mut self, run: RunId, order: &'static str) -> Result<Vec<R>, sqlx::Error> {
        let sql = format!(
            "SELECT {} FROM {} WHERE run_id = ? ORDER BY {order}",
            R::COLUMNS.join(", "),
            R::TABLE
        );
        self.driver.select(&sql, &[Value::int(run.0)]).await
    }

    /// What is remembered of this run's ids and lists.
    fn take_names(&mut self, run: RunId) -> (Names, lists::Written) {
        let lists = std::mem::take(&mut self.lists);
        match self.names.take() {
            Some((of, names)) if of == run => (names, lists),
            _ => Default::default(),
        }
    }
}

impl<D: Driver> Store for SqlStore<D> {
    fn begin_run<'a>(&'a mut self, run: &'a NewRun, started_ns: i64) -> Answer<'a, RunId> {
        Box::pin(self.begin_run(run, started_ns))
    }

    fn resume_run<'a>(&'a mut self, run: &'a NewRun) -> Answer<'a, Option<(RunId, i64)>> {
        Box::pin(self.resume_run(run))
    }

    fn write<'a>(&'a mut self, run: RunId, number: i64, batch: &'a Batch) -> Answer<'a, ()> {
        Box::pin(self.write(run, number, batch))
    }

    fn finish_run<'a>(
        &'a mut self,
        run: RunId,
        number: i64,
        facts: &'a RunFacts,
        finished_ns: i64,
    ) -> Answer<'a, ()> {
        Box::pin(self.finish_run(run, number, facts, finished_ns))
    }

    fn fail_run<'a>(&'a mut self, run: RunId, problem: &'a str, finished_ns: i64) -> Answer<'a, ()> {
        Box::pin(self.fail_run(run, problem, finished_ns))
    }

    fn runs(&mut self) -> Answer<'_, Vec<RunRow>> {
        Box::pin(self.runs())
    }

    fn find_run<'a>(&'a mut self, name: Option<&'a str>) -> Answer<'a, RunRow> {
        Box::pin(self.find_run(name))
    }

    fn counts<'a>(
        &'a mut self,
        run: RunId,
        sequences: RangeInclusive<i64>,
        after: Option<&'a CountRow>,
        limit: u32,
    ) -> Answer<'a, Vec<CountRow>> {
        Box::pin(self.counts(run, sequences, after, limit))
    }

    fn page<'a>(
        &'a mut self,
        table: &'static Table,
        run: RunId,
        after: Option<&'a [Cell]>,
        limit: u32,
    ) -> Answer<'a, Vec<Vec<Cell>>> {
        Box::pin(self.page(table, run, after, limit))
    }

    fn details(&mut self, run: RunId) -> Answer<'_, RunDetails> {
        Box::pin(self.details(run))
    }

    fn latest_links(&mut self, run: RunId) -> Answer<'_, Vec<LinkCountRow>> {
        Box::pin(async move {
            let sql = format!(
                "SELECT {} FROM link_count WHERE run_id = ? AND minute_ns >= \
                 (SELECT MAX(minute_ns) FROM link_count WHERE run_id = ?) - 60000000000 \
                 ORDER BY minute_ns, chain_id, receiver_ip, sender, kind",
                LinkCountRow::COLUMNS.join(", ")
            );
            let values = [Value::int(run.0), Value::int(run.0)];
            let rows = self.driver.select(&sql, &values).await;
            rows.map_err(|error| self.driver.refusal("reading links", error))
        })
    }

    fn ask<'a>(&'a mut self, question: &'a Question<'a>) -> Answer<'a, Vec<Vec<Cell>>> {
        Box::pin(async move {
            let sql = question.sql.replace("{int}", D::DIALECT.int);
            let value = |cell: &'a Cell| match cell {
                Cell::Int(value) => Value::Int(*value),
                Cell::Text(value) => Value::Text(value.as_deref()),
            };
            let values: Vec<_> = question.values.iter().map(value).collect();
            let rows = self.driver.select_cells(&sql, &values, question.holds).await;
            rows.map_err(|error| self.driver.refusal(question.doing, error))
        })
    }

    fn check(&mut self) -> Answer<'_, StoreCheck> {
        Box::pin(self.check())
    }

    fn prune<'a>(&'a mut self, what: &'a Prune) -> Answer<'a, Pruned> {
        Box::pin(self.prune(what))
    }

    fn original_views(&mut self, run: RunId) -> Answer<'_, Vec<String>> {
        Box::pin(self.original_views(run))
    }

    fn close(self: Box<Self>) -> Answer<'static, ()> {
        Box::pin(self.driver.close())
    }
}
