//! Views with the original tool's columns, one for each node: `SELECT round_number, prepare FROM cn1`.

use std::collections::BTreeSet;

use crate::StoreError;
use crate::rows::Value;
use crate::store::RunId;

use super::transaction::Failure;
use super::{Driver, SqlStore};

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
                "n___"
            ]
        );
        let long = vec![(0, "x".repeat(300)), (1, "x".repeat(300))];
        assert!(view_names(&long).iter().all(|name| name.len() <= NAME_LIMIT));
    }
}
