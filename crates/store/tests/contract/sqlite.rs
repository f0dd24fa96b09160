//! SQLite: the contract, and what can be wrong with a file.

use std::path::PathBuf;
use std::time::Duration;

use bftap_store::{Access, NewRun, StoreError, StoreUrl, open, open_sqlite_waiting};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, Row, ValueRef};
use tempfile::TempDir;

use crate::facts::{batch, new_run, run_facts};
use crate::suite::{Backend, contract_tests};

/// A file in a folder of its own.
pub(crate) struct SqliteFile {
    folder: TempDir,
}

impl SqliteFile {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("store.db")
    }

    async fn connect(&self) -> SqliteConnection {
        SqliteConnectOptions::new()
            .filename(self.path())
            .create_if_missing(true)
            .connect()
            .await
            .unwrap()
    }

    async fn execute(&self, sql: &'static str) {
        let mut connection = self.connect().await;
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    async fn error(&self, access: Access) -> StoreError {
        open(&self.url(), access)
            .await
            .err()
            .expect("the file must be refused")
    }
}

impl Backend for SqliteFile {
    fn url(&self) -> StoreUrl {
        format!("sqlite://{}", self.path().display()).parse().unwrap()
    }

    async fn sql(&self, query: &str) -> Vec<Vec<String>> {
        let mut connection = self.connect().await;
        let rows = sqlx::query(sqlx::AssertSqlSafe(query))
            .fetch_all(&mut connection)
            .await;
        connection.close().await.unwrap();
        let rows = rows.unwrap_or_else(|error| panic!("{query}: {error}"));
        let text = |row: &sqlx::sqlite::SqliteRow, column: usize| {
            let null = row.try_get_raw(column).unwrap().is_null();
            let number = row.try_get::<i64, _>(column).map(|number| number.to_string());
            let number = number.or_else(|_| row.try_get::<f64, _>(column).map(|number| number.to_string()));
            if null {
                "-".to_owned()
            } else {
                number.unwrap_or_else(|_| row.get::<String, _>(column))
            }
        };
        rows.iter()
            .map(|row| (0..row.len()).map(|column| text(row, column)).collect())
            .collect()
    }
}

contract_tests!(Some(SqliteFile::new()));

#[tokio::test]
async fn a_new_file_gets_tables_and_opening_again_changes_nothing() {
    let file = SqliteFile::new();
    for _ in 0..2 {
        open(&file.url(), Access::Write)
            .await
            .unwrap()
            .close()
            .await
            .unwrap();
        assert_eq!(
            file.sql("SELECT version, description FROM _sqlx_migrations")
                .await,
            [
                ["1", "runs"],
                ["2", "losses"],
                ["3", "live"],
                ["4", "story"],
                ["5", "standing"]
            ]
        );
    }
    assert_eq!(file.sql("PRAGMA journal_mode").await, [["wal"]]);
    // No journal stays behind.
    let left: Vec<_> = std::fs::read_dir(file.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["store.db"]);
}

