//! The store in a SQLite file.
//!
//! Journal in WAL mode: readers (dashboards, `sqlite3`) go on while rows are written, and a crash leaves whole transactions.
//! With `synchronous = NORMAL` a power failure may take the last transactions, never part of one.

mod open;
mod refusal;
mod table;

use std::time::Duration;

use sqlx::sqlite::{SqliteArguments, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection};

use crate::cells::Cells;
use crate::database::{Dialect, Driver, NewId, SqlStore};
use crate::rows::{Cell, ColumnType, Selected, TableRow, Value, read_cells};
use crate::store::{Access, Store};
use crate::{StoreError, StoreUrl};

use refusal::Place;

/// A connection to a SQLite file.
#[derive(Debug)]
pub(crate) struct Sqlite {
    connection: SqliteConnection,
    place: Place,
}

/// How long opening waits for another program's transaction.
const OPEN_WAIT: Duration = Duration::from_secs(5);

/// How long a transaction waits for another program's: removing a big run takes its time.
const WRITE_WAIT: Duration = Duration::from_secs(60);

/// Opens a file, or makes it with [`Access::Write`].
///
/// A new file gets the permissions that the umask leaves: what is stored are results, not secrets.
pub(crate) async fn open(url: &StoreUrl, access: Access) -> Result<SqlStore<Sqlite>, StoreError> {
    let mut sqlite = Sqlite::open(url, access, OPEN_WAIT).await?;
    sqlite.set_wait(WRITE_WAIT).await?;
    Ok(SqlStore::new(sqlite))
}

/// Opens a SQLite file as [`open`](crate::open) does, but every transaction waits only so long for another program's.
pub async fn open_sqlite_waiting(
    url: &StoreUrl,
    access: Access,
    wait: Duration,
) -> Result<Box<dyn Store>, StoreError> {
    Ok(Box::new(SqlStore::new(Sqlite::open(url, access, wait).await?)))
}

impl Sqlite {
    async fn open(url: &StoreUrl, access: Access, wait: Duration) -> Result<Self, StoreError> {
        let place = Place {
            store: url.to_string(),
            wait,
        };
        let connection = open::connect(url, access, &place).await?;
        Ok(Self { connection, place })
    }

    async fn set_wait(&mut self, wait: Duration) -> Result<(), StoreError> {
        let sql = format!("PRAGMA busy_timeout = {}", wait.as_millis());
        let done = self.run(&sql).await;
        done.map_err(|error| self.place.refusal("setting up", error))?;
        self.place.wait = wait;
        Ok(())
    }
}

impl Driver for Sqlite {
    const DIALECT: Dialect = Dialect {
        // Takes the write lock at once: a transaction that reads first and writes later cannot wait for another writer.
        begin: "BEGIN IMMEDIATE",
        begin_snapshot: "BEGIN",
        new_id: NewId::Returned(" RETURNING run_id"),
        delete_piece: "DELETE FROM {table} WHERE run_id = ?",
        // SQLite has no DELETE with a limit here, and a range of keys goes quickly.
        piece: u64::MAX,
        size: "SELECT (SELECT page_count FROM pragma_page_count) * (SELECT page_size FROM pragma_page_size)",
        relation: "SELECT type, sql FROM sqlite_schema WHERE type IN ('table', 'view') AND lower(name) = ?",
        int: "INTEGER",
        replace_view: "DROP VIEW IF EXISTS {name}; CREATE VIEW {name} AS {query}",
    };

    async fn run(&mut self, sql: &str) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }

    async fn execute(&mut self, sql: &str, values: &[Value<'_>]) -> Result<u64, sqlx::Error> {
        let query = sqlx::query_with(AssertSqlSafe(sql), arguments(values)?);
        Ok(query.execute(&mut self.connection).await?.rows_affected())
    }

    async fn select<R: Selected>(&mut self, sql: &str, values: &[Value<'_>]) -> Result<Vec<R>, sqlx::Error> {
        let query = sqlx::query_with(AssertSqlSafe(sql), arguments(values)?);
        let rows = query.fetch_all(&mut self.connection).await?;
        rows.iter().map(|row| R::get(&mut Cells(row))).collect()
    }

    async fn select_cells(
        &mut self,
        sql: &str,
        values: &[Value<'_>],
        types: &[ColumnType],
    ) -> Result<Vec<Vec<Cell>>, sqlx::Error> {
        let query = sqlx::query_with(AssertSqlSafe(sql), arguments(values)?);
        let rows = query.fetch_all(&mut self.connection).await?;
        rows.iter()
            .map(|row| read_cells(&mut Cells(row), types))
            .collect()
    }

    async fn put<R: TableRow>(&mut self, rows: impl Iterator<Item = R> + Send) -> Result<(), sqlx::Error> {
        table::put(&mut self.connection, rows).await
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

fn arguments(values: &[Value<'_>]) -> Result<SqliteArguments, sqlx::Error> {
    let mut arguments = SqliteArguments::default();
    for value in values {
        table::add(&mut arguments, *value).map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}
