//! `docs/SCHEMA.md` is complete and true.

use bftap_testkit::servers::Database;

use crate::facts::{height, link, new_run, run_facts};
use crate::servers::ServerDatabase;
use crate::sqlite::SqliteFile;
use crate::suite::{Backend, TABLES};

const PAGE: &str = include_str!("../../../../docs/SCHEMA.md");

fn filled() -> SqliteFile {
    let file = SqliteFile::new();
    fill(&file);
    file
}

fn fill(place: &impl Backend) {
    let run = bftap_store::NewRun {
        selection: None,
        ..new_run("first")
    };
    let mut writer =
        bftap_store::StoreWriter::open(&place.url(), &run, &bftap_store::WriterOptions::default()).unwrap();
    for sequence in 1..4 {
        writer.height(height(sequence)).unwrap();
        writer.minute(&[link(sequence)]).unwrap();
    }
    writer.finish(run_facts()).unwrap();
}

/// The part of the page under `### name`.
fn section(name: &str) -> &'static str {
    let heading = format!("### `{name}`\n");
    let (_, rest) = PAGE
        .split_once(&heading)
        .unwrap_or_else(|| panic!("docs/SCHEMA.md has no section {heading}"));
    rest.split("\n##").next().unwrap()
}

fn described(table: &str) -> Vec<&'static str> {
    section(table)
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|line| line.split_once('`'))
        .map(|(column, _)| column)
        .collect()
}

#[tokio::test]
async fn every_table_and_column_is_described_and_nothing_else() {
    let file = filled();
    let tables = "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE '%sqlx%' \
                  AND name NOT LIKE 'sqlite%' ORDER BY name";
    let tables: Vec<String> = file.sql(tables).await.concat();
    assert_eq!(
        tables.len(),
        TABLES.len() + 4,
        "the contract suite knows all tables: {tables:?}"
    );
    assert_eq!(
        PAGE.matches("\n### `").count(),
        tables.len(),
        "a section for each: {tables:?}"
    );
    for table in &tables {
        let columns: Vec<String> = file
            .sql(&format!("SELECT name FROM pragma_table_xinfo('{table}')"))
            .await
            .concat();
        assert_eq!(described(table), columns, "{table}");
    }
    // The same in the other databases, and of the types that the page promises.
    for database in [Database::MariaDb, Database::PostgreSql] {
        let Some(place) = ServerDatabase::new(database) else {
            continue;
        };
        fill(&place);
        let mut found = place
            .sql(&format!(
                "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns \
                 WHERE table_schema IN ('public', '{}') ORDER BY table_name, ordinal_position",
                place.name
            ))
            .await;
        found.retain(|row| row[0] != "bftap_schema" && row[1] != "complete_name");
        for table in &tables {
            let columns: Vec<_> = found.iter().filter(|row| row[0] == *table).collect();
            let names: Vec<_> = columns.iter().map(|row| &*row[1]).collect();
            assert_eq!(names, described(table), "{database:?} {table}");
            // Views compute, and a sum may be of a wider type.
            if !TABLES.contains(&&**table) && table != "run" {
                continue;
            }
            for (column, line) in columns
                .iter()
                .zip(section(table).lines().filter(|line| line.starts_with("| `")))
            {
                let promised = line.split('|').nth(2).unwrap().trim();
                let (word, null) = promised.split_once(", ").unwrap_or((promised, ""));
                let types: &[&str] = match word {
                    "int" | "second" => &["bigint"],
                    "id" => &["int", "integer", "smallint"],
                    "flag" => &["smallint"],
                    "word" => &["varchar", "character varying"],
                    "text" => &["text"],
                    _ => panic!("{table}: {line}"),
                };
                assert!(
                    types.contains(&&*column[2]),
                    "{database:?} {table}: {column:?}, {line}"
                );
                // What is computed may be null for the database, though what it is made of never is.
                let nullable = column[3] == "YES";
                assert!(
                    nullable == (null == "null") || word == "second",
                    "{database:?} {table}: {column:?}"
                );
            }
        }
        let rest: Vec<_> = found.iter().filter(|row| !tables.contains(&row[0])).collect();
        assert!(rest.is_empty(), "{rest:?}");
    }
}

#[tokio::test]
async fn every_example_query_runs_and_finds_something() {
    let file = filled();
    let examples: Vec<&str> = PAGE
        .split("```sql\n")
        .skip(1)
        .filter_map(|rest| rest.split_once("```"))
        .map(|(sql, _)| sql)
        .collect();
    assert!(examples.len() >= 6, "{}", examples.len());
    for example in &examples {
        assert!(!file.sql(example).await.is_empty(), "{example}");
    }
    for database in [Database::MariaDb, Database::PostgreSql] {
        if let Some(place) = ServerDatabase::new(database) {
            fill(&place);
            for example in &examples {
                assert!(!place.sql(example).await.is_empty(), "{database:?}: {example}");
            }
        }
    }
}

/// Dashboards must not read a whole run to show a part of it.
#[tokio::test]
async fn usual_conditions_use_keys_and_indexes() {
    let file = filled();
    for (query, expected) in [
        (
            "SELECT * FROM delivery_row WHERE run_id = 1 AND sequence BETWEEN 5 AND 9",
            "run_id=? AND sequence>?",
        ),
        (
            "SELECT sender, SUM(copies) FROM delivery WHERE run_id = 1 AND sequence = 5 GROUP BY sender",
            "sequence=?",
        ),
        (
            "SELECT * FROM message_count WHERE run_id = 1 AND first_seen_s BETWEEN 5 AND 9",
            "message_count_by_time",
        ),
        (
            "SELECT * FROM round WHERE run_id = 1 AND preprepare_s BETWEEN 5 AND 9",
            "round_by_time",
        ),
        (
            "SELECT * FROM event WHERE run_id = 1 AND time_s BETWEEN 5 AND 9",
            "event_by_time",
        ),
        (
            "SELECT * FROM link_count WHERE run_id = 1 AND minute_ns BETWEEN 5 AND 9",
            "run_id=? AND minute_ns>?",
        ),
        (
            "SELECT * FROM link_count WHERE run_id = 1 AND minute_s BETWEEN 5 AND 9",
            "link_count_by_time",
        ),
        (
            "SELECT * FROM minute_count WHERE run_id = 1 AND minute_s BETWEEN 5 AND 9",
            "minute_count_by_time",
        ),
        (
            "SELECT * FROM minute_round WHERE run_id = 1 AND minute_s BETWEEN 5 AND 9",
            "minute_round_by_time",
        ),
        (
            "SELECT * FROM progress WHERE run_id = 1 AND written_s BETWEEN 5 AND 9",
            "progress_by_time",
        ),
        (
            "SELECT prepare FROM consensus_round_counts WHERE run_id = 1 AND round_number = 5",
            "run_id=? AND sequence=?",
        ),
    ] {
        let plan = file
            .sql(&format!("EXPLAIN QUERY PLAN {query}"))
            .await
            .concat()
            .join(" ");
        assert!(plan.contains(expected), "{query}: {plan}");
    }
    let count = file
        .sql("EXPLAIN QUERY PLAN SELECT COUNT(*) FROM delivery")
        .await
        .concat()
        .join(" ");
    assert!(
        !count.contains("label"),
        "columns that are not asked for cost nothing: {count}"
    );
}
