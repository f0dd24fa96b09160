//! What SQLite's result codes mean to a person. Codes: <https://www.sqlite.org/rescode.html>.

use std::time::Duration;

use crate::StoreError;

const BUSY: i32 = 5;
const LOCKED: i32 = 6;
const READONLY: i32 = 8;
const CORRUPT: i32 = 11;
const FULL: i32 = 13;
const CANTOPEN: i32 = 14;
const NOTADB: i32 = 26;

/// The store that an error is about.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Its URL, for texts.
    pub(super) store: String,
    /// How long SQLite waits for another program's lock.
    pub(super) wait: Duration,
}

impl Place {
    /// The error to report for what SQLite said.
    pub(super) fn refusal(&self, doing: &'static str, source: sqlx::Error) -> StoreError {
        let store = self.store.clone();
        // The low byte is the kind of error, the rest its details.
        match code(&source).map(|code| code & 0xff) {
            Some(BUSY | LOCKED) => StoreError::Locked {
                store,
                waited_ms: self.wait.as_millis(),
            },
            Some(READONLY) => StoreError::ReadOnly { store, source },
            Some(CORRUPT) => StoreError::Damaged { store, source },
            Some(FULL) => StoreError::Full { store },
            Some(CANTOPEN) => StoreError::CannotOpen { store, source },
            Some(NOTADB) => StoreError::NotADatabase { store },
            _ => StoreError::Database { store, doing, source },
        }
    }
}

/// SQLite's extended result code.
fn code(error: &sqlx::Error) -> Option<i32> {
    error.as_database_error()?.code()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use sqlx::ConnectOptions;
    use sqlx::sqlite::SqliteConnectOptions;

    use super::*;

    /// What SQLite says to `sql` on a file that was opened for reading only: file permissions do not bind root, who may
    /// well run these tests.
    async fn error_of(sql: &'static str) -> sqlx::Error {
        let file = tempfile::NamedTempFile::new().unwrap();
        let options = SqliteConnectOptions::new().filename(file.path()).read_only(true);
        let mut connection = options.connect().await.unwrap();
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap_err()
    }

    #[tokio::test]
    async fn a_file_that_must_not_be_written_is_named_so() {
        let place = Place {
            store: "sqlite://a.db".into(),
            wait: Duration::from_secs(1),
        };
        let refusal = place.refusal("testing", error_of("CREATE TABLE t (a)").await);
        assert!(matches!(refusal, StoreError::ReadOnly { .. }), "{refusal:?}");
        assert!(
            refusal
                .to_string()
                .contains("sqlite://a.db: cannot be written; check the permissions")
        );

        let refusal = place.refusal("testing", error_of("SELECT nothing").await);
        assert!(
            matches!(refusal, StoreError::Database { doing: "testing", .. }),
            "{refusal:?}"
        );
    }
}
