//! Views with the original tool's columns, one for each node: `SELECT round_number, prepare FROM cn1`.

use std::collections::BTreeSet;

use crate::StoreError;
use crate::rows::Value;
use crate::store::RunId;

use super::transaction::Failure;
use super::{Driver, RUN_TABLES, SqlStore};

/// Most characters of a view's name: PostgreSQL cuts what is longer than 63.
const NAME_LIMIT: usize = 60;

impl<D: Driver> SqlStore<D> {
    pub(super) async fn original_views(&mut self, run: RunId) -> Result<Vec<String>, StoreError> {
        self.begin().await?;
        let made = self.make_original_views(run).await;
        self.end(made, "making the original tool's views").await
    }

    async fn make_original_views(&mut self, run: RunId) -> Result<Vec<String>, Failure> {
        if super::transaction::state(&mut self.driver, run).await?.is_none() {
            return Err(Failure::Gone(run));
        }
        let nodes: Vec<(i64, String)> = self
            .driver
            .select(
                "SELECT node_number, label FROM node WHERE run_id = ? ORDER BY node_number",
                &[Value::int(run.0)],
            )
            .await?;
        let named = view_names(&nodes);
        // All names first: either every view is made, or none.
        for name in &named {
            let found: Vec<(String, Option<String>)> = self
                .driver
                .select(D::DIALECT.relation, &[Value::text(name)])
                .await?;
            let ours = |kind: &str, definition: Option<&str>| {
                let definition = definition.unwrap_or_default();
                kind == "view" && definition.contains("round_number") && definition.contains("node_number")
            };
            if let Some((kind, _)) = found
                .iter()
                .find(|(kind, definition)| !ours(kind, definition.as_deref()))
            {
                return Err(Failure::Other(StoreError::NameTaken {
                    store: self.driver.store().to_owned(),
                    name: name.clone(),
                    kind: if kind == "view" { "view" } else { "table" },
                }));
            }
        }
        for ((number, _), name) in nodes.iter().zip(&named) {
            // The label is looked up, not written here: it is a text of peers.
            let query = format!(
                "SELECT c.sequence AS round_number, \
                 SUM(CASE c.kind WHEN 'preprepare' THEN c.messages ELSE 0 END) AS preprepare, \
                 SUM(CASE c.kind WHEN 'prepare' THEN c.messages ELSE 0 END) AS prepare, \
                 SUM(CASE c.kind WHEN 'commit' THEN c.messages ELSE 0 END) AS \"commit\", \
                 SUM(CASE c.kind WHEN 'roundchange' THEN c.messages ELSE 0 END) AS roundchange \
                 FROM message_count AS c WHERE c.run_id = {run} AND c.receiver = \
                 (SELECT n.label FROM node AS n WHERE n.run_id = {run} AND n.node_number = {number}) \
                 GROUP BY c.sequence"
            );
            let sql = D::DIALECT
                .replace_view
                .replace("{name}", name)
                .replace("{query}", &query);
            self.driver.run(&sql).await?;
        }
        Ok(named)
    }
}

/// A name for each node's view: its label where that can stand in SQL without quotes, else something like it.
fn view_names(nodes: &[(i64, String)]) -> Vec<String> {
    let mut used = BTreeSet::new();
    let mut names = Vec::new();
    for (_, label) in nodes {
        let plain: String = label
            .chars()
            .map(|c| c.to_ascii_lowercase())
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
            .take(NAME_LIMIT - 10)
            .collect();
        let plain = if plain.starts_with(|c: char| c.is_ascii_alphabetic()) {
            plain
        } else {
            format!("n_{plain}")
        };
        let plain = if is_taken(&plain) {
            format!("{plain}_")
        } else {
            plain
        };
        let mut name = plain.clone();
        let mut number = 2;
        while !used.insert(name.clone()) {
            name = format!("{plain}_{number}");
            number += 1;
        }
        names.push(name);
    }
    names
}

/// Whether a word means something to a database, or is a table of this store: no view can have it as its name without quotes.
fn is_taken(name: &str) -> bool {
    let ours = [
        "run",
        "leftover",
        "delivery",
        "consensus_round_counts",
        "bftap_schema",
    ];
    RESERVED.split_ascii_whitespace().any(|word| word == name)
        || RUN_TABLES.contains(&name)
        || ours.contains(&name)
}

/// Words of which at least one of the databases says that they are reserved, as far as they are made of letters alone.
const RESERVED: &str = "accessible add all alter analyse analyze and any array as asc asensitive asymmetric authorization before between \
    bigint binary blob both by call cascade case cast change char character check collate collation column concurrently condition \
    constraint continue convert create cross cube cursor database databases dec decimal declare default deferrable deferred delayed \
    delete desc describe deterministic distinct distinctrow div do double drop dual each else elseif empty enclosed end escape escaped \
    except exists exit explain false fetch float for force foreign freeze from full fulltext function generated get glob grant group \
    grouping groups having if ignore ilike immediate in index indexed infile initially inner inout insensitive insert instead int integer \
    intersect interval into is isnull iterate join key keys kill lag lateral lead leading leave left like limit linear lines load \
    localtime localtimestamp lock long longblob longtext loop match materialized mediumblob mediumint mediumtext merge mod modifies \
    natural not notnull null numeric of offset on only optimize option optionally or order out outer outfile over overlaps partition \
    placing plan pragma precision primary procedure purge query raise range rank read reads real recursive references regexp reindex \
    release rename repeat replace require resignal restrict return returning revoke right rlike row rows schema schemas select \
    sensitive separator session set show signal similar smallint some spatial specific sql sqlexception ssl starting stored \
    straight symmetric system table tablesample temp temporary terminated then tinyblob tinyint tinytext to trailing transaction trigger \
    true undo union unique unlock unsigned update usage use user using values varbinary varchar varcharacter variadic varying verbose \
    view virtual when where while window with without write xor zerofill";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_have_names_that_need_no_quotes() {
        let labels = [
            "cn1",
            "CN1",
            "10.0.0.2",
            "0xab",
            "node-1; DROP TABLE run",
            "",
            "케이",
            "primary",
            "Node",
        ];
        let nodes: Vec<_> = (0..).zip(labels.map(str::to_owned)).collect();
        assert_eq!(
            view_names(&nodes),
            [
                "cn1",
                "cn1_2",
                "n_10_0_0_2",
                "n_0xab",
                "node_1__drop_table_run",
                "n_",
                "n___",
                "primary_",
                "node_"
            ]
        );
        let long = vec![(0, "x".repeat(300)), (1, "x".repeat(300))];
        assert!(view_names(&long).iter().all(|name| name.len() <= NAME_LIMIT));
    }
}
