//! The examples of `docs/SCHEMA.md` on what `bftap analyze` really stores.

use std::fs;

use crate::common::{network, network_capture, run, scratch};
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{ConnectOptions as _, Row as _};

const PAGE: &str = include_str!("../../../../docs/SCHEMA.md");

#[test]
fn the_examples_find_what_they_promise_also_with_names_by_address_only() {
    let folder = scratch();
    let known: Vec<Value> =
        serde_json::from_slice(&fs::read(network().join("net.nodes.json")).unwrap()).unwrap();
    let by_ip: Vec<_> = known
        .iter()
        .map(|node| json!({"name": node["name"], "ip": node["ip"]}))
        .collect();
    fs::write(
        folder.path().join("by-ip.json"),
        serde_json::to_vec(&by_ip).unwrap(),
    )
    .unwrap();
    let keylog = network().join("net.keylog").display().to_string();
    let line = format!(
        "analyze {} --keylog {keylog} --nodes by-ip.json --store sqlite://x.db",
        network_capture()
    );
    run(folder.path(), &line).ok();
    // A part of the same captures is another run; the examples ask for the latest.
    run(folder.path(), &format!("{line} --sequence 1..1")).ok();
    run(folder.path(), &format!("{line} --run latest")).ok();

    let examples = || {
        PAGE.split("```sql\n")
            .skip(1)
            .filter_map(|rest| rest.split_once("```"))
            .map(|(sql, _)| sql)
    };
    // A network without losses and trouble has none of what these look for.
    let troubled = ["FROM session", "FROM vote", "FROM waste"];
    for sql in examples().filter(|sql| !troubled.iter().any(|from| sql.contains(from))) {
        assert!(!rows(&folder, sql).is_empty(), "{sql}");
    }
    let first_hand = examples().find(|sql| sql.contains("first_hand")).unwrap();
    let rows_of_senders = rows(&folder, first_hand);
    assert!(
        rows_of_senders
            .iter()
            .all(|row| row.get::<i64, _>("first_hand") > 0 && row.get::<i64, _>("copies") > 0),
        "every validator hands over its own votes: sender and signer must be named alike"
    );
    let span = examples().find(|sql| sql.contains("start_s")).unwrap();
    let copies = |seconds: &str| -> i64 {
        let sql = span.replace("first_seen_s + 5", &format!("first_seen_s + {seconds}"));
        rows(&folder, &sql)
            .iter()
            .map(|row| row.get::<i64, _>("copies"))
            .sum()
    };
    assert_eq!(copies("-1"), 0);
    assert!(
        0 < copies("3") && copies("3") < copies("100"),
        "{} {}",
        copies("3"),
        copies("100")
    );
}

fn rows(folder: &tempfile::TempDir, sql: &str) -> Vec<SqliteRow> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut connection = SqliteConnectOptions::new()
            .filename(folder.path().join("x.db"))
            .connect()
            .await
            .unwrap();
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .fetch_all(&mut connection)
            .await
            .unwrap_or_else(|error| panic!("{error}: {sql}"))
    })
}
