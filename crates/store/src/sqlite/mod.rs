//! The store in a SQLite file.
//!
//! Journal in WAL mode: readers (dashboards, `sqlite3`) go on while rows are written, and a crash leaves whole transactions.
//! With `synchronous = NORMAL` a power failure may take the last transactions, never part of one.

mod open;
mod refusal;
mod table;

use std::ops::RangeInclusive;
use std::time::Duration;

use bftap_analysis::facts::RunFacts;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Sqlite, Transaction};

use crate::facts_to_rows as to_rows;
use crate::names::{Names, Unnamed};
use crate::rows::{CountRow, RunRow, TableRow};
use crate::store::{Access, Answer, Batch, NewRun, RunDetails, RunId, RunState, Store};
use crate::{StoreError, StoreUrl};

use refusal::Place;
use table::{insert, select};

/// A SQLite file with the tables of `docs/SCHEMA.md`.
#[derive(Debug)]
pub struct SqliteStore {
    connection: SqliteConnection,
    place: Place,
    /// Ids of the run that is being written; `None` before its first batch and after a failed transaction.
    names: Option<(RunId, Names)>,
}

impl SqliteStore {
    /// How long opening waits for another program's transaction.
    pub const OPEN_WAIT: Duration = Duration::from_secs(5);

    /// How long a transaction waits for another program's: removing a big run takes its time.
    pub const WRITE_WAIT: Duration = Duration::from_secs(60);

    /// Opens a file, or makes it with [`Access::Write`].
    ///
    /// A new file gets the permissions that the umask leaves: what is stored are results, not secrets.
    pub async fn open(url: &StoreUrl, access: Access) -> Result<Self, StoreError> {
        let mut store = Self::open_waiting(url, access, Self::OPEN_WAIT).await?;
        store.set_wait(Self::WRITE_WAIT).await?;
        Ok(store)
    }

    /// As [`open`](Self::open), but every transaction waits only so long for another program's.
    pub async fn open_waiting(url: &StoreUrl, access: Access, wait: Duration) -> Result<Self, StoreError> {
        let place = Place {
            store: url.to_string(),
            wait,
        };
        let connection = open::connect(url, access, &place).await?;
        Ok(Self {
            connection,
            place,
            names: None,
        })
    }

    async fn set_wait(&mut self, wait: Duration) -> Result<(), StoreError> {
        let sql = format!("PRAGMA busy_timeout = {}", wait.as_millis());
        let done = sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
            .execute(&mut self.connection)
            .await;
        done.map_err(|error| self.place.refusal("setting up", error))?;
        self.place.wait = wait;
        Ok(())
    }

    async fn begin_run(&mut self, run: &NewRun, started_ns: i64) -> Result<RunId, StoreError> {
        run.check()?;
        let Self {
            connection,
            place,
            names,
        } = self;
        let doing = |error| place.refusal("beginning a run", error);
        let mut transaction = begin(connection).await.map_err(doing)?;
        let unfinished: Vec<i64> =
            sqlx::query_scalar("SELECT run_id FROM run WHERE name = ? AND state <> 'complete'")
                .bind(&run.name)
                .fetch_all(&mut *transaction)
                .await
                .map_err(doing)?;
        for old in unfinished {
            remove_run(&mut transaction, RunId(old)).await.map_err(doing)?;
        }
        let id = sqlx::query(
            "INSERT INTO run (name, state, source, program_version, started_ns, selection) \
             VALUES (?, 'running', ?, ?, ?, ?)",
        )
        .bind(&run.name)
        .bind(run.source.as_str())
        .bind(to_rows::key_text(&run.program_version))
        .bind(started_ns)
        .bind(run.selection.as_deref().map(to_rows::long_text))
        .execute(&mut *transaction)
        .await
        .map_err(doing)?
        .last_insert_rowid();
        transaction.commit().await.map_err(doing)?;
        *names = None;
        Ok(RunId(id))
    }

    async fn write(&mut self, run: RunId, batch: &Batch) -> Result<(), StoreError> {
        let Self {
            connection,
            place,
            names,
        } = self;
        let doing = |error| place.refusal("writing rows", error);
        // Taken out, and only put back once committed: ids of a transaction that fails must not be remembered.
        let mut known = take_names(names, run);
        known.trim();

        let mut transaction = begin(connection).await.map_err(doing)?;
        claim(&mut transaction, place, run).await?;
        let unnamed = known.unnamed(batch);
        name_all(&mut transaction, run, &mut known, unnamed)
            .await
            .map_err(doing)?;
        let counts = batch
            .counts
            .iter()
            .map(|fact| to_rows::count_row(run, &known, fact));
        insert(&mut transaction, place, run, counts).await?;
        let deliveries = batch
            .deliveries
            .iter()
            .map(|fact| to_rows::delivery_row(run, &known, fact));
        insert(&mut transaction, place, run, deliveries).await?;
        let rounds = batch
            .rounds
            .iter()
            .map(|fact| to_rows::round_row(run, &known, fact));
        insert(&mut transaction, place, run, rounds).await?;
        let links = batch
            .links
            .iter()
            .map(|fact| to_rows::link_count_row(run, &known, fact));
        insert(&mut transaction, place, run, links).await?;
        transaction.commit().await.map_err(doing)?;
        *names = Some((run, known));
        Ok(())
    }

