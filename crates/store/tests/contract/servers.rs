//! MySQL/MariaDB and PostgreSQL: the contract on servers of the tests' own, and what can be wrong with a server.

use bftap_store::StoreUrl;
use bftap_testkit::servers::{Database, DatabaseServer};
use sqlx::mysql::MySqlConnection;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Decode, Row, Type};

use crate::suite::Backend;

/// An empty database on a server that all tests share. The server's time zone is not UTC.
pub(crate) struct ServerDatabase {
    pub(crate) server: &'static DatabaseServer,
    pub(crate) database: Database,
    pub(crate) name: String,
}

impl ServerDatabase {
    pub(crate) fn new(database: Database) -> Option<Self> {
        let server = DatabaseServer::shared(database)?;
        Some(Self {
            server,
            database,
            name: server.fresh_database(),
        })
    }
}

impl Backend for ServerDatabase {
    fn url(&self) -> StoreUrl {
        self.server.user_url(&self.name).parse().unwrap()
    }

    async fn sql(&self, query: &str) -> Vec<Vec<String>> {
        let url = self.server.user_url(&self.name);
        // Without prepared statements, values come as text, whatever their type.
        match self.database {
            Database::MariaDb => {
                let mut connection = MySqlConnection::connect(&url).await.unwrap();
                sqlx::raw_sql("SET sql_mode = 'ANSI_QUOTES'")
                    .execute(&mut connection)
                    .await
                    .unwrap();
                let rows = sqlx::raw_sql(AssertSqlSafe(query))
                    .fetch_all(&mut connection)
                    .await;
                texts(rows.unwrap_or_else(|error| panic!("{query}: {error}")))
            }
            Database::PostgreSql => {
                let mut connection = PgConnection::connect(&url).await.unwrap();
                let rows = sqlx::raw_sql(AssertSqlSafe(query))
                    .fetch_all(&mut connection)
                    .await;
                texts(rows.unwrap_or_else(|error| panic!("{query}: {error}")))
            }
        }
    }
}

fn texts<R: Row>(rows: Vec<R>) -> Vec<Vec<String>>
where
    usize: sqlx::ColumnIndex<R>,
    for<'r> Option<String>: Decode<'r, R::Database> + Type<R::Database>,
{
    let text = |row: &R, column: usize| {
        let text: Option<String> = row.try_get_unchecked(column).unwrap();
        text.unwrap_or_else(|| "-".to_owned())
    };
    rows.iter()
        .map(|row| (0..row.len()).map(|column| text(row, column)).collect())
        .collect()
}

mod mariadb {
    use super::*;
    crate::suite::contract_tests!(ServerDatabase::new(Database::MariaDb));
}

mod postgresql {
    use super::*;
    crate::suite::contract_tests!(ServerDatabase::new(Database::PostgreSql));
}
