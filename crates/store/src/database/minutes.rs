//! Sums over minutes: `minute_count` of `message_count`, by the minute of each row's first sight, and `minute_round` of `round`, by
//! that of the preprepare.
//!
//! Dashboards of whole runs read them, and they stay when the rows they were made of are thinned out.

use std::collections::BTreeMap;

use crate::rows::Value;
use crate::store::{Batch, RunId};

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
/// A row that comes again may have an earlier first sight; the one before was not later than the last sight of its height.
pub(super) async fn remake_around<D: Driver>(
    driver: &mut D,
    run: RunId,
    batch: &Batch,
) -> Result<(), sqlx::Error> {
    for (first, last) in touched(batch) {
        remake(driver, run, first, last).await?;
    }
    Ok(())
}

/// Spans of minutes that the heights of a batch were seen in, apart from each other: a late message for an old height must not cost the sums of
/// all time between.
fn touched(batch: &Batch) -> Vec<(i64, i64)> {
    let counts = batch.counts.iter().map(|fact| {
        let span = (fact.first_seen.nanos(), fact.last_seen.nanos());
        ((&fact.chain, fact.sequence), span)
    });
    let rounds = batch.rounds.iter().filter_map(|fact| {
        let proposed = fact.preprepare_ns?.nanos();
        Some(((&fact.chain, fact.sequence), (proposed, proposed)))
    });
    let mut heights: BTreeMap<_, (i64, i64)> = BTreeMap::new();
    for (height, (first, last)) in counts.chain(rounds) {
        let span = heights.entry(height).or_insert((first, last));
        *span = (span.0.min(first), span.1.max(last));
    }
    let mut spans: Vec<(i64, i64)> = heights
        .into_values()
        .map(|(first, last)| (minute_of(first), minute_of(last)))
        .collect();
    spans.sort_unstable();
    let mut apart: Vec<(i64, i64)> = Vec::new();
    for (first, last) in spans {
        match apart.last_mut() {
            Some((_, end)) if first <= end.saturating_add(MINUTE_NS) => *end = last.max(*end),
            _ => apart.push((first, last)),
        }
    }
    apart
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
    // By seconds, for the index's sake; both ends are whole minutes, or no limit at all.
    let end = last.saturating_add(MINUTE_NS - 1);
    let minutes = [Value::int(run.0), Value::int(first), Value::int(last)];
    let seconds = [
        Value::int(run.0),
        Value::int(first / 1_000_000_000),
        Value::int(end / 1_000_000_000),
    ];
    for (delete, insert) in [(DELETE_COUNTS, SUM_COUNTS), (DELETE_ROUNDS, SUM_ROUNDS)] {
        driver.execute(delete, &minutes).await?;
        driver.execute(insert, &seconds).await?;
    }
    Ok(())
}

const DELETE_COUNTS: &str = "DELETE FROM minute_count WHERE run_id = ? AND minute_ns BETWEEN ? AND ?";
const SUM_COUNTS: &str = "\
    INSERT INTO minute_count (run_id, minute_ns, chain_id, receiver_ip, kind, receiver, messages, useful, repeats, echoes, \
    invalid, bytes, rows_lower_bound, heights) \
    SELECT run_id, first_seen_ns - first_seen_ns % 60000000000 AS minute_start, chain_id, receiver_ip, kind, \
    MAX(receiver), SUM(messages), SUM(useful), SUM(repeats), SUM(echoes), SUM(invalid), SUM(bytes), SUM(lower_bound), \
    COUNT(*) \
    FROM message_count WHERE run_id = ? AND first_seen_s BETWEEN ? AND ? \
    GROUP BY run_id, minute_start, chain_id, receiver_ip, kind";

const DELETE_ROUNDS: &str = "DELETE FROM minute_round WHERE run_id = ? AND minute_ns BETWEEN ? AND ?";
/// From preprepare to commit in microseconds and at most an hour: times that a capture claims may lie so far apart that their
/// difference, or a sum of such, is none of 64 bits. What is divided are whole microseconds: MySQL's division keeps what is left over, the
/// others' does not.
const SUM_ROUNDS: &str = "\
    INSERT INTO minute_round (run_id, minute_ns, chain_id, rounds, higher_rounds, highest_sequence, committed, \
    commit_ns_sum, commit_ns_max) \
    SELECT run_id, minute_start, chain_id, COUNT(*), SUM(CASE WHEN round > 0 THEN 1 ELSE 0 END), MAX(sequence), \
    COUNT(took), COALESCE(SUM(took), 0) * 1000, COALESCE(MAX(took), 0) * 1000 FROM (\
    SELECT run_id, preprepare_ns - preprepare_ns % 60000000000 AS minute_start, chain_id, round, sequence, \
    CASE WHEN micros > 3600000000 THEN 3600000000 WHEN micros < 0 THEN 0 ELSE micros END AS took FROM (\
    SELECT run_id, chain_id, round, sequence, preprepare_ns, \
    (committed_ns - committed_ns % 1000) / 1000 - (preprepare_ns - preprepare_ns % 1000) / 1000 AS micros \
    FROM round WHERE run_id = ? AND preprepare_s BETWEEN ? AND ?) AS apart) AS timed \
    GROUP BY run_id, minute_start, chain_id";

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bftap_analysis::facts::{Outcome, RoundFact, RoundStanding};
    use bftap_model::CaptureTime;

    use super::*;

    #[test]
    fn only_minutes_that_heights_were_seen_in_are_summed_anew() {
        let round = |sequence: u64, minute: i64| RoundFact {
            chain: Arc::from("1/0x"),
            sequence,
            round: 0,
            proposer: None,
            validators: None,
            quorum: None,
            preprepare_ns: Some(CaptureTime::from_nanos(minute * MINUTE_NS + 5)),
            prepared_ns: None,
            committed_ns: None,
            messages: 0,
            outcome: Outcome::Open,
            standing: RoundStanding::Entered,
            cause: None,
            block_time_ns: None,
        };
        let batch = Batch {
            rounds: vec![
                round(9, 1000),
                round(1, 2),
                round(1, 4),
                round(10, 1001),
                round(2, 3),
            ],
            ..Batch::default()
        };
        let minutes: Vec<_> = touched(&batch)
            .into_iter()
            .map(|(first, last)| (first / MINUTE_NS, last / MINUTE_NS))
            .collect();
        assert_eq!(minutes, [(2, 4), (1000, 1001)]);
        assert_eq!(touched(&Batch::default()), []);
    }
}
