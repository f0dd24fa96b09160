//! The store in a MySQL or MariaDB database.
//!
//! InnoDB clusters rows by their primary key, and the keys start with the run: rows of a run lie together.

mod meaning;

use sqlx::mysql::{MySqlArguments, MySqlConnectOptions, MySqlConnection};
use sqlx::{Arguments, AssertSqlSafe, ConnectOptions, Connection};

use crate::StoreError;
use crate::cells::Cells;
use crate::database::{Chunks, Dialect, Driver, NewId, SqlStore, insert_values};
use crate::rows::{Cell, ColumnType, Selected, TableRow, Value, read_cells};
use crate::server::{self, Place, Schema};
use crate::store::Access;

/// A connection to a MySQL or MariaDB server.
#[derive(Debug)]
pub(crate) struct MySql {
    connection: MySqlConnection,
    place: Place,
}

/// Rows that one INSERT takes; the smaller sizes are for the rest of a batch, so that few statements stay prepared.
///
/// MySQL takes 65,535 values a statement, which is 1927 of the widest rows.
const ROWS_PER_STATEMENT: &[usize] = &[1024, 128, 16, 1];

/// Bytes of text after which a statement ends: MariaDB's `max_allowed_packet` is 16 MiB by default, and may be less.
const BYTES_PER_STATEMENT: usize = 1 << 20;

/// Opens a database on a server.
pub(crate) async fn open(store: String, url: &str, access: Access) -> Result<SqlStore<MySql>, StoreError> {
    let place = Place {
        store,
        meaning: meaning::of,
    };
    let options: MySqlConnectOptions = url.parse().map_err(|error| place.cannot_connect(error))?;
    if options.get_database().is_none_or(str::is_empty) {
        return Err(StoreError::NoDatabaseNamed { store: place.store });
    }
    let options = options.disable_statement_logging();
    let connection = server::connect(&place, options.connect()).await?;
    let mut mysql = MySql { connection, place };
    let set_up = if access == Access::Read {
        format!("{SESSION}; {READ_ONLY}")
    } else {
        SESSION.to_owned()
    };
    let done = mysql.run(&set_up).await;
    done.map_err(|error| mysql.refusal("setting up", error))?;
    let version: Result<Vec<(String,)>, _> = mysql.select("SELECT VERSION()", &[]).await;
    let version = version.map_err(|error| mysql.refusal("setting up", error))?;
    let maria = version.iter().any(|(version,)| version.contains("MariaDB"));
    let schema = Schema {
        migrations: &[
            (3, include_str!("../../migrations/mysql/0003_all.sql")),
            (4, include_str!("../../migrations/mysql/0004_story.sql")),
            (5, include_str!("../../migrations/mysql/0005_standing_delays.sql")),
        ],
        collate: if maria {
            "COLLATE utf8mb4_nopad_bin"
        } else {
            "COLLATE utf8mb4_0900_bin"
        },
        transactional: false,
        relations: "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()",
        lock: "DO GET_LOCK(CONCAT('bftap ', MD5(DATABASE())), 60)",
        unlock: "DO RELEASE_LOCK(CONCAT('bftap ', MD5(DATABASE())))",
    };
    server::bring_up_to_date(&mut mysql, access, &schema).await?;
    Ok(SqlStore::new(mysql))
}

/// Whatever the server's or the user's settings are: quotes as in standard SQL, no value changed silently, no time zone, and
/// each transaction sees what was committed before each statement, so that no gaps between keys are locked.
const SESSION: &str = "SET SESSION sql_mode = 'ANSI_QUOTES,STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,\
     ONLY_FULL_GROUP_BY,NO_ENGINE_SUBSTITUTION', time_zone = '+00:00', autocommit = 1; \
     SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";

const READ_ONLY: &str = "SET SESSION TRANSACTION READ ONLY";

impl Driver for MySql {
    const DIALECT: Dialect = Dialect {
        begin: "START TRANSACTION",
        begin_snapshot: "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; \
                         START TRANSACTION WITH CONSISTENT SNAPSHOT",
        // MariaDB could return it, MySQL cannot.
        new_id: NewId::Asked("SELECT CAST(LAST_INSERT_ID() AS SIGNED)"),
        delete_piece: "DELETE FROM {table} WHERE run_id = ? LIMIT 20000",
        piece: 20_000,
        size: "SELECT CAST(COALESCE(SUM(data_length + index_length), 0) AS SIGNED) FROM information_schema.tables \
               WHERE table_schema = DATABASE()",
        relation: "SELECT CASE t.table_type WHEN 'VIEW' THEN 'view' ELSE 'table' END, v.view_definition \
                   FROM information_schema.tables AS t LEFT JOIN information_schema.views AS v \
                   ON v.table_schema = t.table_schema AND v.table_name = t.table_name \
                   WHERE t.table_schema = DATABASE() AND t.table_name = ?",
        int: "SIGNED",
        replace_view: "CREATE OR REPLACE VIEW {name} AS {query}",
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
        let mut chunks = Chunks::new(rows, ROWS_PER_STATEMENT, BYTES_PER_STATEMENT);
        while let Some(chunk) = chunks.next() {
            let sql = format!("{} {}", insert_values::<R>(chunk.len()), on_duplicate_key::<R>());
            let mut arguments = MySqlArguments::default();
            let mut added = Ok(());
            for row in &chunk {
                row.put(&mut |value| {
                    if let Err(error) = add(&mut arguments, value) {
                        added = Err(error);
                    }
                });
            }
            added?;
            let query = sqlx::query_with(AssertSqlSafe(sql), arguments);
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

fn arguments(values: &[Value<'_>]) -> Result<MySqlArguments, sqlx::Error> {
    let mut arguments = MySqlArguments::default();
    for value in values {
        add(&mut arguments, *value)?;
    }
    Ok(arguments)
}

fn add(arguments: &mut MySqlArguments, value: Value<'_>) -> Result<(), sqlx::Error> {
    let added = match value {
        Value::Int(value) => arguments.add(value),
        Value::Text(value) => arguments.add(value),
    };
    added.map_err(sqlx::Error::Encode)
}

/// What an INSERT does with a row whose key is there.
fn on_duplicate_key<R: TableRow>() -> String {
    let rest = R::COLUMNS.iter().filter(|column| !R::KEY.contains(column));
    let mut set: Vec<_> = rest
        .map(|column| format!("{column} = VALUES({column})"))
        .collect();
    if set.is_empty() {
        // Nothing to change, but a row that is there must not be an error.
        set.push(format!("{0} = {0}", R::KEY[0]));
    }
    format!("ON DUPLICATE KEY UPDATE {}", set.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::TABLES;

    #[test]
    fn statements_stay_within_the_limit_of_values() {
        const LIMIT: usize = 65_535;
        // Of these only one row is written at a time, and not in this way.
        for table in TABLES.iter().filter(|table| table.name != "run") {
            let columns = table.columns().len();
            assert!(columns * ROWS_PER_STATEMENT[0] <= LIMIT, "{}", table.name);
        }
    }
}
