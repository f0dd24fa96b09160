//! What can be wrong with a server, its users, its databases: said clearly, before any capture is read.

use std::error::Error;

use bftap_store::{Access, RunId, StoreError, StoreUrl, open};
use bftap_testkit::servers::{Database, DatabaseServer, Durability};

use crate::facts::{batch, new_run, run_facts};
use crate::servers::ServerDatabase;
use crate::suite::{Backend, dump, rows, value, write_run};

const BOTH: [Database; 2] = [Database::MariaDb, Database::PostgreSql];

fn databases() -> impl Iterator<Item = ServerDatabase> {
    BOTH.into_iter().filter_map(ServerDatabase::new)
}

/// The error of opening a URL; neither it nor its causes tell the password.
async fn refused(url: &str, access: Access) -> StoreError {
    let parsed: StoreUrl = url.parse().unwrap();
    let error = open(&parsed, access)
        .await
        .err()
        .expect("the store must be refused");
    let mut told = format!("{error} {error:?}");
    let mut cause: Option<&dyn Error> = error.source();
    while let Some(error) = cause {
        told.push_str(&format!(" {error} {error:?}"));
        cause = error.source();
    }
    assert!(!told.contains("hunter2") && !told.contains("wrongword"), "{told}");
    assert!(told.contains(&parsed.to_string()), "it names the store: {told}");
    error
}

