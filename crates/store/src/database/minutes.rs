//! `minute_count`: sums of `message_count` over the minute of each row's first sight.
//!
//! Dashboards of whole runs read them, and they stay when the rows they were made of are thinned out.

use bftap_analysis::facts::CountFact;

use crate::rows::Value;
use crate::store::RunId;

use super::Driver;

/// A minute in nanoseconds.
pub(super) const MINUTE_NS: i64 = 60_000_000_000;

/// Start of the minute of a time.
pub(super) fn minute_of(time_ns: i64) -> i64 {
    // Towards zero, as all databases divide: before 1970 a minute is named by its end.
    time_ns - time_ns % MINUTE_NS
}

/// Sums all minutes of a run anew, but those whose rows were thinned out.
pub(super) async fn remake_all<D: Driver>(driver: &mut D, run: RunId) -> Result<(), sqlx::Error> {
    remake(driver, run, i64::MIN, i64::MAX).await
}

/// Sums the minutes anew that rows just written may belong to, or may have belonged to before.
///
/// A row that comes again may have an earlier first sight; the one before was not later than its last.
pub(super) async fn remake_around<D: Driver>(
    driver: &mut D,
    run: RunId,
    counts: &[CountFact],
) -> Result<(), sqlx::Error> {
    let first = counts.iter().map(|fact| fact.first_seen.nanos()).min();
    let last = counts.iter().map(|fact| fact.last_seen.nanos()).max();
    match first.zip(last) {
        Some((first, last)) => remake(driver, run, minute_of(first), minute_of(last)).await,
        None => Ok(()),
    }
}

/// Sums minutes from `first` to `last` anew, both included and both starts of minutes.
async fn remake<D: Driver>(driver: &mut D, run: RunId, first: i64, last: i64) -> Result<(), sqlx::Error> {
    let thinned: Vec<(Option<i64>,)> = driver
        .select(
            "SELECT thinned_before_ns FROM run WHERE run_id = ?",
            &[Value::int(run.0)],
        )
        .await?;
    let thinned = thinned.first().and_then(|(thinned,)| *thinned);
    let first = first.max(thinned.unwrap_or(i64::MIN));
    driver
        .execute(
            "DELETE FROM minute_count WHERE run_id = ? AND minute_ns BETWEEN ? AND ?",
            &[Value::int(run.0), Value::int(first), Value::int(last)],
        )
        .await?;
    // By seconds, for the index's sake; both ends are whole minutes, or no limit at all.
    let end = last.saturating_add(MINUTE_NS - 1);
    driver
        .execute(
            "INSERT INTO minute_count (run_id, minute_ns, chain_id, receiver_ip, kind, receiver, messages, useful, \
             repeats, echoes, invalid, bytes, rows_lower_bound, heights) \
             SELECT run_id, first_seen_ns - first_seen_ns % 60000000000 AS minute_start, chain_id, receiver_ip, kind, \
             MAX(receiver), SUM(messages), SUM(useful), SUM(repeats), SUM(echoes), SUM(invalid), SUM(bytes), \
             SUM(lower_bound), COUNT(*) \
             FROM message_count WHERE run_id = ? AND first_seen_s BETWEEN ? AND ? \
             GROUP BY run_id, minute_start, chain_id, receiver_ip, kind",
            &[
                Value::int(run.0),
                Value::int(first / 1_000_000_000),
                Value::int(end / 1_000_000_000),
            ],
        )
        .await?;
    Ok(())
}
