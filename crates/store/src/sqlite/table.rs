//! Rows into SQLite, many at a time.

use std::sync::Arc;

use sqlx::error::BoxDynError;
use sqlx::sqlite::{SqliteArguments, SqliteConnection};
use sqlx::{Arguments, AssertSqlSafe};

use crate::database::on_conflict;
use crate::rows::{TableRow, Value};

/// Rows that one INSERT takes.
///
/// A statement costs two changes of threads in sqlx, so few rows a statement is slow: `benches/delivery.rs` stores 196,000
/// rows a second at 32 rows, 370,000 at 128, 406,000 at 512, 509,000 at 2048 (on two busy cores). SQLite takes 32,766 values a
/// statement, which is 1170 of the widest rows. The smaller sizes are for the rest of a batch: few sizes, so that each
/// statement stays prepared.
const ROWS_PER_STATEMENT: [usize; 4] = [1024, 128, 16, 1];

/// Writes rows; the transaction around it decides whether they stay.
pub(super) async fn put<R: TableRow>(
    connection: &mut SqliteConnection,
    mut rows: impl Iterator<Item = R> + Send,
) -> Result<(), sqlx::Error> {
    let mut waiting = Vec::new();
    for size in ROWS_PER_STATEMENT {
        let sql: Arc<str> = insert_sql::<R>(size).into();
        loop {
            waiting.extend(rows.by_ref().take(size.saturating_sub(waiting.len())));
            if waiting.len() < size {
                break;
            }
            let arguments = arguments(waiting.drain(..size)).map_err(sqlx::Error::Encode)?;
            let query = sqlx::query_with(AssertSqlSafe(Arc::clone(&sql)), arguments);
            query.execute(&mut *connection).await?;
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
            if let Err(error) = add(&mut arguments, value) {
                added = Err(error);
            }
        });
    }
    added.map(|()| arguments)
}

pub(super) fn add(arguments: &mut SqliteArguments, value: Value<'_>) -> Result<(), BoxDynError> {
    match value {
        Value::Int(value) => arguments.add(value),
        Value::Text(value) => arguments.add(value),
    }
}

fn insert_sql<R: TableRow>(rows: usize) -> String {
    let row = format!("({})", vec!["?"; R::COLUMNS.len()].join(","));
    format!(
        "INSERT INTO {} ({}) VALUES {} {}",
        R::TABLE,
        R::COLUMNS.join(", "),
        vec![row; rows].join(","),
        on_conflict::<R>()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::{CountRow, SessionRow};

    #[test]
    fn statements_stay_within_sqlites_limit_of_values() {
        const LIMIT: usize = 32_766;
        for columns in [SessionRow::COLUMNS, CountRow::COLUMNS] {
            assert!(columns.len() * ROWS_PER_STATEMENT[0] <= LIMIT, "{columns:?}");
        }
    }
}
