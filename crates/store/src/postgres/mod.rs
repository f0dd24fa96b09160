//! The store in a PostgreSQL database.

mod meaning;

use std::collections::HashMap;

use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgRow};
use sqlx::{Arguments, AssertSqlSafe, ConnectOptions, Connection, Row, TypeInfo, ValueRef};

use crate::StoreError;
use crate::database::{Chunks, Dialect, Driver, NewId, SqlStore, on_conflict};
use crate::rows::{Cell, ColumnType, Columns, Holds, Selected, TableRow, Value, read_cells};
use crate::server::{self, Place, Schema};
use crate::store::Access;

/// A connection to a PostgreSQL server.
#[derive(Debug)]
pub(crate) struct Postgres {
    connection: PgConnection,
    place: Place,
}

/// Rows that one INSERT takes: columns travel as arrays, so any number is the same statement.
const ROWS_PER_STATEMENT: usize = 8192;

/// Bytes of text after which a statement ends.
const BYTES_PER_STATEMENT: usize = 8 << 20;

/// Opens a database on a server.
pub(crate) async fn open(store: String, url: &str, access: Access) -> Result<SqlStore<Postgres>, StoreError> {
    let place = Place {
        store,
        meaning: meaning::of,
    };
    let options: PgConnectOptions = url.parse().map_err(|error| place.cannot_connect(error))?;
    if options.get_database().is_none_or(str::is_empty) {
        return Err(StoreError::NoDatabaseNamed { store: place.store });
    }
    let options = options.disable_statement_logging().application_name("bftap");
    let connection = server::connect(&place, options.connect()).await?;
    let mut postgres = Postgres { connection, place };
    let set_up = if access == Access::Read {
        format!("{SESSION}; {READ_ONLY}")
    } else {
        SESSION.to_owned()
    };
    let done = postgres.run(&set_up).await;
    done.map_err(|error| postgres.refusal("setting up", error))?;
    let schema = Schema {
        migrations: &[
            (3, include_str!("../../migrations/postgres/0003_all.sql")),
            (4, include_str!("../../migrations/postgres/0004_story.sql")),
            (
                5,
                include_str!("../../migrations/postgres/0005_standing_delays.sql"),
            ),
        ],
        collate: "",
        transactional: true,
        relations: "SELECT relname::text FROM pg_catalog.pg_class WHERE relnamespace = \
                    (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = current_schema()) \
                    AND relkind IN ('r', 'p', 'v', 'm', 'f')",
        lock: "SELECT pg_advisory_lock(hashtextextended('bftap ' || current_schema(), 0))",
        unlock: "SELECT pg_advisory_unlock(hashtextextended('bftap ' || current_schema(), 0))",
    };
    server::bring_up_to_date(&mut postgres, access, &schema).await?;
    Ok(SqlStore::new(postgres))
}

/// Whatever the server's or the user's settings are: no time zone, strings as in standard SQL, and each statement sees what
/// was committed before it. A lock that does not come within a minute is an error, not a program that hangs.
const SESSION: &str = "SET TIME ZONE 'UTC'; SET standard_conforming_strings = on; \
     SET default_transaction_isolation = 'read committed'; SET lock_timeout = '60s'; SET client_min_messages = warning";

const READ_ONLY: &str = "SET default_transaction_read_only = on";

impl Driver for Postgres {
    const DIALECT: Dialect = Dialect {
        begin: "BEGIN",
        begin_snapshot: "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        new_id: NewId::Returned(" RETURNING run_id"),
        delete_piece: "DELETE FROM {table} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {table} WHERE run_id = ? LIMIT 50000))",
        piece: 50_000,
        size: "SELECT COALESCE(SUM(pg_total_relation_size(oid)), 0)::bigint FROM pg_catalog.pg_class \
               WHERE relkind = 'r' AND relnamespace = \
               (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = current_schema())",
        relation: "SELECT CASE WHEN relkind = 'v' THEN 'view' ELSE 'table' END, \
                   CASE WHEN relkind = 'v' THEN pg_get_viewdef(oid) END FROM pg_catalog.pg_class \
                   WHERE relnamespace = \
                   (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = current_schema()) AND relname = ?",
        int: "BIGINT",
        replace_view: "CREATE OR REPLACE VIEW {name} AS {query}",
    };

