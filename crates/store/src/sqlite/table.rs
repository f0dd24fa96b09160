//! Rows in and out of SQLite, many at a time.

use std::sync::Arc;

use sqlx::error::BoxDynError;
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{Arguments, AssertSqlSafe, Row};

use crate::StoreError;
use crate::rows::{Columns, TableRow, Value};
use crate::store::RunId;

use super::refusal::{Place, is_duplicate};

/// Rows that one INSERT takes.
///
/// A statement costs two changes of threads in sqlx, so few rows a statement is slow: `benches/delivery.rs` stores 196,000
/// rows a second at 32 rows, 370,000 at 128, 406,000 at 512, 509,000 at 2048 (on two busy cores). SQLite takes 32,766 values a
/// statement, which is 1170 of the widest rows. The smaller sizes are for the rest of a batch: few sizes, so that each
/// statement stays prepared.
const ROWS_PER_STATEMENT: [usize; 4] = [1024, 128, 16, 1];

/// Writes rows; the transaction around it decides whether they stay.
pub(super) async fn insert<R: TableRow>(
    connection: &mut SqliteConnection,
    place: &Place,
    run: RunId,
    mut rows: impl Iterator<Item = R>,
) -> Result<(), StoreError> {
    let mut waiting = Vec::new();
    for size in ROWS_PER_STATEMENT {
        let sql: Arc<str> = insert_sql::<R>(size).into();
        loop {
            waiting.extend(rows.by_ref().take(size.saturating_sub(waiting.len())));
            if waiting.len() < size {
                break;
            }
            let arguments = arguments(waiting.drain(..size));
            let arguments =
                arguments.map_err(|error| place.refusal("writing rows", sqlx::Error::Encode(error)))?;
            let query = sqlx::query_with(AssertSqlSafe(Arc::clone(&sql)), arguments);
            query.execute(&mut *connection).await.map_err(|error| {
                if is_duplicate(&error) {
                    return StoreError::Duplicate {
                        store: place.store.clone(),
                        table: R::TABLE,
                        run,
                    };
                }
                place.refusal("writing rows", error)
            })?;
        }
    }
    Ok(())
}

fn arguments<R: TableRow>(rows: impl ExactSizeIterator<Item = R>) -> Result<SqliteArguments, BoxDynError> {
    let mut arguments = SqliteArguments::default();
    arguments.reserve(rows.len() * R::COLUMNS.len(), 0);
    let mut added = Ok(());
    for row in rows {
        row.put(&mut |value| {
            let this = match value {
                Value::Int(value) => arguments.add(value),
                Value::Text(value) => arguments.add(value),
            };
            if let Err(error) = this {
                added = Err(error);
            }
        });
    }
    added.map(|()| arguments)
}

fn insert_sql<R: TableRow>(rows: usize) -> String {
    let row = format!("({})", vec!["?"; R::COLUMNS.len()].join(","));
    format!(
        "INSERT INTO {} ({}) VALUES {}",
        R::TABLE,
        R::COLUMNS.join(", "),
        vec![row; rows].join(",")
    )
}

/// Reads a run's rows of a table in the given order.
pub(super) async fn select<R: TableRow>(
    connection: &mut SqliteConnection,
    run: RunId,
    order: &'static str,
) -> Result<Vec<R>, sqlx::Error> {
    let sql = format!(
        "SELECT {} FROM {} WHERE run_id = ? ORDER BY {order}",
        R::COLUMNS.join(", "),
        R::TABLE
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(run.0)
        .fetch_all(connection)
        .await?;
    rows.iter().map(row).collect()
}

/// A row whose columns were selected in the order of `R::COLUMNS`.
pub(super) fn row<R: TableRow>(row: &SqliteRow) -> Result<R, sqlx::Error> {
    R::get(&mut Cells(row))
}

struct Cells<'a>(&'a SqliteRow);

impl Columns for Cells<'_> {
    type Error = sqlx::Error;

    fn int(&mut self, column: usize) -> Result<i64, sqlx::Error> {
        self.0.try_get(column)
    }

    fn optional_int(&mut self, column: usize) -> Result<Option<i64>, sqlx::Error> {
        self.0.try_get(column)
    }

    fn text(&mut self, column: usize) -> Result<String, sqlx::Error> {
        self.0.try_get(column)
    }

    fn optional_text(&mut self, column: usize) -> Result<Option<String>, sqlx::Error> {
        self.0.try_get(column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::{CountRow, RunRow, SessionRow};

    #[test]
    fn statements_stay_within_sqlites_limit_of_values() {
        const LIMIT: usize = 32_766;
        for columns in [SessionRow::COLUMNS, RunRow::COLUMNS, CountRow::COLUMNS] {
            assert!(columns.len() * ROWS_PER_STATEMENT[0] <= LIMIT, "{columns:?}");
        }
    }
}
