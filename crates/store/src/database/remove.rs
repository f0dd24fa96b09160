//! Removing runs: at once for readers, piece by piece for the database.
//!
//! The transaction that removes a run only takes it out of `run`, where every query starts, and notes it in `leftover`.
//! Its rows are deleted afterwards, some at a time: millions in one statement would hold locks and logs for minutes. What a
//! crash leaves, the next program that begins a run deletes.

use crate::rows::Value;
use crate::store::RunId;

use super::transaction::Failure;
use super::{Driver, SqlStore};

/// Tables with a `run_id`, but `run` and `leftover`; the long ones first.
pub(crate) const RUN_TABLES: [&str; 30] = [
    "delivery_row",
    "message_count",
    "vote",
    "node_round",
    "round",
    "link_count",
    "minute_count",
    "minute_round",
    "progress",
    "waste",
    "what_if",
    "phase",
    "participation",
    "delivery_delay",
    "tcp_link",
    "peer_disconnect",
    "peer",
    "dial",
    "census",
    "score",
    "copies",
    "event",
    "session",
    "code",
    "node_ip",
    "node",
    "capture",
    "counter",
    "label",
    "chain",
];

impl<D: Driver> SqlStore<D> {
    /// Removes a run, in a transaction; its rows wait for [`remove_leftovers`](Self::remove_leftovers).
    pub(super) async fn remove_run(&mut self, run: RunId) -> Result<(), Failure> {
        // One that failed may be among the leftovers already.
        self.driver
            .execute("DELETE FROM leftover WHERE run_id = ?", &[Value::int(run.0)])
            .await?;
        self.leave_rows(run).await?;
        self.driver
            .execute("DELETE FROM run WHERE run_id = ?", &[Value::int(run.0)])
            .await?;
        Ok(())
    }

    /// Notes that a run's rows are to be removed.
    pub(super) async fn leave_rows(&mut self, run: RunId) -> Result<(), Failure> {
        self.driver
            .execute("INSERT INTO leftover (run_id) VALUES (?)", &[Value::int(run.0)])
            .await?;
        Ok(())
    }

    /// Deletes rows of removed runs, outside of any transaction.
    pub(super) async fn remove_leftovers(&mut self) {
        // What the caller asked for is committed. If this fails, the rows stay noted: `check` tells of them, and the next
        // program that begins a run goes on.
        let _ = self.try_remove_leftovers().await;
    }

    async fn try_remove_leftovers(&mut self) -> Result<(), sqlx::Error> {
        let left: Vec<(i64,)> = self
            .driver
            .select("SELECT run_id FROM leftover ORDER BY run_id", &[])
            .await?;
        for (run,) in left {
            for table in RUN_TABLES {
                let sql = D::DIALECT.delete_piece.replace("{table}", table);
                while self.driver.execute(&sql, &[Value::int(run)]).await? >= D::DIALECT.piece {}
            }
            self.driver
                .execute("DELETE FROM leftover WHERE run_id = ?", &[Value::int(run)])
                .await?;
        }
        Ok(())
    }
}
