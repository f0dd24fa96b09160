//! Transactions, and whose turn it is: a run's transactions are numbered, and the number is committed with the rows.

use crate::StoreError;
use crate::rows::Value;
use crate::store::{RunId, RunState};

use super::{Driver, SqlStore};

/// Why a transaction must not be committed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The database refused something.
    Database(sqlx::Error),
    /// The run is another program's by now.
    TakenOver(RunId),
    /// There is no such run.
    Gone(RunId),
    /// Any other reason.
    Other(StoreError),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl<D: Driver> SqlStore<D> {
    pub(super) async fn begin(&mut self) -> Result<(), StoreError> {
        self.begin_with(D::DIALECT.begin).await
    }

    pub(super) async fn begin_snapshot(&mut self) -> Result<(), StoreError> {
        self.begin_with(D::DIALECT.begin_snapshot).await
    }

    async fn begin_with(&mut self, sql: &'static str) -> Result<(), StoreError> {
        if self.in_transaction {
            self.roll_back().await;
        }
        self.in_transaction = true;
        let begun = self.driver.run(sql).await.map_err(Failure::Database);
        match begun {
            Ok(()) => Ok(()),
            Err(failure) => Err(self.give_up(failure, "beginning a transaction").await),
        }
    }

    /// Commits what went well, and takes back what did not.
    pub(super) async fn end<T>(
        &mut self,
        done: Result<T, Failure>,
        doing: &'static str,
    ) -> Result<T, StoreError> {
        let committed = match done {
            Ok(value) => match self.driver.run("COMMIT").await {
                Ok(()) => Ok(value),
                Err(error) => Err(Failure::Database(error)),
            },
            Err(failure) => Err(failure),
        };
        match committed {
            Ok(value) => {
                self.in_transaction = false;
                Ok(value)
            }
            Err(failure) => Err(self.give_up(failure, doing).await),
        }
    }

    async fn give_up(&mut self, failure: Failure, doing: &'static str) -> StoreError {
        self.names = None;
        self.roll_back().await;
        let store = || self.driver.store().to_owned();
        match failure {
            Failure::Database(error) => self.driver.refusal(doing, error),
            Failure::TakenOver(run) => StoreError::TakenOver { store: store(), run },
            Failure::Gone(run) => StoreError::RunGone { store: store(), run },
            Failure::Other(error) => error,
        }
    }

    async fn roll_back(&mut self) {
        // Where this fails, the connection is gone or no transaction was open: both mean that nothing stays.
        let _ = self.driver.run("ROLLBACK").await;
        self.in_transaction = false;
    }
}

/// Whether a numbered transaction is still to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It is, and its number is taken now.
    Taken,
    /// It was committed before; only its answer was lost.
    DoneBefore,
}

/// Takes the number of a run's next transaction, and makes sure that the run is still this program's.
///
/// The row in `run` is locked until the transaction ends, so nobody else writes or removes this run meanwhile.
pub(super) async fn claim<D: Driver>(driver: &mut D, run: RunId, number: i64) -> Result<Turn, Failure> {
    let claimed = driver
        .execute(
            "UPDATE run SET batches = ? WHERE run_id = ? AND state = 'running' AND batches = ?",
            &[Value::int(number), Value::int(run.0), Value::int(number - 1)],
        )
        .await?;
    if claimed == 1 {
        return Ok(Turn::Taken);
    }
    match state(driver, run).await? {
        Some((state, batches)) if state != RunState::Failed.as_str() && batches >= number => {
            Ok(Turn::DoneBefore)
        }
        Some((state, batches)) if state == RunState::Running.as_str() => {
            Err(Failure::Other(StoreError::BatchMissing {
                store: driver.store().to_owned(),
                run,
                committed: batches,
                number,
            }))
        }
        _ => Err(Failure::TakenOver(run)),
    }
}

/// State of a run and number of its last transaction; `None` if it is gone.
pub(super) async fn state<D: Driver>(
    driver: &mut D,
    run: RunId,
) -> Result<Option<(String, i64)>, sqlx::Error> {
    let rows = driver
        .select(
            "SELECT state, batches FROM run WHERE run_id = ?",
            &[Value::int(run.0)],
        )
        .await?;
    Ok(rows.into_iter().next())
}