#[tokio::test]
async fn an_empty_file_becomes_a_store() {
    let file = SqliteFile::new();
    std::fs::write(file.path(), "").unwrap();
    let error = file.error(Access::Read).await;
    assert!(
        matches!(
            error,
            StoreError::OlderSchema {
                found: 0,
                known: 5,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(
        std::fs::metadata(file.path()).unwrap().len(),
        0,
        "reading changes nothing"
    );
    open(&file.url(), Access::Write)
        .await
        .unwrap()
        .close()
        .await
        .unwrap();
    open(&file.url(), Access::Read).await.unwrap();
}

#[tokio::test]
async fn a_store_in_memory_works() {
    let mut store = open(&StoreUrl::SqliteMemory, Access::Write).await.unwrap();
    let run = store.begin_run(&new_run("first"), 1).await.unwrap();
    store.write(run, 1, &batch(5)).await.unwrap();
    store.finish_run(run, 2, &run_facts(), 2).await.unwrap();
    assert_eq!(store.counts(run, 0..=i64::MAX, None, 100).await.unwrap().len(), 6);
}

#[tokio::test]
async fn many_programs_may_make_the_same_store_at_once() {
    let file = SqliteFile::new();
    let threads: Vec<_> = (0..6)
        .map(|number| {
            let url = file.url();
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(async {
                    let mut store = open(&url, Access::Write).await?;
                    let run = store.begin_run(&new_run(&format!("run {number}")), 1).await?;
                    store.write(run, 1, &batch(number)).await?;
                    store.finish_run(run, 2, &run_facts(), 2).await
                })
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap().unwrap();
    }
    assert_eq!(
        file.sql("SELECT COUNT(*) FROM run WHERE state = 'complete'")
            .await,
        [["6"]]
    );
}

#[tokio::test]
async fn a_missing_folder_or_file_is_named() {
    let file = SqliteFile::new();
    let missing: StoreUrl = format!("sqlite://{}/no/store.db", file.folder.path().display())
        .parse()
        .unwrap();
    let error = open(&missing, Access::Write).await.err().unwrap();
    assert!(
        matches!(&error, StoreError::NoFolder { folder, .. } if folder.ends_with("/no")),
        "{error}"
    );
    assert!(error.to_string().contains("create it or name another file"));

    let folder: StoreUrl = format!("sqlite://{}", file.folder.path().display())
        .parse()
        .unwrap();
    let error = open(&folder, Access::Write).await.err().unwrap();
    assert!(matches!(error, StoreError::IsFolder { .. }), "{error}");

    let error = file.error(Access::Read).await;
    assert!(matches!(error, StoreError::NoFile { .. }), "{error}");
    assert!(!file.path().exists(), "reading makes no file");
}

#[tokio::test]
async fn another_kind_of_file_is_left_as_it_is() {
    let file = SqliteFile::new();
    let pcap = [&[0xd4, 0xc3, 0xb2, 0xa1][..], &[7; 8000]].concat();
    for content in [&b"name,value\n"[..], &pcap] {
        std::fs::write(file.path(), content).unwrap();
        for access in [Access::Write, Access::Read] {
            let error = file.error(access).await;
            assert!(matches!(error, StoreError::NotADatabase { .. }), "{error:?}");
            assert_eq!(std::fs::read(file.path()).unwrap(), content);
        }
    }
}

#[tokio::test]
async fn another_programs_database_is_left_as_it_is() {
    for sql in ["CREATE TABLE bookmarks (url TEXT)", "PRAGMA application_id = 77"] {
        let file = SqliteFile::new();
        file.execute(sql).await;
        let before = std::fs::read(file.path()).unwrap();
        for access in [Access::Write, Access::Read] {
            let error = file.error(access).await;
            assert!(matches!(error, StoreError::ForeignDatabase { .. }), "{error:?}");
        }
        assert!(std::fs::read(file.path()).unwrap() == before, "{sql}: unchanged");
    }
}

/// Runs that were stored by the version before stay, and say that they do not know what it did not record.
#[tokio::test]
async fn runs_of_an_earlier_schema_stay_when_the_tables_are_brought_up_to_date() {
    let file = SqliteFile::new();
    // What that version left: its tables, its list of migrations, and a complete run.
    let mut connection = file.connect().await;
    let schema = include_str!("../../migrations/sqlite/0001_runs.sql");
    let list = "CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL, \
                installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL, \
                checksum BLOB NOT NULL, execution_time BIGINT NOT NULL)";
    let checksum = sqlx::migrate::Migration::new(
        1,
        "runs".into(),
        sqlx::migrate::MigrationType::Simple,
        sqlx::SqlSafeStr::into_sql_str(schema),
        false,
    )
    .checksum
    .to_vec();
    for sql in [list, schema] {
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    }
    sqlx::query("INSERT INTO _sqlx_migrations VALUES (1, 'runs', '2026-01-01', 1, ?, 1)")
        .bind(checksum)
        .execute(&mut connection)
        .await
        .unwrap();
    sqlx::raw_sql(
        "INSERT INTO run (name, state, source, program_version, started_ns, batches, packets)
         VALUES ('old', 'complete', 'analyze', '0.1.0', 1, 2, 51);
         INSERT INTO session VALUES (1, 0, 0, '10.0.0.1:1', '10.0.0.2:2', '10.0.0.1', '10.0.0.2', 'lost', NULL, NULL,
         1, 2, 3, 4, 5, '', 6, 7, NULL, NULL, NULL, NULL, NULL, 8, 9);
         INSERT INTO message_count VALUES (1, 0, '10.0.0.1', 'cn1', 5, 0, 'prepare', 6, 3, 2, 1, 0, 7, 1, 61000000000, 1),
         (1, 0, '10.0.0.1', 'cn1', 6, 0, 'prepare', 6, 3, 2, 1, 0, 7, 0, 62000000000, 1)",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();
    let error = file.error(Access::Read).await;
    assert!(
        matches!(
            error,
            StoreError::OlderSchema {
                found: 1,
                known: 5,
                ..
            }
        ),
        "{error}"
    );
    let mut store = open(&file.url(), Access::Write).await.unwrap();
    let old = store.find_run(Some("old")).await.unwrap();
    assert_eq!(
        (old.packets, old.selection, old.frames_lost, old.searched_bytes),
        (51, None, None, None)
    );
    let details = store.details(bftap_store::RunId(old.run_id)).await.unwrap();
    assert_eq!(
        (
            details.sessions[0].frames_lost_from_initiator,
            details.sessions[0].inferred.as_deref()
        ),
        (None, None)
    );
    // Sums per minute are made for what is there.
    assert_eq!(
        file.sql("SELECT minute_ns, minute_s, messages, rows_lower_bound, heights FROM minute_count")
            .await,
        [["60000000000", "60", "12", "1", "2"]]
    );
    assert_eq!(store.check().await.unwrap().problems, [""; 0]);
    let new = store.begin_run(&new_run("new"), 1).await.unwrap();
    store.write(new, 1, &batch(5)).await.unwrap();
    store.finish_run(new, 2, &run_facts(), 2).await.unwrap();
    assert_eq!(store.find_run(None).await.unwrap().frames_lost, Some(67));
    assert_eq!(store.runs().await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_newer_schema_is_left_to_its_own_version() {
    let file = SqliteFile::new();
    open(&file.url(), Access::Write)
        .await
        .unwrap()
        .close()
        .await
        .unwrap();
    file.execute("INSERT INTO _sqlx_migrations VALUES (6, 'later', '2030-01-01', 1, x'00', 1)")
        .await;
    for access in [Access::Write, Access::Read] {
        let error = file.error(access).await;
        assert!(
            matches!(
                error,
                StoreError::NewerSchema {
                    found: 6,
                    known: 5,
                    ..
                }
            ),
            "{error:?}"
        );
        assert!(error.to_string().contains("use that version or another store"));
    }
}

#[tokio::test]
async fn a_damaged_store_is_an_error() {
    let file = SqliteFile::new();
    open(&file.url(), Access::Write)
        .await
        .unwrap()
        .close()
        .await
        .unwrap();
    let mut bytes = std::fs::read(file.path()).unwrap();
    bytes[100..4096].fill(0x5a);
    std::fs::write(file.path(), bytes).unwrap();
    let error = file.error(Access::Write).await;
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
}

#[tokio::test]
async fn a_value_of_a_wrong_type_is_an_error() {
    let file = SqliteFile::new();
    open(&file.url(), Access::Write)
        .await
        .unwrap()
        .close()
        .await
        .unwrap();
    file.execute(
        "DROP VIEW consensus_round_counts; DROP VIEW delivery; DROP TABLE message_count;
         CREATE TABLE message_count AS SELECT 1 AS run_id, 0 AS chain_id, '10.0.0.1' AS receiver_ip, NULL AS receiver,
         5 AS sequence, 0 AS round, 'prepare' AS kind, 'many' AS messages, 0 AS useful, 0 AS repeats, 0 AS echoes,
         0 AS invalid, 0 AS bytes, 0 AS lower_bound, 0 AS first_seen_ns, 0 AS last_seen_ns",
    )
    .await;
    let mut store = open(&file.url(), Access::Read).await.unwrap();
    let error = store
        .counts(bftap_store::RunId(1), 0..=9, None, 10)
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::Database {
                doing: "reading counts",
                ..
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_locked_store_is_waited_for_only_so_long() {
    let file = SqliteFile::new();
    open(&file.url(), Access::Write)
        .await
        .unwrap()
        .close()
        .await
        .unwrap();
    let wait = Duration::from_millis(20);
    let mut store = open_sqlite_waiting(&file.url(), Access::Write, wait)
        .await
        .unwrap();
    let mut other = file.connect().await;
    let held = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let run: NewRun = new_run("first");
    let error = store.begin_run(&run, 1).await.unwrap_err();
    assert!(
        matches!(error, StoreError::Locked { waited_ms: 20, .. }),
        "{error:?}"
    );
    // Readers do not wait.
    let mut reader = open(&file.url(), Access::Read).await.unwrap();
    assert_eq!(reader.runs().await.unwrap(), []);
    held.rollback().await.unwrap();
    store.begin_run(&run, 1).await.unwrap();
}

#[tokio::test]
async fn an_error_in_reading_only_says_so() {
    let file = SqliteFile::new();
    open(&file.url(), Access::Write)
        .await
        .unwrap()
        .close()
        .await
        .unwrap();
    let mut reader = open(&file.url(), Access::Read).await.unwrap();
    let error = reader.begin_run(&new_run("first"), 1).await.unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly { .. }), "{error:?}");
}
