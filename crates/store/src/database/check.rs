//! Whether what a store holds agrees with itself.

use std::collections::BTreeMap;

use crate::maintenance::{CheckedRun, StoreCheck};
use crate::rows::{RunRow, Value};
use crate::store::RunState;
use crate::{SCHEMA, StoreError};

use super::transaction::Failure;
use super::{Driver, RUN_TABLES, SqlStore};

impl<D: Driver> SqlStore<D> {
    pub(super) async fn check(&mut self) -> Result<StoreCheck, StoreError> {
        self.begin_snapshot().await?;
        let checked = self.check_all().await;
        self.end(checked, "checking the store").await
    }

    async fn check_all(&mut self) -> Result<StoreCheck, Failure> {
        let runs = self.runs().await.map_err(Failure::Other)?;
        let mut rows: BTreeMap<i64, Vec<(&'static str, i64)>> = BTreeMap::new();
        for table in RUN_TABLES {
            let sql = format!("SELECT run_id, COUNT(*) FROM {table} GROUP BY run_id");
            for (run, count) in self.driver.select::<(i64, i64)>(&sql, &[]).await? {
                rows.entry(run).or_default().push((table, count));
            }
        }
        let size = self.driver.select::<(i64,)>(D::DIALECT.size, &[]).await?;
        let mut check = StoreCheck {
            schema: SCHEMA,
            bytes: size.first().map_or(0, |(size,)| *size),
            ..StoreCheck::default()
        };
        let twice: Vec<(String, i64)> = self
            .driver
            .select(
                "SELECT name, COUNT(*) FROM run WHERE state = 'complete' GROUP BY name HAVING COUNT(*) > 1",
                &[],
            )
            .await?;
        for (name, count) in twice {
            check.problems.push(format!(
                "{count} runs named {name:?} are complete; only one may be"
            ));
        }
        for run in runs {
            if run.state == RunState::Complete.as_str() || run.live {
                self.check_minutes(&run, &mut check.problems).await?;
                self.check_causes(&run, &mut check.problems).await?;
            }
            let rows = rows.remove(&run.run_id).unwrap_or_default();
            if run.state == RunState::Failed.as_str() && !rows.is_empty() {
                check.problems.push(format!(
                    "failed run {} still has rows in {}; the next `bftap analyze` into this store removes them",
                    run.run_id,
                    tables(&rows)
                ));
            }
            check.runs.push(CheckedRun { run, rows });
        }
        let noted: Vec<(i64,)> = self.driver.select("SELECT run_id FROM leftover", &[]).await?;
        for (run, rows) in rows {
            let what = if noted.contains(&(run,)) {
                "was removed, and its rows are still to be: the next `bftap analyze` into this store does it"
            } else {
                "is unknown, and has rows that no run owns"
            };
            check
                .problems
                .push(format!("run {run} {what}: {}", tables(&rows)));
        }
        Ok(check)
    }

    /// Every repeat has one cause. Rows of schema 3 have none.
    async fn check_causes(&mut self, run: &RunRow, problems: &mut Vec<String>) -> Result<(), sqlx::Error> {
        let sql = "SELECT COUNT(*) FROM message_count \
                   WHERE run_id = ? AND repeats - resent - echo_source - crossing <> regossip";
        let wrong = self
            .driver
            .select::<(i64,)>(sql, &[Value::int(run.run_id)])
            .await?;
        if let Some((wrong @ 1..,)) = wrong.first() {
            problems.push(format!(
                "run {} ({:?}): the causes of repeats do not add up to them in {wrong} rows of message_count",
                run.run_id, run.name
            ));
        }
        Ok(())
    }

    /// Sums per minute must be those of the rows they were made of, where these are still there.
    async fn check_minutes(&mut self, run: &RunRow, problems: &mut Vec<String>) -> Result<(), sqlx::Error> {
        let from = run.thinned_before_ns.unwrap_or(i64::MIN);
        for (minutes, rows, time, key, sums) in [
            (
                "minute_count",
                "message_count",
                "first_seen_ns",
                "chain_id, receiver_ip, kind",
                &[
                    ("messages", "messages"),
                    ("useful", "useful"),
                    ("repeats", "repeats"),
                    ("echoes", "echoes"),
                    ("invalid", "invalid"),
                    ("bytes", "bytes"),
                ][..],
            ),
            (
                "minute_round",
                "round",
                "preprepare_ns",
                "chain_id",
                &[
                    ("rounds", "1"),
                    ("higher_rounds", "CASE WHEN round > 0 THEN 1 ELSE 0 END"),
                    ("committed", "CASE WHEN committed_ns IS NULL THEN 0 ELSE 1 END"),
                ][..],
            ),
        ] {
            let list = |each: &dyn Fn(&(&str, &str)) -> String, by: &str| -> String {
                sums.iter().map(each).collect::<Vec<_>>().join(by)
            };
            let sql = format!(
                "SELECT COUNT(*) FROM (SELECT minute_start, {key} FROM (\
                 SELECT minute_ns AS minute_start, {key}, {sums} FROM {minutes} \
                 WHERE run_id = ? AND minute_ns >= ? UNION ALL \
                 SELECT {time} - {time} % 60000000000, {key}, {parts} FROM {rows} \
                 WHERE run_id = ? AND {time} >= ?) AS sums \
                 GROUP BY minute_start, {key} HAVING {differs}) AS wrong",
                sums = list(&|(sum, _)| (*sum).to_owned(), ", "),
                parts = list(&|(_, part)| format!("-({part})"), ", "),
                differs = list(&|(sum, _)| format!("SUM({sum}) <> 0"), " OR "),
            );
            let values = [
                Value::int(run.run_id),
                Value::int(from),
                Value::int(run.run_id),
                Value::int(from),
            ];
            let wrong = self.driver.select::<(i64,)>(&sql, &values).await?;
            if let Some((wrong @ 1..,)) = wrong.first() {
                problems.push(format!(
                    "run {} ({:?}): {wrong} sums in {minutes} are not those of {rows}",
                    run.run_id, run.name
                ));
            }
        }
        Ok(())
    }
}

fn tables(rows: &[(&'static str, i64)]) -> String {
    let rows: Vec<_> = rows
        .iter()
        .map(|(table, count)| format!("{table} {count}"))
        .collect();
    rows.join(", ")
}
