//! What a database must be able to do for a store to live in it.

use std::fmt;
use std::future::Future;

use crate::StoreError;
use crate::rows::{Cell, ColumnType, Selected, TableRow, Value};

/// A connection to a database, and how that database speaks.
///
/// Statements are written with `?` for values, in SQL that all databases understand; what they understand differently is in
/// [`Dialect`]. An error of the connection is for [`refusal`](Self::refusal) to put into words.
pub(crate) trait Driver: fmt::Debug + Send + 'static {
    /// How this database says what others say differently.
    const DIALECT: Dialect;

    /// Executes statements without values, as they stand.
    fn run(&mut self, sql: &str) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Executes a statement and gives the number of rows it changed.
    fn execute(
        &mut self,
        sql: &str,
        values: &[Value<'_>],
    ) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;

    /// Gives the rows of a query.
    fn select<R: Selected>(
        &mut self,
        sql: &str,
        values: &[Value<'_>],
    ) -> impl Future<Output = Result<Vec<R>, sqlx::Error>> + Send;

    /// Gives the rows of a query whose columns are of these types.
    fn select_cells(
        &mut self,
        sql: &str,
        values: &[Value<'_>],
        types: &[ColumnType],
    ) -> impl Future<Output = Result<Vec<Vec<Cell>>, sqlx::Error>> + Send;

    /// Writes rows; one with the key of a row that is there takes its place. Of rows with the same key the last one stays.
    fn put<R: TableRow>(
        &mut self,
        rows: impl Iterator<Item = R> + Send,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// The store, for texts; without password.
    fn store(&self) -> &str;

    /// What an error means to a person.
    fn refusal(&self, doing: &'static str, source: sqlx::Error) -> StoreError;

    /// Ends the connection in good order.
    fn close(self) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// SQL that is not the same everywhere.
#[derive(Debug)]
pub(crate) struct Dialect {
    /// Begins a transaction that writes.
    pub(crate) begin: &'static str,
    /// Begins a transaction that reads one state of the store, whatever others write meanwhile.
    pub(crate) begin_snapshot: &'static str,
    /// How the id is asked for that an INSERT into `run` makes.
    pub(crate) new_id: NewId,
    /// Deletes rows of the table `{table}` with a run id: at most [`piece`](Self::piece) of them.
    pub(crate) delete_piece: &'static str,
    /// Most rows that one `delete_piece` takes.
    pub(crate) piece: u64,
    /// Bytes of the store on disk.
    pub(crate) size: &'static str,
    /// Kind (`table` or `view`) and definition of what has a name; no row if nothing has it.
    pub(crate) relation: &'static str,
    /// The type of 64-bit numbers in a `CAST`.
    pub(crate) int: &'static str,
    /// Makes a view `{name}` of a query `{query}`, in place of an earlier one.
    pub(crate) replace_view: &'static str,
}

/// How a database tells the id that it made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NewId {
    /// The INSERT gives it, with this at its end.
    Returned(&'static str),
    /// This query, behind the INSERT.
    Asked(&'static str),
}

/// An INSERT of so many rows, every value a `?`.
pub(crate) fn insert_values<R: TableRow>(rows: usize) -> String {
    let row = format!("({})", vec!["?"; R::COLUMNS.len()].join(","));
    format!(
        "INSERT INTO {} ({}) VALUES {}",
        R::TABLE,
        R::COLUMNS.join(", "),
        vec![row; rows].join(",")
    )
}

/// What an INSERT does with a row whose key is there, where `ON CONFLICT` is known.
pub(crate) fn on_conflict<R: TableRow>() -> String {
    let rest = R::COLUMNS.iter().filter(|column| !R::KEY.contains(column));
    let set: Vec<_> = rest
        .map(|column| format!("{column} = excluded.{column}"))
        .collect();
    let key = R::KEY.join(", ");
    if set.is_empty() {
        return format!("ON CONFLICT ({key}) DO NOTHING");
    }
    format!("ON CONFLICT ({key}) DO UPDATE SET {}", set.join(", "))
}