    async fn finish_run(&mut self, run: RunId, facts: &RunFacts, finished_ns: i64) -> Result<(), StoreError> {
        let Self {
            connection,
            place,
            names,
        } = self;
        let doing = |error| place.refusal("finishing a run", error);
        let mut known = take_names(names, run);

        let mut transaction = begin(connection).await.map_err(doing)?;
        claim(&mut transaction, place, run).await?;
        let chains = facts
            .sessions
            .iter()
            .map(|fact| &fact.chain)
            .chain(facts.events.iter().map(|fact| &fact.chain));
        let unnamed = known.unnamed_chains(chains);
        name_all(&mut transaction, run, &mut known, unnamed)
            .await
            .map_err(doing)?;
        let number = 0_i64..;
        let captures = number.clone().zip(&facts.captures);
        insert(
            &mut transaction,
            place,
            run,
            captures.map(|(n, fact)| to_rows::capture_row(run, n, fact)),
        )
        .await?;
        let nodes = number.clone().zip(&facts.nodes);
        insert(
            &mut transaction,
            place,
            run,
            nodes.clone().map(|(n, fact)| to_rows::node_row(run, n, fact)),
        )
        .await?;
        insert(
            &mut transaction,
            place,
            run,
            nodes.flat_map(|(n, fact)| to_rows::node_ip_rows(run, n, fact)),
        )
        .await?;
        let sessions = number.clone().zip(&facts.sessions);
        let sessions = sessions.map(|(n, fact)| to_rows::session_row(run, n, &known, fact));
        insert(&mut transaction, place, run, sessions).await?;
        insert(
            &mut transaction,
            place,
            run,
            to_rows::code_rows(run, &facts.codes).into_iter(),
        )
        .await?;
        insert(
            &mut transaction,
            place,
            run,
            facts.copies.iter().map(|fact| to_rows::copies_row(run, fact)),
        )
        .await?;
        let events = number
            .zip(&facts.events)
            .map(|(n, fact)| to_rows::event_row(run, n, &known, fact));
        insert(&mut transaction, place, run, events).await?;
        insert(
            &mut transaction,
            place,
            run,
            to_rows::counter_rows(run, &facts.totals).into_iter(),
        )
        .await?;

        let replaced: Vec<i64> = sqlx::query_scalar(
            "SELECT run_id FROM run WHERE state = 'complete' AND name = (SELECT name FROM run WHERE run_id = ?)",
        )
        .bind(run.0)
        .fetch_all(&mut *transaction)
        .await
        .map_err(doing)?;
        for old in replaced {
            remove_run(&mut transaction, RunId(old)).await.map_err(doing)?;
        }
        complete(&mut transaction, run, facts, finished_ns)
            .await
            .map_err(doing)?;
        transaction.commit().await.map_err(doing)
    }

    async fn fail_run(&mut self, run: RunId, problem: &str, finished_ns: i64) -> Result<(), StoreError> {
        let Self {
            connection,
            place,
            names,
        } = self;
        *names = None;
        let doing = |error| place.refusal("marking a run failed", error);
        let mut transaction = begin(connection).await.map_err(doing)?;
        claim(&mut transaction, place, run).await?;
        sqlx::query("UPDATE run SET state = 'failed', problem = ?, finished_ns = ? WHERE run_id = ?")
            .bind(to_rows::long_text(problem))
            .bind(finished_ns)
            .bind(run.0)
            .execute(&mut *transaction)
            .await
            .map_err(doing)?;
        remove_rows(&mut transaction, run).await.map_err(doing)?;
        transaction.commit().await.map_err(doing)
    }

