//! Opening a file: is it there, is it ours, are its tables of this version, can it be written?
//!
//! All of it is asked before gigabytes are read, and nothing of another program is ever changed.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, SqlSafeStr};

use crate::store::Access;
use crate::{StoreError, StoreUrl};

use super::refusal::Place;

/// `PRAGMA application_id` of a store: "bftp". The first migration sets it.
const APPLICATION_ID: i64 = 0x6266_7470;

/// Version, name and SQL of every schema, oldest first. What stands here once is never changed, only added to.
const MIGRATIONS: [(i64, &str, &str); 5] = [
    (1, "runs", include_str!("../../migrations/sqlite/0001_runs.sql")),
    (
        2,
        "losses",
        include_str!("../../migrations/sqlite/0002_losses.sql"),
    ),
    (3, "live", include_str!("../../migrations/sqlite/0003_live.sql")),
    (4, "story", include_str!("../../migrations/sqlite/0004_story.sql")),
    (
        5,
        "standing",
        include_str!("../../migrations/sqlite/0005_standing_delays.sql"),
    ),
];

/// How often making the tables is tried: another program may be making them at the same time.
const MIGRATION_ATTEMPTS: u32 = 5;

/// Connects to the store's file and brings it to this version's tables.
pub(super) async fn connect(
    url: &StoreUrl,
    access: Access,
    place: &Place,
) -> Result<SqliteConnection, StoreError> {
    // A file from elsewhere may hold views and triggers made to harm: they get harmless functions only.
    let options = SqliteConnectOptions::new().pragma("trusted_schema", "OFF");
    let options = options.busy_timeout(place.wait).disable_statement_logging();
    let options = match url.file() {
        Some(path) => {
            check_path(path, access, place)?;
            options
                .filename(plain_name(path))
                .create_if_missing(access == Access::Write)
                .read_only(access == Access::Read)
        }
        None => options.in_memory(true),
    };
    let mut connection = options
        .connect()
        .await
        .map_err(|error| place.refusal("opening", error))?;
    let found = schema_version(&mut connection, place).await?;
    let known = MIGRATIONS[MIGRATIONS.len() - 1].0;
    let store = place.store.clone();
    match access {
        _ if found > known => return Err(StoreError::NewerSchema { store, found, known }),
        Access::Read if found < known => return Err(StoreError::OlderSchema { store, found, known }),
        Access::Read => {}
        Access::Write => {
            set_up(&mut connection)
                .await
                .map_err(|error| place.refusal("setting up", error))?;
            migrate(&mut connection, place).await?;
        }
    }
    Ok(connection)
}

/// Says in plain words what SQLite would only call "unable to open".
fn check_path(path: &Path, access: Access, place: &Place) -> Result<(), StoreError> {
    let store = place.store.clone();
    if path.is_dir() {
        return Err(StoreError::IsFolder { store });
    }
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        return Err(StoreError::NoFolder {
            store,
            folder: folder.display().to_string(),
        });
    }
    if access == Access::Read && !path.exists() {
        return Err(StoreError::NoFile { store });
    }
    Ok(())
}

/// A relative path as SQLite takes it literally: `file:` and `:memory:` have a meaning of their own.
fn plain_name(path: &Path) -> PathBuf {
    if path.is_absolute() {
        path.to_owned()
    } else {
        Path::new(".").join(path)
    }
}

/// Version of the tables: 0 for a new or empty database. An error if the file is no store.
async fn schema_version(connection: &mut SqliteConnection, place: &Place) -> Result<i64, StoreError> {
    let doing = |error| place.refusal("opening", error);
    // Tables first: another program may be making them right now, and the id comes with them.
    let tables: Vec<String> = sqlx::query_scalar("SELECT name FROM sqlite_schema")
        .fetch_all(&mut *connection)
        .await
        .map_err(doing)?;
    let application: i64 = sqlx::query_scalar("PRAGMA application_id")
        .fetch_one(&mut *connection)
        .await
        .map_err(doing)?;
    // Between making its list of migrations and the first migration, a new store has no id yet.
    let ours = tables.iter().all(|table| table.contains("_sqlx_migrations"));
    if application != APPLICATION_ID && !(application == 0 && ours) {
        return Err(StoreError::ForeignDatabase {
            store: place.store.clone(),
        });
    }
    if !tables.iter().any(|table| table == "_sqlx_migrations") {
        return Ok(0);
    }
    sqlx::query_scalar("SELECT COALESCE(MAX(version), 0) FROM _sqlx_migrations")
        .fetch_one(connection)
        .await
        .map_err(doing)
}

async fn set_up(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(
        "PRAGMA journal_mode = WAL;
         PRAGMA synchronous = NORMAL;
         -- 32 MiB of journal between checkpoints instead of 4: half the writes of a long run.
         PRAGMA wal_autocheckpoint = 8192;
         -- The journal of a removed run may be large; do not keep it so.
         PRAGMA journal_size_limit = 67108864;
         PRAGMA cache_size = -16384;",
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn migrate(connection: &mut SqliteConnection, place: &Place) -> Result<(), StoreError> {
    let migrations = MIGRATIONS.map(|(version, name, sql)| {
        Migration::new(
            version,
            Cow::Borrowed(name),
            MigrationType::Simple,
            sql.into_sql_str(),
            false,
        )
    });
    let migrator = Migrator::with_migrations(migrations.to_vec());
    let mut attempt = 1;
    loop {
        let Err(error) = migrator.run(&mut *connection).await else {
            return Ok(());
        };
        if attempt == MIGRATION_ATTEMPTS {
            let error = match error {
                sqlx::migrate::MigrateError::Execute(error) => error,
                sqlx::migrate::MigrateError::ExecuteMigration(error, _) => error,
                other => sqlx::Error::Migrate(Box::new(other)),
            };
            return Err(place.refusal("making the tables", error));
        }
        attempt += 1;
        tokio::time::sleep(place.wait / 50).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_a_meaning_to_sqlite_are_taken_literally() {
        for (path, name) in [
            ("run.db", "./run.db"),
            ("file:x?mode=memory", "./file:x?mode=memory"),
            (":memory:", "./:memory:"),
            ("/var/lib/run.db", "/var/lib/run.db"),
        ] {
            assert_eq!(plain_name(Path::new(path)), PathBuf::from(name));
        }
    }
}