#[tokio::test]
async fn an_unknown_or_silent_host_is_named_so() {
    for scheme in ["mysql", "postgres"] {
        for access in [Access::Write, Access::Read] {
            let error = refused(&format!("{scheme}://ann:hunter2@127.0.0.1:1/bft"), access).await;
            assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
            assert!(error.is_transient());
            let error = refused(
                &format!("{scheme}://ann:hunter2@no-such-host.invalid/bft"),
                access,
            )
            .await;
            assert!(matches!(error, StoreError::UnknownHost { .. }), "{error:?}");
        }
        let error = refused(
            &format!("{scheme}://ann:hunter2@127.0.0.1:port/bft"),
            Access::Write,
        )
        .await;
        assert!(matches!(error, StoreError::ServerUrl { .. }), "{error:?}");
        assert!(error.to_string().contains("as %XX"), "{error}");
        let error = refused(&format!("{scheme}://ann:hunter2@127.0.0.1:1"), Access::Write).await;
        assert!(matches!(error, StoreError::NoDatabaseNamed { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_wrong_login_or_database_is_named_so() {
    for place in databases() {
        for (user, password) in [("bftap", "wrongword"), ("nobody", "wrongword")] {
            let url = place.server.url_of(user, password, &place.name);
            let error = refused(&url, Access::Write).await;
            assert!(matches!(error, StoreError::LoginRefused { .. }), "{error:?}");
            assert!(!error.is_transient());
        }
        let everywhere = format!("everywhere_{}", place.name);
        match place.database {
            Database::MariaDb => place.server.admin(&format!(
                "CREATE USER {everywhere} IDENTIFIED BY 'hunter2'; GRANT ALL ON *.* TO {everywhere}"
            )),
            Database::PostgreSql => place
                .server
                .admin(&format!("CREATE ROLE {everywhere} LOGIN PASSWORD 'hunter2'")),
        }
        let url = place.server.url_of(&everywhere, "hunter2", "no_such_database");
        for access in [Access::Write, Access::Read] {
            let error = refused(&url, access).await;
            assert!(matches!(error, StoreError::NoSuchDatabase { .. }), "{error:?}");
        }
    }
}

/// Makes a user that has only these rights, and gives its URL.
fn user_with(place: &ServerDatabase, name: &str, rights: &str) -> String {
    let user = format!("{name}_{}", place.name);
    let database = &place.name;
    match place.database {
        Database::MariaDb => {
            place
                .server
                .admin(&format!("CREATE USER {user} IDENTIFIED BY 'hunter2'"));
            let rights = if rights.is_empty() { "SHOW VIEW" } else { rights };
            place
                .server
                .admin(&format!("GRANT {rights} ON {database}.* TO {user}"));
        }
        Database::PostgreSql => {
            place
                .server
                .admin(&format!("CREATE ROLE {user} LOGIN PASSWORD 'hunter2'"));
            if !rights.is_empty() {
                let grant = format!("GRANT {rights} ON ALL TABLES IN SCHEMA public TO {user}");
                place.server.admin_in(database, &grant);
            }
        }
    }
    place.server.url_of(&user, "hunter2", database)
}

#[tokio::test]
async fn missing_rights_are_named_before_anything_is_written() {
    for place in databases() {
        let url = user_with(&place, "maker", "");
        let error = refused(&url, Access::Write).await;
        assert!(
            matches!(
                error,
                StoreError::NoRights {
                    doing: "making the tables",
                    ..
                }
            ),
            "{error:?}"
        );
        assert!(error.to_string().contains("docs/SCHEMA.md"), "{error}");

        let run = write_run(&place, "first", &[batch(5)], &run_facts()).await;
        let url = user_with(&place, "stranger", "");
        for access in [Access::Write, Access::Read] {
            let error = refused(&url, access).await;
            assert!(matches!(error, StoreError::NoRights { .. }), "{error:?}");
        }
        // Who may only read can read, and is told at once when it wants to write.
        let reader = user_with(&place, "reader", "SELECT");
        let error = refused(&reader, Access::Write).await;
        assert!(
            matches!(
                error,
                StoreError::NoRights {
                    doing: "trying whether rows can be written",
                    ..
                }
            ),
            "{error:?}"
        );
        let mut store = open(&reader.parse().unwrap(), Access::Read).await.unwrap();
        assert_eq!(store.find_run(None).await.unwrap().run_id, run.0);
        assert_eq!(store.check().await.unwrap().problems, [""; 0]);
        // Opened for reading, nothing is written, whatever the rights.
        let mut store = open(&place.url(), Access::Read).await.unwrap();
        let error = store.begin_run(&new_run("second"), 1).await.unwrap_err();
        assert!(matches!(error, StoreError::NoRights { .. }), "{error:?}");
        // These rights are enough where the tables are there.
        let writer = user_with(&place, "writer", "SELECT, INSERT, UPDATE, DELETE");
        let mut store = open(&writer.parse().unwrap(), Access::Write).await.unwrap();
        let run = store.begin_run(&new_run("second"), 1).await.unwrap();
        store.write(run, 1, &batch(5)).await.unwrap();
        store.finish_run(run, 2, &run_facts(), 2).await.unwrap();
        assert_eq!(value(&place, "SELECT COUNT(*) FROM run").await, "2");
    }
}

#[tokio::test]
async fn another_programs_tables_are_left_as_they_are() {
    for place in databases() {
        place.execute("CREATE TABLE session (token INTEGER)").await;
        place.execute("CREATE TABLE bookmarks (url INTEGER)").await;
        let error = refused(&place.server.user_url(&place.name), Access::Write).await;
        assert!(
            matches!(&error, StoreError::ForeignTable { table, .. } if table == "session"),
            "{error:?}"
        );
        let error = refused(&place.server.user_url(&place.name), Access::Read).await;
        assert!(matches!(error, StoreError::ForeignTable { .. }), "{error:?}");
        let tables = format!(
            "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema IN ('public', '{}')",
            place.name
        );
        assert_eq!(value(&place, &tables).await, "2");
        // Tables with other names do not matter.
        place.execute("DROP TABLE session").await;
        write_run(&place, "first", &[batch(5)], &run_facts()).await;
    }
}

#[tokio::test]
async fn another_schema_is_named() {
    for place in databases() {
        let url = place.server.user_url(&place.name);
        let error = refused(&url, Access::Read).await;
        assert!(
            matches!(
                error,
                StoreError::OlderSchema {
                    found: 0,
                    known: 5,
                    ..
                }
            ),
            "{error:?}"
        );
        open(&place.url(), Access::Write).await.unwrap();
        open(&place.url(), Access::Read).await.unwrap();
        place.execute("DELETE FROM bftap_schema WHERE version > 3").await;
        place.execute("UPDATE bftap_schema SET version = 2").await;
        let error = refused(&url, Access::Read).await;
        assert!(
            matches!(
                error,
                StoreError::OlderSchema {
                    found: 2,
                    known: 5,
                    ..
                }
            ),
            "{error:?}"
        );
        place.execute("UPDATE bftap_schema SET version = 6").await;
        for access in [Access::Write, Access::Read] {
            let error = refused(&url, access).await;
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
        }
    }
}

/// MySQL commits every table by itself: the next program goes on where one was killed.
#[tokio::test]
async fn tables_that_are_there_in_part_are_completed() {
    let Some(place) = ServerDatabase::new(Database::MariaDb) else {
        return;
    };
    write_run(&place, "first", &[batch(5)], &run_facts()).await;
    let whole = dump(&place).await;
    for statement in [
        "DROP VIEW consensus_round_counts",
        "DROP VIEW delivery",
        "DROP TABLE leftover",
        "DELETE FROM bftap_schema",
    ] {
        place.execute(statement).await;
    }
    write_run(&place, "first", &[batch(5)], &run_facts()).await;
    assert_eq!(dump(&place).await, whole);
    assert_eq!(
        place
            .sql("SELECT version FROM bftap_schema ORDER BY version")
            .await,
        rows(&[&["3"], &["4"], &["5"]])
    );
}

/// Runs of schema 3 stay, and say that they do not know what it did not record.
#[tokio::test]
async fn tables_of_an_earlier_version_are_brought_up_to_date() {
    for place in databases() {
        let schema = match place.database {
            Database::MariaDb => include_str!("../../migrations/mysql/0003_all.sql"),
            Database::PostgreSql => include_str!("../../migrations/postgres/0003_all.sql"),
        };
        place
            .execute(&schema.replace("COLLATE COLLATION", "COLLATE utf8mb4_nopad_bin"))
            .await;
        for statement in [
            "CREATE TABLE bftap_schema (version BIGINT NOT NULL PRIMARY KEY)",
            "INSERT INTO bftap_schema VALUES (3)",
            "INSERT INTO run (name, state, source, program_version, started_ns) \
             VALUES ('old', 'complete', 'analyze', '0.1.0', 1)",
            "INSERT INTO message_count (run_id, chain_id, receiver_ip, receiver, sequence, round, kind, messages, useful, \
             repeats, echoes, invalid, bytes, lower_bound, first_seen_ns, last_seen_ns) \
             VALUES (1, 0, '10.0.0.1', 'cn1', 5, 0, 'prepare', 6, 3, 2, 1, 0, 7, 1, 61, 62)",
            "INSERT INTO event (run_id, event_number, time_ns, rule, severity, chain_id, detail, suspicious) \
             VALUES (1, 0, 5, 'bad_hello', 'warning', 0, 'why', 0)",
        ] {
            place.execute(statement).await;
        }
        let error = refused(&place.server.user_url(&place.name), Access::Read).await;
        assert!(
            matches!(
                error,
                StoreError::OlderSchema {
                    found: 3,
                    known: 5,
                    ..
                }
            ),
            "{error:?}"
        );
        if place.database == Database::MariaDb {
            // A program that was killed in the middle: some of it is there.
            place
                .execute("ALTER TABLE round ADD COLUMN cause VARCHAR(255), ADD COLUMN block_time_ns BIGINT")
                .await;
        }
        let mut store = open(&place.url(), Access::Write).await.unwrap();
        let old = store.find_run(Some("old")).await.unwrap();
        let details = store.details(RunId(old.run_id)).await.unwrap();
        assert_eq!(
            (&*details.events[0].rule, details.events[0].numbers.as_deref()),
            ("bad_hello", None)
        );
        let counts = store.counts(RunId(old.run_id), 0..=9, None, 9).await.unwrap();
        assert_eq!((counts[0].repeats, counts[0].regossip), (2, None));
        let run = write_run(&place, "old", &[batch(5)], &run_facts()).await;
        let counts = store.counts(run, 0..=9, None, 9).await.unwrap();
        assert!(counts.iter().all(|row| row.regossip.is_some()));
        assert_eq!(store.check().await.unwrap().problems, [""; 0]);
    }
}

#[tokio::test]
async fn many_programs_may_make_the_same_tables_at_once() {
    for place in databases() {
        let threads: Vec<_> = (0..6)
            .map(|number| {
                let url = place.url();
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
        let complete = "SELECT COUNT(*) FROM run WHERE state = 'complete'";
        assert_eq!(value(&place, complete).await, "6");
    }
}

#[tokio::test]
async fn a_servers_socket_serves_as_well() {
    for place in databases() {
        write_run(&place, "first", &[batch(5)], &run_facts()).await;
        let url: StoreUrl = place.server.socket_url(&place.name).parse().unwrap();
        let mut store = open(&url, Access::Read).await.unwrap();
        assert_eq!(store.find_run(None).await.unwrap().name, "first");
    }
}

/// Whoever repeats a verb over a new connection loses nothing and doubles nothing.
#[tokio::test]
async fn a_server_that_is_killed_loses_nothing_that_was_committed() {
    for database in BOTH {
        let Some(mut server) = DatabaseServer::start(database, Durability::Process) else {
            continue;
        };
        let name = server.fresh_database();
        let url: StoreUrl = server.user_url(&name).parse().unwrap();
        let mut store = open(&url, Access::Write).await.unwrap();
        let run = store.begin_run(&new_run("first"), 1).await.unwrap();
        for number in 1..6_i64 {
            store.write(run, number, &batch(number as u64)).await.unwrap();
            server.kill9();
            let next = batch(number as u64 + 1);
            let error = store.write(run, number + 1, &next).await.unwrap_err();
            assert!(matches!(error, StoreError::ConnectionLost { .. }), "{error:?}");
            assert!(error.is_transient());
            let error = open(&url, Access::Write).await.err().unwrap();
            assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
            server.restart_same_port();
            store = open(&url, Access::Write).await.unwrap();
            // Its answer came, but who knows: again.
            store.write(run, number, &next).await.unwrap();
        }
        store.finish_run(run, 6, &run_facts(), 2).await.unwrap();
        let counts = store.counts(run, 0..=i64::MAX, None, 1000).await.unwrap();
        assert_eq!(counts.len(), 5 * 6);
        assert_eq!(store.check().await.unwrap().problems, [""; 0]);
    }
}
