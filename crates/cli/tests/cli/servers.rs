//! `bftap analyze` into MariaDB and PostgreSQL: the answers of real captures, and what is said when a server is no good.

use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;

use bftap_testkit::servers::{Database, DatabaseServer};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, MySqlConnection, PgConnection, Row as _};

use crate::common::{bftap, network, network_capture, scratch, shared};

const BOTH: [Database; 2] = [Database::MariaDb, Database::PostgreSql];

/// Texts of a query's rows, as the database gives them to dashboards.
fn query(database: Database, url: &str, sql: &str) -> Vec<Vec<String>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    // Text protocol: every value is a text.
    runtime.block_on(async {
        match database {
            Database::MariaDb => {
                let mut connection = MySqlConnection::connect(url).await.unwrap();
                let rows = sqlx::raw_sql(AssertSqlSafe(sql))
                    .fetch_all(&mut connection)
                    .await
                    .unwrap();
                rows.iter()
                    .map(|row| (0..row.len()).map(|at| row.get_unchecked(at)).collect())
                    .collect()
            }
            Database::PostgreSql => {
                let mut connection = PgConnection::connect(url).await.unwrap();
                let rows = sqlx::raw_sql(AssertSqlSafe(sql))
                    .fetch_all(&mut connection)
                    .await
                    .unwrap();
                rows.iter()
                    .map(|row| (0..row.len()).map(|at| row.get_unchecked(at)).collect())
                    .collect()
            }
        }
    })
}

/// The counts of an answer file, as rows of the original's view, sorted: node's IP address, sequence, and the messages by kind.
fn answers(expected: &Value, ips: &BTreeMap<String, String>) -> Vec<Vec<String>> {
    let mut rows: BTreeMap<(String, u64), [u64; 4]> = BTreeMap::new();
    for count in expected["counts"].as_array().unwrap() {
        let ip = count["receiver"].as_str().unwrap();
        let node = ips.get(ip).map_or(ip, String::as_str).to_owned();
        let kinds = ["preprepare", "prepare", "commit", "roundchange"];
        let kind = kinds.iter().position(|kind| count["kind"] == *kind).unwrap();
        rows.entry((node, count["sequence"].as_u64().unwrap()))
            .or_default()[kind] += count["messages"].as_u64().unwrap();
    }
    let mut rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|((node, sequence), kinds)| {
            [node, sequence.to_string()]
                .into_iter()
                .chain(kinds.map(|kind| kind.to_string()))
                .collect()
        })
        .collect();
    rows.sort();
    rows
}

#[test]
fn every_database_has_the_answers_of_real_captures_in_the_originals_view() {
    for (set, captures, answer) in [
        ("klaytn-7cn", &["tap1.pcap"][..], "tap1.expected.json"),
        (
            "klaytn-4cn-faults",
            &["tap1.pcap", "tap2.pcap", "tap3.pcap", "tap4.pcap"],
            "all-taps.expected.json",
        ),
        (
            "quorum-4",
            &["tap1.pcap", "tap2.pcap", "tap3.pcap", "tap4.pcap"],
            "all-taps.expected.json",
        ),
    ] {
        let Some(folder) = shared(set) else { return };
        let expected: Value = serde_json::from_slice(&fs::read(folder.join(answer)).unwrap()).unwrap();
        let nodes: Value = serde_json::from_slice(&fs::read(folder.join("nodes.json")).unwrap()).unwrap();
        let ips = nodes
            .as_array()
            .unwrap()
            .iter()
            .map(|node| {
                (
                    node["ip"].as_str().unwrap().to_owned(),
                    node["name"].as_str().unwrap().to_owned(),
                )
            })
            .collect();
        let expected = answers(&expected, &ips);
        for database in BOTH {
            let Some(server) = DatabaseServer::shared(database) else {
                return;
            };
            let url = server.user_url(&server.fresh_database());
            let output = bftap(&folder)
                .arg("analyze")
                .args(captures)
                .args([
                    "--keylog",
                    "sessions.keylog",
                    "--nodes",
                    "nodes.json",
                    "--run",
                    set,
                ])
                .env("BFTAP_STORE", &url)
                .output()
                .unwrap();
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            // Names are unquoted, `commit` too, as the original's dashboards write them.
            let quoted = match database {
                Database::MariaDb => "`commit`",
                Database::PostgreSql => "\"commit\"",
            };
            let sql = format!(
                "SELECT node, round_number, preprepare, prepare, {quoted}, roundchange FROM consensus_round_counts"
            );
            let mut rows = query(database, &url, &sql);
            rows.sort();
            assert_eq!(rows, expected, "{set} in {database:?}");

            let ran = bftap(&folder)
                .args(["store", "original-views", "--run", set])
                .env("BFTAP_STORE", &url)
                .output()
                .unwrap();
            let text = String::from_utf8(ran.stdout).unwrap();
            assert!(text.contains("FROM cn1\n") || set == "quorum-4", "{text}");
            let line = text.lines().next().expect("a view for each node");
            assert!(!query(database, &url, line).is_empty(), "{line}");
        }
    }
}

/// While it runs and when it fails: the password is in no output and in no argument that others see.
#[test]
fn passwords_are_neither_told_nor_shown() {
    let folder = scratch();
    let network = network().display().to_string();
    for database in BOTH {
        let Some(server) = DatabaseServer::shared(database) else {
            return;
        };
        let name = server.fresh_database();
        let analyze = |url: &str| {
            let mut command = bftap(folder.path());
            command
                .args([
                    "analyze",
                    &network_capture(),
                    "--pace",
                    "1",
                    "--keylog",
                    &format!("{network}/net.keylog"),
                ])
                .env("BFTAP_STORE", url)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            command
        };
        let mut child = analyze(&server.user_url(&name)).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(300));
        let arguments = fs::read(format!("/proc/{}/cmdline", child.id())).unwrap();
        let _ = child.kill();
        child.wait().unwrap();
        let arguments = String::from_utf8_lossy(&arguments);
        assert!(
            arguments.contains("--pace") && !arguments.contains("hunter2"),
            "{arguments}"
        );

        for (user, password, at, part) in [
            ("bftap", "hunter3%2F", name.as_str(), "password"),
            ("nobody", "hunter3", name.as_str(), "nobody"),
            (
                "bftap",
                "hunter2%2F%40%3F%23%3A%25",
                "no_such_database",
                "no_such_database",
            ),
        ] {
            let output = analyze(&server.url_of(user, password, at)).output().unwrap();
            let told = format!(
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
            assert_eq!(output.status.code(), Some(1), "{told}");
            assert!(
                told.contains(part) && !told.contains("hunter"),
                "{user} {at}: {told}"
            );
            assert!(!told.contains("CONSENSUS MESSAGES"), "nothing was read: {told}");
        }
    }
}
