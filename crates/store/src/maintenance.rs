//! What it takes and gives to look after a store.

use crate::rows::RunRow;

/// What [`Store::check`](crate::Store::check) found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreCheck {
    /// Version of the tables.
    pub schema: i64,
    /// Bytes that the store takes on disk, as the database tells it.
    pub bytes: i64,
    /// Every run, the latest first, and its rows by table.
    pub runs: Vec<CheckedRun>,
    /// What does not agree, in words; empty if all is well.
    pub problems: Vec<String>,
}

/// A run and its size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedRun {
    /// The run.
    pub run: RunRow,
    /// Tables that hold rows of it, and how many.
    pub rows: Vec<(&'static str, i64)>,
}

/// What [`Store::prune`](crate::Store::prune) is to remove.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prune {
    /// Complete and failed runs that ended before this time of the machine's clock are removed, and those that were killed and not written
    /// since.
    pub runs_before_ns: Option<i64>,
    /// Of complete runs that stay, and of monitors that go on, rows of heights before this capture time are removed; their sums per minute stay.
    pub detail_before_ns: Option<i64>,
}

/// What [`Store::prune`](crate::Store::prune) removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Names of the runs.
    pub runs: Vec<String>,
    /// Rows of runs that stayed, by table.
    pub rows: Vec<(&'static str, i64)>,
}
