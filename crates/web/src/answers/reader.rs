//! Rows of one run as JSON.

use bftap_store::rows::{Cell, ColumnType, Holds, Table};
use bftap_store::{Question, RunId, Store};
use serde_json::{Map, Value};

use crate::Problem;

/// Reads of one run.
pub(super) struct Reader<'s> {
    store: &'s mut dyn Store,
    pub(super) run: RunId,
}

/// What a column of a query holds.
pub(super) const INT: ColumnType = ColumnType {
    holds: Holds::Int,
    null: true,
};

/// See [`INT`].
pub(super) const TEXT: ColumnType = ColumnType {
    holds: Holds::Text,
    null: true,
};

/// Condition for rounds that count: those that only a liar names do not (docs/rounds.md).
pub(super) const COUNTS: &str = "(round.standing IS NULL OR round.standing <> 'claimed')";

impl<'s> Reader<'s> {
    pub(super) fn new(store: &'s mut dyn Store, run: RunId) -> Self {
        Self { store, run }
    }

    /// The row of the run.
    ///
    /// # Errors
    /// It is gone, or has no rows that count.
    pub(super) async fn run(&mut self) -> Result<Value, Problem> {
        let rows = self.table("run", "", &[]).await?;
        let shown =
            |row: &Value| row["state"] == "complete" || (row["state"] == "running" && row["live"] == true);
        match rows.into_iter().next() {
            Some(row) if shown(&row) => Ok(row),
            Some(row) => Err(Problem::Missing(format!(
                "run {} has no rows to show: it is {}",
                self.run.0,
                row["state"].as_str().unwrap_or("in another state")
            ))),
            None => Err(Problem::Missing(format!("there is no run {}", self.run.0))),
        }
    }

    /// Rows of this run in a table, as objects; `rest` stands behind the condition for the run, and has these values.
    pub(super) async fn table(
        &mut self,
        name: &'static str,
        rest: &str,
        values: &[Cell],
    ) -> Result<Vec<Value>, Problem> {
        let table =
            Table::named(name).ok_or_else(|| Problem::Missing(format!("there is no table {name}")))?;
        let sql = table.select(&format!("WHERE run_id = ? {rest}"));
        let mut all = vec![Cell::Int(Some(self.run.0))];
        all.extend_from_slice(values);
        let question = Question {
            doing: "reading rows",
            sql: &sql,
            values: &all,
            holds: table.types(),
        };
        let rows = self.store.ask(&question).await?;
        Ok(rows.into_iter().map(|row| object(table, row)).collect())
    }

    /// Rows of any query. The run must be asked for in it, with a `?` of its own.
    pub(super) async fn query(
        &mut self,
        doing: &'static str,
        sql: &str,
        values: &[Cell],
        holds: &[ColumnType],
    ) -> Result<Vec<Vec<Cell>>, Problem> {
        let question = Question {
            doing,
            sql,
            values,
            holds,
        };
        Ok(self.store.ask(&question).await?)
    }

    /// The lowest and the highest value of a column that stands behind the run in the table's key.
    ///
    /// Two queries in one: both ends are looked up in the key then, where `MIN` and `MAX` side by side read all of it.
    pub(super) async fn ends(
        &mut self,
        table: &'static str,
        column: &'static str,
    ) -> Result<(Option<i64>, Option<i64>), Problem> {
        let sql = format!(
            "SELECT (SELECT MIN({column}) FROM {table} WHERE run_id = ?), (SELECT MAX({column}) FROM {table} WHERE run_id = ?)"
        );
        let values = [self.id(), self.id()];
        let rows = self
            .query("looking for the ends", &sql, &values, &[INT, INT])
            .await?;
        let row = rows.first();
        Ok((row.and_then(|row| row[0].int()), row.and_then(|row| row[1].int())))
    }

    /// Whether the run knows a node of this name, if one is asked for: an empty list would say that it did nothing.
    ///
    /// # Errors
    /// It does not.
    pub(super) async fn check_label(&mut self, label: Option<&str>) -> Result<(), Problem> {
        let Some(label) = label else {
            return Ok(());
        };
        // Nearly always the first one knows it; the others have whom no session was seen of.
        for place in [
            "node WHERE run_id = ? AND label = ?",
            "label WHERE run_id = ? AND label = ?",
            "participation WHERE run_id = ? AND validator = ?",
            "event WHERE run_id = ? AND signer = ?",
            "event WHERE run_id = ? AND sender = ?",
        ] {
            let sql = format!("SELECT CAST(1 AS {{int}}) FROM {place} LIMIT 1");
            let values = [self.id(), text(label)];
            if !self
                .query("looking for a node", &sql, &values, &[INT])
                .await?
                .is_empty()
            {
                return Ok(());
            }
        }
        Err(Problem::Missing(
            "this run has no node of that name; its nodes stand in `nodes`, by their `label`".to_owned(),
        ))
    }

    /// The lowest and the highest height of which a round counts.
    ///
    /// Read from the ends of the key on, past what is only spoken of.
    pub(super) async fn heights(&mut self) -> Result<(Option<i64>, Option<i64>), Problem> {
        let end = |order| {
            format!(
                "(SELECT sequence FROM round WHERE run_id = ? AND {COUNTS} ORDER BY sequence{order} LIMIT 1)"
            )
        };
        let sql = format!("SELECT {}, {}", end(""), end(" DESC"));
        let values = [self.id(), self.id()];
        let rows = self
            .query("looking for the ends", &sql, &values, &[INT, INT])
            .await?;
        let row = rows.first();
        Ok((row.and_then(|row| row[0].int()), row.and_then(|row| row[1].int())))
    }

    /// The run, as a value.
    pub(super) fn id(&self) -> Cell {
        int(self.run.0)
    }
}

pub(super) fn int(value: i64) -> Cell {
    Cell::Int(Some(value))
}

pub(super) fn text(value: &str) -> Cell {
    Cell::Text(Some(value.to_owned()))
}

/// A row with its columns as keys, without the run.
pub(super) fn object(table: &Table, row: Vec<Cell>) -> Value {
    let columns = table.columns().zip(row);
    let shown = columns.filter(|(column, _)| column.name != "run_id" || table.name == "run");
    let pairs = shown.map(|(column, cell)| {
        let value = match cell {
            Cell::Int(Some(value)) if column.holds.holds == Holds::Flag => Value::Bool(value != 0),
            cell => json(cell),
        };
        (column.name.to_owned(), value)
    });
    Value::Object(pairs.collect::<Map<_, _>>())
}

pub(super) fn json(cell: Cell) -> Value {
    match cell {
        Cell::Int(value) => value.into(),
        Cell::Text(value) => value.into(),
    }
}

/// A number that is there: sums over no rows are 0.
pub(super) fn number(cell: &Cell) -> i64 {
    cell.int().unwrap_or(0)
}

/// Takes the row too many off, and says whether there was one.
pub(super) fn cut<T>(rows: &mut Vec<T>, limit: u32) -> bool {
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    more
}
