//! The tables in a database on a server: are they ours, are they of this version, may they be written?

use crate::database::{Driver, RUN_TABLES};
use crate::rows::Value;
use crate::store::Access;
use crate::{SCHEMA, StoreError};

/// How a kind of server is brought to this version's tables.
pub(crate) struct Schema {
    /// Version and SQL of every schema, oldest first. What stands here once is never changed, only added to.
    pub(crate) migrations: &'static [(i64, &'static str)],
    /// What stands for `COLLATE COLLATION` in them.
    pub(crate) collate: &'static str,
    /// Whether the statements of a migration are one transaction.
    pub(crate) transactional: bool,
    /// Names of tables and views where ours would be.
    pub(crate) relations: &'static str,
    /// Waits until no other program makes the tables, and then keeps others waiting.
    pub(crate) lock: &'static str,
    /// Lets others make the tables.
    pub(crate) unlock: &'static str,
}

/// The table that tells ours from other programs' databases, and their version.
const VERSIONS: &str = "bftap_schema";

/// Looks whether the tables can be used, and makes them with [`Access::Write`].
///
/// All of it is asked before captures are read, and nothing of another program is ever changed.
pub(crate) async fn bring_up_to_date<D: Driver>(
    driver: &mut D,
    access: Access,
    schema: &Schema,
) -> Result<(), StoreError> {
    if access == Access::Read {
        let found = version(driver, schema).await?;
        if found < SCHEMA {
            return Err(StoreError::OlderSchema {
                store: driver.store().to_owned(),
                found,
                known: SCHEMA,
            });
        }
        return Ok(());
    }
    // A lock costs a right in no database, and without it two programs would make the same tables.
    run(driver, schema.lock, MAKING).await?;
    let migrated = migrate(driver, schema).await;
    let unlocked = run(driver, schema.unlock, MAKING).await;
    migrated?;
    unlocked?;
    try_writing(driver).await
}

const MAKING: &str = "making the tables";

/// Version of the tables: 0 where there are none. An error if they are not ours, or newer.
async fn version<D: Driver>(driver: &mut D, schema: &Schema) -> Result<i64, StoreError> {
    let relations: Result<Vec<(String,)>, _> = driver.select(schema.relations, &[]).await;
    let relations = relations.map_err(|error| driver.refusal("looking for the tables", error))?;
    let has = |name: &str| relations.iter().any(|(relation,)| relation == name);
    if !has(VERSIONS) {
        let ours = RUN_TABLES
            .iter()
            .chain(&["run", "leftover", "delivery", "consensus_round_counts"]);
        return match ours.into_iter().find(|name| has(name)) {
            Some(name) => Err(StoreError::ForeignTable {
                store: driver.store().to_owned(),
                table: (*name).to_owned(),
            }),
            None => Ok(0),
        };
    }
    let found: Result<Vec<(i64,)>, _> = driver
        .select("SELECT COALESCE(MAX(version), 0) FROM bftap_schema", &[])
        .await;
    let found = found.map_err(|error| driver.refusal("reading the version of the tables", error))?;
    let found = found.first().map_or(0, |(version,)| *version);
    if found > SCHEMA {
        return Err(StoreError::NewerSchema {
            store: driver.store().to_owned(),
            found,
            known: SCHEMA,
        });
    }
    Ok(found)
}

async fn migrate<D: Driver>(driver: &mut D, schema: &Schema) -> Result<(), StoreError> {
    let found = version(driver, schema).await?;
    if found == SCHEMA {
        return Ok(());
    }
    // First: from here on the tables are known as ours, also when the rest does not come to its end.
    run(
        driver,
        "CREATE TABLE IF NOT EXISTS bftap_schema (version BIGINT NOT NULL PRIMARY KEY)",
        MAKING,
    )
    .await?;
    for (version, sql) in schema.migrations.iter().filter(|(version, _)| *version > found) {
        let sql = sql.replace("COLLATE COLLATION", schema.collate);
        if schema.transactional {
            run(driver, "BEGIN", MAKING).await?;
        }
        let made = run(driver, &sql, MAKING).await;
        if let Err(error) = made {
            // Where this fails too, the connection is gone, and the transaction with it.
            let _ = driver.run("ROLLBACK").await;
            return Err(error);
        }
        let noted = driver
            .execute(
                "INSERT INTO bftap_schema (version) VALUES (?)",
                &[Value::int(*version)],
            )
            .await;
        noted.map_err(|error| driver.refusal(MAKING, error))?;
        if schema.transactional {
            run(driver, "COMMIT", MAKING).await?;
        }
    }
    Ok(())
}

/// Whether rows may be written, changed and deleted: better said now than when the captures are read.
async fn try_writing<D: Driver>(driver: &mut D) -> Result<(), StoreError> {
    const DOING: &str = "trying whether rows can be written";
    // No run has such an id: nothing is changed, so that programs that try at the same time are not in each other's way.
    let insert = "INSERT INTO leftover (run_id) SELECT run_id FROM leftover WHERE run_id = ?".to_owned();
    let others = RUN_TABLES.iter().chain(&["leftover"]).flat_map(|table| {
        [
            format!("UPDATE {table} SET run_id = run_id WHERE run_id = ?"),
            format!("DELETE FROM {table} WHERE run_id = ?"),
        ]
    });
    run(driver, "BEGIN", DOING).await?;
    for sql in std::iter::once(insert).chain(others) {
        if let Err(error) = driver.execute(&sql, &[Value::int(-1)]).await {
            let refusal = driver.refusal(DOING, error);
            let _ = driver.run("ROLLBACK").await;
            return Err(refusal);
        }
    }
    run(driver, "ROLLBACK", DOING).await
}

async fn run<D: Driver>(driver: &mut D, sql: &str, doing: &'static str) -> Result<(), StoreError> {
    let done = driver.run(sql).await;
    done.map_err(|error| driver.refusal(doing, error))
}
