//! Retention: whole runs go by their age, detail of long runs by the age of what it tells.

use std::collections::BTreeMap;

use crate::StoreError;
use crate::maintenance::{Prune, Pruned};
use crate::rows::{RunRow, Value};
use crate::store::{RunId, RunSource};

use super::minutes::minute_of;
use super::transaction::Failure;
use super::{Driver, SqlStore, lists};

/// Heights whose deliveries go in one transaction: some hundred thousand rows of a gossiping network.
const HEIGHTS_PER_PIECE: i64 = 200;

impl<D: Driver> SqlStore<D> {
    pub(super) async fn prune(&mut self, what: &Prune) -> Result<Pruned, StoreError> {
        let mut pruned = Pruned::default();
        if let Some(before) = what.runs_before_ns {
            self.begin().await?;
            let removed = self.prune_runs(before).await;
            pruned.runs = self.end(removed, "removing old runs").await?;
            self.remove_leftovers().await;
        }
        if let Some(before) = what.detail_before_ns {
            let mut rows = BTreeMap::new();
            let runs = self.runs().await?;
            // An analysis that is being written writes all of its rows again at its end, and would bring back what was counted as removed.
            let monitor = |run: &RunRow| run.state == "running" && run.source == RunSource::Live.as_str();
            for run in runs.iter().filter(|run| run.state == "complete" || monitor(run)) {
                // Whole minutes, so that each sum is either that of rows that are there, or of none.
                let before = minute_of(before).max(run.thinned_before_ns.unwrap_or(i64::MIN));
                self.thin(RunId(run.run_id), before, &mut rows).await?;
            }
            pruned.rows = rows.into_iter().filter(|(_, rows)| *rows > 0).collect();
        }
        Ok(pruned)
    }

    async fn prune_runs(&mut self, before: i64) -> Result<Vec<String>, Failure> {
        let old: Vec<(i64, String)> = self
            .driver
            .select(
                // One that was killed is still `running`, and nobody writes it any more.
                "SELECT run_id, name FROM run WHERE finished_ns < ? \
                 OR (state = 'running' AND COALESCE(written_ns, started_ns) < ?) ORDER BY run_id",
                &[Value::int(before), Value::int(before)],
            )
            .await?;
        for (run, _) in &old {
            self.remove_run(RunId(*run)).await?;
        }
        Ok(old.into_iter().map(|(_, name)| name).collect())
    }

    /// Thins a run out: first its counts and rounds, with the note that they are gone, then deliveries piece by piece.
    ///
    /// Every transaction counts what it removes, so an end in the middle leaves the totals right, and the next pruning goes on.
    async fn thin(
        &mut self,
        run: RunId,
        before: i64,
        removed: &mut BTreeMap<&'static str, i64>,
    ) -> Result<(), StoreError> {
        const DOING: &str = "thinning out a run";
        self.begin().await?;
        let thinned = self.thin_counts(run, before, removed).await;
        self.end(thinned, DOING).await?;

        let range: Result<Vec<(Option<i64>, Option<i64>)>, _> = self
            .driver
            .select(
                "SELECT MIN(sequence), MAX(sequence) FROM delivery_row WHERE run_id = ?",
                &[Value::int(run.0)],
            )
            .await;
        let range = range.map_err(|error| self.driver.refusal(DOING, error))?;
        let Some((Some(mut lowest), Some(highest))) = range.first().copied() else {
            return Ok(());
        };
        while lowest <= highest {
            let last = lowest.saturating_add(HEIGHTS_PER_PIECE - 1);
            self.begin().await?;
            let thinned = self.thin_deliveries(run, before, lowest, last, removed).await;
            // The next height there is: numbers may jump far.
            match self.end(thinned, DOING).await? {
                Some(next) => lowest = next,
                None => break,
            }
        }
        Ok(())
    }

