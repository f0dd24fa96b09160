//! Rows of any table, for those who want all of them.

use super::{
    CaptureRow, CensusRow, ChainRow, CodeRow, ColumnType, Columns, CopiesRow, CountRow, CounterRow, DelayRow,
    DeliveryRow, DialRow, EventRow, Holds, LabelRow, LinkCountRow, MinuteCountRow, MinuteRoundRow, NodeIpRow,
    NodeRoundRow, NodeRow, ParticipationRow, PeerDisconnectRow, PeerRow, PhaseRow, ProgressRow, RoundRow,
    RunRow, ScoreRow, SessionRow, TableRow, TcpLinkRow, VoteRow, WasteRow, WhatIfRow,
};

/// A value that was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// A number, or a flag.
    Int(Option<i64>),
    /// A text.
    Text(Option<String>),
}

impl Cell {
    /// The number, if it is one.
    pub fn int(&self) -> Option<i64> {
        match self {
            Self::Int(value) => *value,
            Self::Text(_) => None,
        }
    }

    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Int(_) => None,
            Self::Text(value) => value.as_deref(),
        }
    }
}

/// A table with rows of runs.
#[derive(Debug)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// Columns of its key, `run_id` first; rows come in their order.
    pub key: &'static [&'static str],
    names: &'static [&'static str],
    types: &'static [ColumnType],
}

/// A column of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub holds: ColumnType,
}

impl Table {
    const fn of<R: TableRow>() -> Self {
        Self {
            name: R::TABLE,
            key: R::KEY,
            names: R::COLUMNS,
            types: R::TYPES,
        }
    }

    /// The table of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        TABLES.iter().find(|table| table.name == name)
    }

    /// Its columns, without those that the database computes.
    pub fn columns(&self) -> impl ExactSizeIterator<Item = Column> + '_ {
        let columns = self.names.iter().zip(self.types);
        columns.map(|(&name, &holds)| Column { name, holds })
    }

    /// A query for all of its columns, with this behind the name of the table; to be read as [`types`](Self::types).
    pub fn select(&self, rest: &str) -> String {
        format!("SELECT {} FROM {} {rest}", self.names.join(", "), self.name)
    }

    /// What its columns hold, in their order.
    pub fn types(&self) -> &'static [ColumnType] {
        self.types
    }

    /// Place of a column in a row.
    pub(crate) fn place(&self, column: &str) -> Option<usize> {
        self.names.iter().position(|name| *name == column)
    }

    pub(crate) fn column_names(&self) -> &'static [&'static str] {
        self.names
    }
}

/// All tables with rows of runs, `run` first.
pub const TABLES: &[Table] = &[
    Table::of::<RunRow>(),
    Table::of::<CounterRow>(),
    Table::of::<CaptureRow>(),
    Table::of::<ProgressRow>(),
    Table::of::<ChainRow>(),
    Table::of::<LabelRow>(),
    Table::of::<NodeRow>(),
    Table::of::<NodeIpRow>(),
    Table::of::<PeerRow>(),
    Table::of::<PeerDisconnectRow>(),
    Table::of::<DialRow>(),
    Table::of::<CensusRow>(),
    Table::of::<ScoreRow>(),
    Table::of::<SessionRow>(),
    Table::of::<CodeRow>(),
    Table::of::<TcpLinkRow>(),
    Table::of::<CountRow>(),
    Table::of::<DeliveryRow>(),
    Table::of::<LinkCountRow>(),
    Table::of::<MinuteCountRow>(),
    Table::of::<CopiesRow>(),
    Table::of::<WasteRow>(),
    Table::of::<WhatIfRow>(),
    Table::of::<RoundRow>(),
    Table::of::<NodeRoundRow>(),
    Table::of::<VoteRow>(),
    Table::of::<MinuteRoundRow>(),
    Table::of::<PhaseRow>(),
    Table::of::<DelayRow>(),
    Table::of::<ParticipationRow>(),
    Table::of::<EventRow>(),
];

/// The columns of one row.
pub(crate) fn read<C: Columns>(columns: &mut C, types: &[ColumnType]) -> Result<Vec<Cell>, C::Error> {
    let cell = |(place, of): (usize, &ColumnType)| match of.holds {
        Holds::Int | Holds::Flag => columns.optional_int(place).map(Cell::Int),
        Holds::Text => columns.optional_text(place).map(Cell::Text),
    };
    types.iter().enumerate().map(cell).collect()
}

/// A struct that stands for rows of one table.
pub trait Stored: Sized {
    /// The table.
    fn table() -> &'static Table;

    /// Reads the columns of a row in their order; `None` if they are not those of the table.
    fn of(row: &[Cell]) -> Option<Self>;
}

impl<R: TableRow> Stored for R {
    fn table() -> &'static Table {
        // Every row type stands in the list; a test makes sure of it.
        Table::named(R::TABLE).unwrap_or(&TABLES[0])
    }

    fn of(row: &[Cell]) -> Option<Self> {
        Self::get(&mut Kept(row)).ok()
    }
}

/// A row as it was read.
struct Kept<'r>(&'r [Cell]);

/// A row has not the columns of the table.
#[derive(Debug)]
struct OtherColumns;

impl Columns for Kept<'_> {
    type Error = OtherColumns;

    fn int(&mut self, column: usize) -> Result<i64, OtherColumns> {
        self.optional_int(column)?.ok_or(OtherColumns)
    }

    fn optional_int(&mut self, column: usize) -> Result<Option<i64>, OtherColumns> {
        match self.0.get(column) {
            Some(Cell::Int(value)) => Ok(*value),
            _ => Err(OtherColumns),
        }
    }

    fn text(&mut self, column: usize) -> Result<String, OtherColumns> {
        self.optional_text(column)?.ok_or(OtherColumns)
    }

    fn optional_text(&mut self, column: usize) -> Result<Option<String>, OtherColumns> {
        match self.0.get(column) {
            Some(Cell::Text(value)) => Ok(value.clone()),
            _ => Err(OtherColumns),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::RUN_TABLES;

    #[test]
    fn every_table_of_a_run_is_listed_once_and_keys_begin_with_the_run() {
        let mut listed: Vec<_> = TABLES.iter().map(|table| table.name).collect();
        let mut all: Vec<_> = RUN_TABLES.iter().copied().chain(["run"]).collect();
        listed.sort_unstable();
        all.sort_unstable();
        assert_eq!(listed, all);
        for table in TABLES {
            assert_eq!(table.key[0], "run_id", "{}", table.name);
            for key in table.key {
                let place = table.place(key).unwrap();
                assert!(!table.types[place].null, "{}: {key} may be null", table.name);
            }
        }
    }

    #[test]
    fn a_row_comes_back_from_its_cells() {
        let row = CopiesRow {
            run_id: 1,
            receiver_ip: "10.0.0.1".into(),
            copies: 2,
            payloads: 3,
        };
        let mut cells = Vec::new();
        row.put(&mut |value| {
            cells.push(match value {
                super::super::Value::Int(value) => Cell::Int(value),
                super::super::Value::Text(value) => Cell::Text(value.map(str::to_owned)),
            });
        });
        assert_eq!(CopiesRow::of(&cells), Some(row));
        assert_eq!(CopiesRow::of(&cells[..3]), None);
        assert_eq!(RunRow::of(&cells), None);
    }
}
