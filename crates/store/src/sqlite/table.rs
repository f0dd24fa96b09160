//! Rows into SQLite, many at a time.

use sqlx::error::BoxDynError;
use sqlx::sqlite::{SqliteArguments, SqliteConnection};
use sqlx::{Arguments, AssertSqlSafe};

use crate::database::{Chunks, insert_values, on_conflict};
use crate::rows::{TableRow, Value};

/// Rows that one INSERT takes.
///
/// A statement costs two changes of threads in sqlx, so few rows a statement is slow: `benches/delivery.rs` stores 196,000
/// rows a second at 32 rows, 370,000 at 128, 406,000 at 512, 509,000 at 2048 (on two busy cores). SQLite takes 32,766 values a
/// statement, which is 1170 of the widest rows. The smaller sizes are for the rest of a batch: few sizes, so that each
/// statement stays prepared.
const ROWS_PER_STATEMENT: &[usize] = &[1024, 128, 16, 1];

/// Writes rows; the transaction around it decides whether they stay.
pub(super) async fn put<R: TableRow>(
    connection: &mut SqliteConnection,
    rows: impl Iterator<Item = R> + Send,
) -> Result<(), sqlx::Error> {
    let mut chunks = Chunks::new(rows, ROWS_PER_STATEMENT, usize::MAX);
    while let Some(chunk) = chunks.next() {
        let sql = format!("{} {}", insert_values::<R>(chunk.len()), on_conflict::<R>());
        let arguments = arguments(chunk.into_iter()).map_err(sqlx::Error::Encode)?;
        let query = sqlx::query_with(AssertSqlSafe(sql), arguments);
        query.execute(&mut *connection).await?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::TABLES;

    #[test]
    fn statements_stay_within_sqlites_limit_of_values() {
        const LIMIT: usize = 32_766;
        // `run` is written one row at a time, and not in this way.
        for table in TABLES.iter().filter(|table| table.name != "run") {
            let columns = table.columns().len();
            assert!(columns * ROWS_PER_STATEMENT[0] <= LIMIT, "{}", table.name);
        }
    }
}