    async fn run(&mut self, sql: &str) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }

    async fn execute(&mut self, sql: &str, values: &[Value<'_>]) -> Result<u64, sqlx::Error> {
        let query = sqlx::query_with(AssertSqlSafe(numbered(sql)), arguments(values)?);
        Ok(query.execute(&mut self.connection).await?.rows_affected())
    }

    async fn select<R: Selected>(&mut self, sql: &str, values: &[Value<'_>]) -> Result<Vec<R>, sqlx::Error> {
        let query = sqlx::query_with(AssertSqlSafe(numbered(sql)), arguments(values)?);
        let rows = query.fetch_all(&mut self.connection).await?;
        rows.iter().map(|row| R::get(&mut PgCells(row))).collect()
    }

    async fn select_cells(
        &mut self,
        sql: &str,
        values: &[Value<'_>],
        types: &[ColumnType],
    ) -> Result<Vec<Vec<Cell>>, sqlx::Error> {
        let query = sqlx::query_with(AssertSqlSafe(numbered(sql)), arguments(values)?);
        let rows = query.fetch_all(&mut self.connection).await?;
        rows.iter()
            .map(|row| read_cells(&mut PgCells(row), types))
            .collect()
    }

    async fn put<R: TableRow>(&mut self, rows: impl Iterator<Item = R> + Send) -> Result<(), sqlx::Error> {
        let sql: std::sync::Arc<str> = insert_arrays::<R>().into();
        let mut chunks = Chunks::new(rows, &[ROWS_PER_STATEMENT], BYTES_PER_STATEMENT).of_any_size();
        while let Some(chunk) = chunks.next() {
            let arguments = columns(&last_of_each_key(chunk))?;
            let query = sqlx::query_with(AssertSqlSafe(std::sync::Arc::clone(&sql)), arguments);
            query.execute(&mut self.connection).await?;
        }
        Ok(())
    }

    fn store(&self) -> &str {
        &self.place.store
    }

    fn refusal(&self, doing: &'static str, source: sqlx::Error) -> StoreError {
        self.place.refusal(doing, source)
    }

    async fn close(self) -> Result<(), StoreError> {
        let Self { connection, place } = self;
        let closed = connection.close().await;
        closed.map_err(|error| place.refusal("closing", error))
    }
}

/// `$1`, `$2`, ... for each `?`: no text of ours has one in quotes.
fn numbered(sql: &str) -> String {
    let mut numbered = String::with_capacity(sql.len() + 16);
    for (number, part) in sql.split('?').enumerate() {
        if number > 0 {
            numbered.push_str(&format!("${number}"));
        }
        numbered.push_str(part);
    }
    numbered
}

fn arguments(values: &[Value<'_>]) -> Result<PgArguments, sqlx::Error> {
    let mut arguments = PgArguments::default();
    for value in values {
        let added = match *value {
            Value::Int(value) => arguments.add(value),
            Value::Text(value) => arguments.add(value),
        };
        added.map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

/// Rows as one array a column.
fn insert_arrays<R: TableRow>() -> String {
    let arrays: Vec<_> = (1..)
        .zip(R::TYPES)
        .map(|(number, of)| {
            format!(
                "${number}::{}[]",
                if of.holds == Holds::Text { "text" } else { "bigint" }
            )
        })
        .collect();
    format!(
        "INSERT INTO {} ({}) SELECT * FROM UNNEST({}) {}",
        R::TABLE,
        R::COLUMNS.join(", "),
        arrays.join(", "),
        on_conflict::<R>()
    )
}

fn columns<R: TableRow>(rows: &[R]) -> Result<PgArguments, sqlx::Error> {
    let mut ints: Vec<Vec<Option<i64>>> = vec![Vec::new(); R::COLUMNS.len()];
    let mut texts: Vec<Vec<Option<String>>> = vec![Vec::new(); R::COLUMNS.len()];
    for row in rows {
        let mut column = 0;
        row.put(&mut |value| {
            match value {
                Value::Int(value) => ints[column].push(value),
                Value::Text(value) => texts[column].push(value.map(str::to_owned)),
            }
            column += 1;
        });
    }
    let mut arguments = PgArguments::default();
    for ((ints, texts), of) in ints.into_iter().zip(texts).zip(R::TYPES) {
        let added = if of.holds == Holds::Text {
            arguments.add(texts)
        } else {
            arguments.add(ints)
        };
        added.map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

/// Rows without those whose key comes again later: PostgreSQL changes no row twice in one statement.
fn last_of_each_key<R: TableRow>(rows: Vec<R>) -> Vec<R> {
    let in_key: Vec<bool> = R::COLUMNS.iter().map(|column| R::KEY.contains(column)).collect();
    let mut places: HashMap<Vec<u8>, usize> = HashMap::with_capacity(rows.len());
    let mut last: Vec<R> = Vec::with_capacity(rows.len());
    for row in rows {
        let mut key = Vec::with_capacity(80);
        let mut column = 0;
        row.put(&mut |value| {
            if in_key[column] {
                match value {
                    Value::Int(value) => key.extend(value.unwrap_or_default().to_le_bytes()),
                    Value::Text(value) => {
                        let text = value.unwrap_or_default();
                        key.extend(text.len().to_le_bytes());
                        key.extend(text.as_bytes());
                    }
                }
            }
            column += 1;
        });
        match places.entry(key) {
            std::collections::hash_map::Entry::Occupied(place) => last[*place.get()] = row,
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(last.len());
                last.push(row);
            }
        }
    }
    last
}

/// Columns by position; whole numbers of any width.
struct PgCells<'a>(&'a PgRow);

impl Columns for PgCells<'_> {
    type Error = sqlx::Error;

    fn int(&mut self, column: usize) -> Result<i64, sqlx::Error> {
        self.0.try_get::<i64, _>(column).or_else(|error| {
            let width = self.0.try_get_raw(column)?.type_info().name().to_owned();
            match &*width {
                "INT2" => Ok(i64::from(self.0.try_get::<i16, _>(column)?)),
                "INT4" => Ok(i64::from(self.0.try_get::<i32, _>(column)?)),
                _ => Err(error),
            }
        })
    }

    fn optional_int(&mut self, column: usize) -> Result<Option<i64>, sqlx::Error> {
        if self.0.try_get_raw(column)?.is_null() {
            return Ok(None);
        }
        self.int(column).map(Some)
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
    use crate::rows::CopiesRow;

    #[test]
    fn values_are_numbered() {
        assert_eq!(
            numbered("a = ? AND (b, c) > (?, ?)"),
            "a = $1 AND (b, c) > ($2, $3)"
        );
        assert_eq!(numbered("SELECT 1"), "SELECT 1");
    }

    #[test]
    fn of_rows_with_one_key_the_last_stays() {
        let row = |copies, payloads| CopiesRow {
            run_id: 1,
            receiver_ip: "10.0.0.1".into(),
            copies,
            payloads,
        };
        let rows = last_of_each_key(vec![row(1, 5), row(2, 6), row(1, 7)]);
        assert_eq!(rows, [row(1, 7), row(2, 6)]);
    }
}
