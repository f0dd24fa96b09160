//! Ids of texts in a run's tables `chain` and `label`.

use std::collections::HashMap;

use crate::facts_to_rows as to_rows;
use crate::names::{Names, Unnamed};
use crate::rows::{ChainRow, LabelRow, TableRow, Value};
use crate::store::RunId;

use super::Driver;

/// Texts that one query looks up. Few sizes, so that each statement stays prepared.
const TEXTS_PER_QUERY: [usize; 2] = [128, 8];

/// Gives ids to texts: those the run has already, else the next ones.
pub(super) async fn give<D: Driver>(
    driver: &mut D,
    run: RunId,
    names: &mut Names,
    unnamed: Vec<Unnamed>,
) -> Result<(), sqlx::Error> {
    let (chains, labels): (Vec<_>, Vec<_>) = unnamed
        .into_iter()
        .map(|text| {
            let stored = match &text {
                Unnamed::Chain(text) | Unnamed::Label(text) => to_rows::key_text(text),
                Unnamed::Ip(ip) => ip.to_string(),
            };
            (text, stored)
        })
        .partition(|(text, _)| matches!(text, Unnamed::Chain(_)));
    let row = |chain_id, chain| ChainRow {
        run_id: run.0,
        chain_id,
        chain,
    };
    set(driver, run, names, chains, row).await?;
    let row = |label_id, label| LabelRow {
        run_id: run.0,
        label_id,
        label,
    };
    set(driver, run, names, labels, row).await
}

/// The same for one table, whose columns are the run's id, the text's id, and the text.
async fn set<D: Driver, R: TableRow>(
    driver: &mut D,
    run: RunId,
    names: &mut Names,
    unnamed: Vec<(Unnamed, String)>,
    row: impl Fn(i64, String) -> R + Send,
) -> Result<(), sqlx::Error> {
    if unnamed.is_empty() {
        return Ok(());
    }
    let (table, id, text) = (R::TABLE, R::COLUMNS[1], R::COLUMNS[2]);
    let mut ids: HashMap<String, i64> = HashMap::new();
    let mut rest = &unnamed[..];
    while !rest.is_empty() {
        let size = if rest.len() > TEXTS_PER_QUERY[1] {
            TEXTS_PER_QUERY[0]
        } else {
            TEXTS_PER_QUERY[1]
        };
        let (some, others) = rest.split_at(size.min(rest.len()));
        rest = others;
        let places = vec!["?"; size].join(", ");
        let sql = format!("SELECT {text}, {id} FROM {table} WHERE run_id = ? AND {text} IN ({places})");
        let mut values = vec![Value::int(run.0)];
        values.extend((0..size).map(|n| Value::text(&some[n.min(some.len() - 1)].1)));
        ids.extend(driver.select::<(String, i64)>(&sql, &values).await?);
    }
    let mut new = Vec::new();
    if unnamed.iter().any(|(_, stored)| !ids.contains_key(stored)) {
        let sql = format!("SELECT COALESCE(MAX({id}) + 1, 0) FROM {table} WHERE run_id = ?");
        let next = driver.select::<(i64,)>(&sql, &[Value::int(run.0)]).await?;
        let mut next = next.first().map_or(0, |(next,)| *next);
        for (_, stored) in &unnamed {
            if !ids.contains_key(stored) {
                ids.insert(stored.clone(), next);
                new.push(row(next, stored.clone()));
                next += 1;
            }
        }
    }
    driver.put(new.into_iter()).await?;
    for (text, stored) in unnamed {
        if let Some(id) = ids.get(&stored) {
            names.set(text, *id);
        }
    }
    Ok(())
}