    async fn runs(&mut self) -> Result<Vec<RunRow>, StoreError> {
        let sql = format!(
            "SELECT {} FROM run ORDER BY run_id DESC",
            RunRow::COLUMNS.join(", ")
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .fetch_all(&mut self.connection)
            .await;
        let rows = rows.and_then(|rows| rows.iter().map(table::row).collect());
        rows.map_err(|error| self.place.refusal("reading runs", error))
    }

    async fn find_run(&mut self, name: Option<&str>) -> Result<RunRow, StoreError> {
        let runs = self.runs().await?;
        let mut complete: Vec<RunRow> = runs
            .into_iter()
            .filter(|run| run.state == RunState::Complete.as_str())
            .collect();
        let store = self.place.store.clone();
        let Some(name) = name else {
            return if complete.is_empty() {
                Err(StoreError::NoRuns { store })
            } else {
                Ok(complete.swap_remove(0))
            };
        };
        match complete.iter().position(|run| run.name == name) {
            Some(found) => Ok(complete.swap_remove(found)),
            None if complete.is_empty() => Err(StoreError::NoRuns { store }),
            None => {
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
        let query = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(run.0)
            .bind(*sequences.start())
            .bind(*sequences.end());
        let query = match after {
            Some(row) => query
                .bind(row.sequence)
                .bind(row.round)
                .bind(row.chain_id)
                .bind(row.receiver_ip.clone())
                .bind(row.kind.clone()),
            // No sequence is negative.
            None => query.bind(-1).bind(-1).bind(-1).bind("").bind(""),
        };
        let rows = query.bind(limit).fetch_all(&mut self.connection).await;
        let rows = rows.and_then(|rows| rows.iter().map(table::row).collect());
        rows.map_err(|error| self.place.refusal("reading counts", error))
    }

    async fn details(&mut self, run: RunId) -> Result<RunDetails, StoreError> {
        let Self {
            connection, place, ..
        } = self;
        let doing = |error| place.refusal("reading a run", error);
        // One snapshot: a run that is replaced meanwhile is read whole or not at all.
        let mut snapshot = connection.begin().await.map_err(doing)?;
        let found: Vec<RunRow> = select(&mut snapshot, run, "run_id").await.map_err(doing)?;
        let Some(row) = found.into_iter().next() else {
            return Err(StoreError::RunGone {
                store: place.store.clone(),
                run,
            });
        };
        let details = RunDetails {
            run: row,
            counters: select(&mut snapshot, run, "list, name").await.map_err(doing)?,
            captures: select(&mut snapshot, run, "capture_number")
                .await
                .map_err(doing)?,
            chains: select(&mut snapshot, run, "chain_id").await.map_err(doing)?,
            nodes: select(&mut snapshot, run, "node_number").await.map_err(doing)?,
            node_ips: select(&mut snapshot, run, "ip, node_number")
                .await
                .map_err(doing)?,
            sessions: select(&mut snapshot, run, "session_number")
                .await
                .map_err(doing)?,
            codes: select(&mut snapshot, run, "capability, wire_code, name")
                .await
                .map_err(doing)?,
            copies: select(&mut snapshot, run, "receiver_ip, copies")
                .await
                .map_err(doing)?,
            events: select(&mut snapshot, run, "event_number").await.map_err(doing)?,
        };
        snapshot.commit().await.map_err(doing)?;
        Ok(details)
    }
}

impl Store for SqliteStore {
    fn begin_run<'a>(&'a mut self, run: &'a NewRun, started_ns: i64) -> Answer<'a, RunId> {
        Box::pin(self.begin_run(run, started_ns))
    }

    fn write<'a>(&'a mut self, run: RunId, batch: &'a Batch) -> Answer<'a, ()> {
        Box::pin(self.write(run, batch))
    }

    fn finish_run<'a>(&'a mut self, run: RunId, facts: &'a RunFacts, finished_ns: i64) -> Answer<'a, ()> {
        Box::pin(self.finish_run(run, facts, finished_ns))
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

    fn details(&mut self, run: RunId) -> Answer<'_, RunDetails> {
        Box::pin(self.details(run))
    }

    fn close(self: Box<Self>) -> Answer<'static, ()> {
        Box::pin(async move {
            let Self {
                connection, place, ..
            } = *self;
            connection
                .close()
                .await
                .map_err(|error| place.refusal("closing", error))
        })
    }
}

type Changes<'a> = Transaction<'a, Sqlite>;

/// Takes the write lock at once: a transaction that reads first and writes later cannot wait for another writer.
async fn begin(connection: &mut SqliteConnection) -> Result<Changes<'_>, sqlx::Error> {
    connection.begin_with("BEGIN IMMEDIATE").await
}

/// Counts a transaction of a run, and makes sure that the run is still this program's.
async fn claim(transaction: &mut Changes<'_>, place: &Place, run: RunId) -> Result<(), StoreError> {
    let claimed = sqlx::query("UPDATE run SET batches = batches + 1 WHERE run_id = ? AND state = 'running'")
        .bind(run.0)
        .execute(&mut **transaction)
        .await
        .map_err(|error| place.refusal("writing a run", error))?;
    if claimed.rows_affected() == 1 {
        return Ok(());
    }
    Err(StoreError::TakenOver {
        store: place.store.clone(),
        run,
    })
}

/// What is remembered of this run's ids.
fn take_names(names: &mut Option<(RunId, Names)>, run: RunId) -> Names {
    match names.take() {
        Some((of, names)) if of == run => names,
        _ => Names::default(),
    }
}

/// Gives ids to texts: those the run has already, else the next ones.
async fn name_all(
    transaction: &mut Changes<'_>,
    run: RunId,
    names: &mut Names,
    unnamed: Vec<Unnamed>,
) -> Result<(), sqlx::Error> {
    for text in unnamed {
        let (find, add, stored) = match &text {
            Unnamed::Chain(chain) => (FIND_CHAIN, ADD_CHAIN, to_rows::key_text(chain)),
            Unnamed::Label(label) => (FIND_LABEL, ADD_LABEL, to_rows::key_text(label)),
            Unnamed::Ip(ip) => (FIND_LABEL, ADD_LABEL, ip.to_string()),
        };
        let found = sqlx::query_scalar(find)
            .bind(run.0)
            .bind(&stored)
            .fetch_optional(&mut **transaction)
            .await?;
        let id = match found {
            Some(id) => id,
            None => {
                sqlx::query_scalar(add)
                    .bind(run.0)
                    .bind(&stored)
                    .fetch_one(&mut **transaction)
                    .await?
            }
        };
        names.set(text, id);
    }
    Ok(())
}

const FIND_CHAIN: &str = "SELECT chain_id FROM chain WHERE run_id = ?1 AND chain = ?2";
const ADD_CHAIN: &str = "INSERT INTO chain (run_id, chain_id, chain) \
     SELECT ?1, COALESCE(MAX(chain_id) + 1, 0), ?2 FROM chain WHERE run_id = ?1 RETURNING chain_id";
const FIND_LABEL: &str = "SELECT label_id FROM label WHERE run_id = ?1 AND label = ?2";
const ADD_LABEL: &str = "INSERT INTO label (run_id, label_id, label) \
     SELECT ?1, COALESCE(MAX(label_id) + 1, 0), ?2 FROM label WHERE run_id = ?1 RETURNING label_id";

/// Writes the totals and the state `complete`.
async fn complete(
    transaction: &mut Changes<'_>,
    run: RunId,
    facts: &RunFacts,
    finished_ns: i64,
) -> Result<(), sqlx::Error> {
    let totals = to_rows::run_totals(facts);
    let columns: String = totals
        .iter()
        .map(|(column, _)| format!(", {column} = ?"))
        .collect();
    let sql = format!("UPDATE run SET state = 'complete', finished_ns = ?{columns} WHERE run_id = ?");
    let mut query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(finished_ns);
    for (_, value) in totals {
        query = query.bind(value);
    }
    query.bind(run.0).execute(&mut **transaction).await?;
    Ok(())
}

/// Removes a run, all of it.
async fn remove_run(transaction: &mut Changes<'_>, run: RunId) -> Result<(), sqlx::Error> {
    remove_rows(transaction, run).await?;
    sqlx::query("DELETE FROM run WHERE run_id = ?")
        .bind(run.0)
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

/// Removes a run's rows, all but the one in `run`.
async fn remove_rows(transaction: &mut Changes<'_>, run: RunId) -> Result<(), sqlx::Error> {
    for delete in DELETES {
        sqlx::query(delete)
            .bind(run.0)
            .execute(&mut **transaction)
            .await?;
    }
    Ok(())
}

/// One statement for every table with a `run_id` but `run` itself.
const DELETES: [&str; 14] = [
    "DELETE FROM delivery_row WHERE run_id = ?",
    "DELETE FROM message_count WHERE run_id = ?",
    "DELETE FROM round WHERE run_id = ?",
    "DELETE FROM link_count WHERE run_id = ?",
    "DELETE FROM copies WHERE run_id = ?",
    "DELETE FROM event WHERE run_id = ?",
    "DELETE FROM session WHERE run_id = ?",
    "DELETE FROM code WHERE run_id = ?",
    "DELETE FROM node_ip WHERE run_id = ?",
    "DELETE FROM node WHERE run_id = ?",
    "DELETE FROM capture WHERE run_id = ?",
    "DELETE FROM counter WHERE run_id = ?",
    "DELETE FROM label WHERE run_id = ?",
    "DELETE FROM chain WHERE run_id = ?",
];