    async fn thin_counts(
        &mut self,
        run: RunId,
        before: i64,
        removed: &mut BTreeMap<&'static str, i64>,
    ) -> Result<(), Failure> {
        let run_before = [Value::int(run.0), Value::int(before)];
        // Locks the run: one that is being written is thinned out between two of its batches.
        self.driver
            .execute(
                "UPDATE run SET thinned_before_ns = ? WHERE run_id = ?",
                &[Value::int(before), Value::int(run.0)],
            )
            .await?;
        let rows = self
            .driver
            .execute(
                "DELETE FROM message_count WHERE run_id = ? AND first_seen_ns < ?",
                &run_before,
            )
            .await?;
        self.count_removed(run, "message_count_rows", "message_count", rows as i64, removed)
            .await?;
        let highest: Vec<(i64, i64)> = self
            .driver
            .select(
                "SELECT chain_id, MAX(sequence) FROM round WHERE run_id = ? AND preprepare_ns < ? GROUP BY chain_id",
                &run_before,
            )
            .await?;
        let mut rows = 0;
        let mut of_rounds = [("node_round_rows", "node_round", 0), ("vote_rows", "vote", 0)];
        for (chain, highest) in highest {
            // Rounds without a preprepare have no time of their own: they go with the heights around them.
            rows += self
                .driver
                .execute(
                    "DELETE FROM round WHERE run_id = ? AND chain_id = ? \
                     AND (preprepare_ns < ? OR (preprepare_ns IS NULL AND sequence <= ?))",
                    &[
                        Value::int(run.0),
                        Value::int(chain),
                        Value::int(before),
                        Value::int(highest),
                    ],
                )
                .await?;
            // What tells of a round goes with it.
            for (_, table, rows) in &mut of_rounds {
                let sql = format!(
                    "DELETE FROM {table} WHERE run_id = ? AND chain_id = ? AND sequence <= ? AND NOT EXISTS \
                     (SELECT 1 FROM round AS r WHERE r.run_id = {table}.run_id AND r.sequence = {table}.sequence \
                     AND r.round = {table}.round AND r.chain_id = {table}.chain_id)"
                );
                let values = [Value::int(run.0), Value::int(chain), Value::int(highest)];
                *rows += self.driver.execute(&sql, &values).await? as i64;
            }
        }
        self.count_removed(run, "round_rows", "round", rows as i64, removed)
            .await?;
        for (name, table, rows) in of_rounds {
            self.count_removed(run, name, table, rows, removed).await?;
        }
        let rows = self
            .driver
            .execute(
                "DELETE FROM progress WHERE run_id = ? AND seen_ns < ?",
                &run_before,
            )
            .await?;
        *removed.entry("progress").or_default() += rows as i64;
        Ok(())
    }

    /// Thins heights out, and gives the first height behind them.
    async fn thin_deliveries(
        &mut self,
        run: RunId,
        before: i64,
        first: i64,
        last: i64,
        removed: &mut BTreeMap<&'static str, i64>,
    ) -> Result<Option<i64>, Failure> {
        let values = [
            Value::int(run.0),
            Value::int(first),
            Value::int(last),
            Value::int(before),
        ];
        // Copies of a hostile network may be more than a number holds: less by their size, never an error.
        let copies: Vec<(i64, i64)> = self
            .driver
            .select(
                "SELECT copies, COUNT(*) FROM delivery_row WHERE run_id = ? AND sequence BETWEEN ? AND ? \
                 AND first_seen_ns < ? GROUP BY copies",
                &values,
            )
            .await?;
        if !copies.is_empty() {
            let rows = self
                .driver
                .execute(
                    "DELETE FROM delivery_row WHERE run_id = ? AND sequence BETWEEN ? AND ? AND first_seen_ns < ?",
                    &values,
                )
                .await?;
            self.count_removed(run, "delivery_rows", "delivery_row", rows as i64, removed)
                .await?;
            let copies = copies.iter().fold(0_i64, |sum, (copies, rows)| {
                sum.saturating_add(copies.saturating_mul(*rows))
            });
            self.count_removed(run, "delivery_copies", "", copies, removed)
                .await?;
        }
        let next: Vec<(Option<i64>,)> = self
            .driver
            .select(
                "SELECT MIN(sequence) FROM delivery_row WHERE run_id = ? AND sequence > ?",
                &[Value::int(run.0), Value::int(last)],
            )
            .await?;
        Ok(next.first().and_then(|(next,)| *next))
    }

    /// Adds to a run's counter of what was thinned out, and to what this pruning tells of `table`.
    async fn count_removed(
        &mut self,
        run: RunId,
        name: &'static str,
        table: &'static str,
        count: i64,
        removed: &mut BTreeMap<&'static str, i64>,
    ) -> Result<(), Failure> {
        if count == 0 {
            return Ok(());
        }
        if !table.is_empty() {
            *removed.entry(table).or_default() += count;
        }
        lists::add_thinned(&mut self.driver, run, name, count).await?;
        Ok(())
    }
}
