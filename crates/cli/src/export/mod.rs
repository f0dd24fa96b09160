//! Tables of a store as files: Parquet, CSV, JSON lines (docs/export.md).
//!
//! A table is read page by page and written as it comes, so memory does not grow with it.

mod csv;
mod jsonl;
mod parquet;

use std::io::{self, BufWriter, Write};

use bftap_store::rows::{Cell, Table};

/// What files are written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Apache Parquet, compressed with Zstandard
    Parquet,
    /// Comma-separated values as in RFC 4180
    Csv,
    /// JSON lines: one object a row
    Jsonl,
}

impl Format {
    /// How names of files end.
    pub(crate) const fn suffix(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
        }
    }
}

/// Writes the rows of one table.
pub(crate) trait TableWriter {
    /// Takes rows, each with a cell for each column.
    fn rows(&mut self, rows: &[Vec<Cell>]) -> io::Result<()>;

    /// Writes the rest.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

/// Begins a file for a table.
pub(crate) fn begin<'o>(
    format: Format,
    table: &'static Table,
    about: &[(&str, String)],
    out: impl Write + Send + 'o,
) -> io::Result<Box<dyn TableWriter + 'o>> {
    let out = BufWriter::with_capacity(1 << 16, out);
    Ok(match format {
        Format::Parquet => Box::new(parquet::Parquet::begin(table, about, out)?),
        Format::Csv => Box::new(csv::Csv::begin(table, out)?),
        Format::Jsonl => Box::new(jsonl::Jsonl::begin(table, out)),
    })
}
