//! `bftap store` on SQLite files; the servers have the same verbs behind the same commands.

use std::fs;

use crate::common::{bftap, network, network_capture, run, scratch};
use bftap_store::StoreUrl;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, Row as _};
use tempfile::TempDir;

fn analyze(folder: &TempDir, more: &str) {
    let network = network().display();
    let line = format!(
        "analyze {} --keylog {network}/net.keylog --nodes {network}/net.nodes.json --store sqlite://x.db {more}",
        network_capture()
    );
    run(folder.path(), &line).ok();
}

fn query(folder: &TempDir, sql: &str) -> Vec<Vec<i64>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(folder.path().join("x.db"));
        let mut connection = options.connect().await.unwrap();
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql.to_owned()))
            .fetch_all(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
        rows.iter()
            .map(|row| (0..row.len()).map(|column| row.get(column)).collect())
            .collect()
    })
}

#[test]
fn init_makes_the_tables_and_check_lists_the_runs() {
    let folder = scratch();
    let ran = run(folder.path(), "store check --store sqlite://x.db");
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("there is no such file"), "{}", ran.stderr);
    assert!(!folder.path().join("x.db").exists(), "checking makes nothing");

    let told = run(folder.path(), "store init --store sqlite://x.db").ok();
    assert_eq!(
        told,
        format!("sqlite://x.db: ready, schema {}, 0 runs\n", bftap_store::SCHEMA)
    );
    assert!(
        run(folder.path(), "store check --store sqlite://x.db")
            .ok()
            .contains("none yet")
    );

    analyze(&folder, "--run night");
    let told = run(folder.path(), "store check --store sqlite://x.db").ok();
    assert!(
        told.contains("night") && told.contains("complete") && told.contains("Everything agrees."),
        "{told}"
    );
    let deliveries = query(&folder, "SELECT COUNT(*) FROM delivery_row")[0][0];
    assert!(
        deliveries > 0 && told.contains(&format!(" {deliveries} ")),
        "{told}"
    );

    // Something is lost that no program of ours would lose.
    query(&folder, "DELETE FROM message_count WHERE kind = 'prepare'");
    let ran = run(folder.path(), "store check --store sqlite://x.db");
    assert_eq!(ran.code, 1, "{}", ran.stdout);
    assert!(
        ran.stderr.contains("minute_count") && ran.stderr.contains("night"),
        "{}",
        ran.stderr
    );
    assert!(!ran.stdout.contains("Everything agrees"));
}

#[test]
fn old_runs_and_old_detail_are_pruned_and_sums_stay() {
    let folder = scratch();
    analyze(&folder, "--run one");
    analyze(&folder, "--run two");
    let sums = "SELECT SUM(messages), SUM(useful) FROM minute_count";
    let before = query(&folder, sums);

    let told = run(
        folder.path(),
        "store prune --store sqlite://x.db --runs-older-than 1h --detail-older-than 100000d",
    )
    .ok();
    assert_eq!(told, "sqlite://x.db: removed 0 runs\n");
    // The capture is years old, the runs are not.
    let told = run(
        folder.path(),
        "store prune --store sqlite://x.db --detail-older-than 1d",
    )
    .ok();
    assert!(
        told.starts_with("sqlite://x.db: removed 0 runs, ") && told.contains(" of delivery"),
        "{told}"
    );
    assert_eq!(query(&folder, "SELECT COUNT(*) FROM delivery_row")[0][0], 0);
    assert_eq!(query(&folder, "SELECT COUNT(*) FROM message_count")[0][0], 0);
    assert_eq!(query(&folder, sums), before);
    assert!(query(&folder, "SELECT value FROM counter WHERE list = 'thinned'").len() >= 4);
    run(folder.path(), "store check --store sqlite://x.db").ok();

    let told = run(
        folder.path(),
        "store prune --store sqlite://x.db --runs-older-than 0s",
    )
    .ok();
    assert!(
        told.contains("removed 2 runs") && told.contains("  one\n") && told.contains("  two\n"),
        "{told}"
    );
    assert_eq!(query(&folder, "SELECT COUNT(*) FROM minute_count")[0][0], 0);
}

#[test]
fn the_original_dashboards_queries_run_on_its_views() {
    let folder = scratch();
    analyze(&folder, "--run night");
    let told = run(
        folder.path(),
        "store original-views --run night --store sqlite://x.db",
    )
    .ok();
    for line in told.lines() {
        assert!(!query(&folder, line).is_empty(), "{line}");
    }
    assert!(told.contains("SELECT round_number, prepare FROM cn1\n"), "{told}");
    let all = query(&folder, "SELECT SUM(prepare) FROM cn1");
    let counted = query(
        &folder,
        "SELECT SUM(messages) FROM message_count WHERE receiver = 'cn1' AND kind = 'prepare'",
    );
    assert_eq!(all, counted);
    // Again, of another run: the views are replaced.
    analyze(&folder, "--run day --sequence 1..1");
    run(folder.path(), "store original-views --store sqlite://x.db").ok();
    assert!(query(&folder, "SELECT SUM(prepare) FROM cn1") < all);

    let ran = run(
        folder.path(),
        "store original-views --run no --store sqlite://x.db",
    );
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr.contains("no complete run named \"no\""),
        "{}",
        ran.stderr
    );
}

#[test]
fn what_makes_no_sense_is_told_before_anything_is_done() {
    let folder = scratch();
    fs::write(folder.path().join("url"), "mysql://ann:hunter2@127.0.0.1:1/bft\n").unwrap();
    for (line, code, part) in [
        ("store check --store none", 2, "there is no store"),
        ("store prune --store sqlite://x.db", 2, "required"),
        (
            "store prune --store sqlite://x.db --runs-older-than 1",
            2,
            "a number and a unit",
        ),
        (
            "store prune --store sqlite://x.db --runs-older-than 1d",
            1,
            "there is no such file",
        ),
        (
            "store original-views --store sqlite://x.db",
            1,
            "there is no such file",
        ),
        ("store check --store oracle://x", 2, "unknown kind of store"),
        (
            "store check --store-file url",
            1,
            "mysql://ann:***@127.0.0.1:1/bft",
        ),
    ] {
        let ran = run(folder.path(), line);
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (code, ""),
            "{line}: {}",
            ran.stderr
        );
        assert!(ran.stderr.contains(part), "{line}: {}", ran.stderr);
        assert!(!ran.stderr.contains("hunter2"), "{line}: {}", ran.stderr);
    }
    let output = bftap(folder.path())
        .args(["store", "init"])
        .env("BFTAP_STORE", "sqlite://env.db")
        .output()
        .unwrap();
    assert!(output.status.success() && folder.path().join("env.db").exists());
    assert!("sqlite://x.db".parse::<StoreUrl>().is_ok());
}
