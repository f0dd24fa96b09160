//! Rounds, the latest first.

use bftap_store::rows::Cell;
use serde_json::{Value, json};

use super::reader::{COUNTS, Reader, cut, int};
use crate::Problem;

/// Which rounds.
pub(super) struct Wanted {
    pub(super) from: Option<i64>,
    pub(super) to: Option<i64>,
    pub(super) chain: Option<i64>,
    /// Those behind this sequence, round and chain in the list.
    pub(super) before: Option<(i64, i64, i64)>,
    pub(super) above_zero: bool,
    /// Those, too, that are only spoken of.
    pub(super) claimed: bool,
}

pub(super) async fn rounds(reader: &mut Reader<'_>, wanted: &Wanted, limit: u32) -> Result<Value, Problem> {
    let mut sql = String::new();
    let mut values: Vec<Cell> = Vec::new();
    let mut add = |condition: &str, of: &[i64]| {
        sql.push_str(condition);
        values.extend(of.iter().copied().map(int));
    };
    if let Some(from) = wanted.from {
        add(" AND sequence >= ?", &[from]);
    }
    if let Some(to) = wanted.to {
        add(" AND sequence <= ?", &[to]);
    }
    if let Some(chain) = wanted.chain {
        add(" AND chain_id = ?", &[chain]);
    }
    if wanted.above_zero {
        add(" AND round > 0", &[]);
    }
    if !wanted.claimed {
        add(&format!(" AND {COUNTS}"), &[]);
    }
    if let Some((sequence, round, chain)) = wanted.before {
        // The first condition is what databases find in their index.
        add(
            " AND sequence <= ? AND (sequence < ? OR (sequence = ? AND (round < ? OR (round = ? AND chain_id < ?))))",
            &[sequence, sequence, sequence, round, round, chain],
        );
    }
    sql.push_str(&format!(
        " ORDER BY sequence DESC, round DESC, chain_id DESC LIMIT {}",
        limit + 1
    ));
    let mut rows = reader.table("round", &sql, &values).await?;
    let more = cut(&mut rows, limit);
    let next = rows
        .last()
        .filter(|_| more)
        .map(|row| format!("{},{},{}", row["sequence"], row["round"], row["chain_id"]));
    Ok(json!({ "rounds": rows, "more": more, "next": next }))
}
