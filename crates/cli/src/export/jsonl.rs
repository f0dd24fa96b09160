//! JSON lines: one object a row, its keys in the order of the columns.

use std::io::{self, Write};

use bftap_store::rows::{Cell, Column, Holds, Table};

use super::TableWriter;

/// A file of JSON lines that grows.
pub(super) struct Jsonl<W> {
    columns: Vec<Column>,
    out: W,
}

impl<W: Write> Jsonl<W> {
    pub(super) fn begin(table: &'static Table, out: W) -> Self {
        Self {
            columns: table.columns().collect(),
            out,
        }
    }
}

impl<W: Write> TableWriter for Jsonl<W> {
    fn rows(&mut self, rows: &[Vec<Cell>]) -> io::Result<()> {
        for row in rows {
            for (place, (cell, column)) in row.iter().zip(&self.columns).enumerate() {
                let before = if place == 0 { '{' } else { ',' };
                write!(self.out, "{before}\"{}\":", column.name)?;
                match cell {
                    Cell::Int(Some(number)) if column.holds.holds == Holds::Flag => {
                        write!(self.out, "{}", *number != 0)?;
                    }
                    Cell::Int(Some(number)) => write!(self.out, "{number}")?,
                    Cell::Text(Some(text)) => serde_json::to_writer(&mut self.out, text)?,
                    Cell::Int(None) | Cell::Text(None) => self.out.write_all(b"null")?,
                }
            }
            self.out.write_all(b"}\n")?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use bftap_store::rows::NodeRow;
    use bftap_store::rows::Stored as _;

    use super::*;

    #[test]
    fn rows_are_objects() {
        let mut text = Vec::new();
        let mut file = Box::new(Jsonl::begin(NodeRow::table(), &mut text));
        let word = |text: &str| Cell::Text(Some(text.into()));
        file.rows(&[vec![
            Cell::Int(Some(1)),
            Cell::Int(Some(0)),
            word("cn\"1\u{1b}\n"),
            Cell::Text(None),
            Cell::Text(None),
            word("0xaa"),
            Cell::Text(None),
            Cell::Text(None),
            word("full"),
            Cell::Int(Some(1)),
        ]])
        .unwrap();
        file.finish().unwrap();
        let text = String::from_utf8(text).unwrap();
        assert_eq!(
            text,
            "{\"run_id\":1,\"node_number\":0,\"label\":\"cn\\\"1\\u001b\\n\",\"name\":null,\"node_id\":null,\
             \"address\":\"0xaa\",\"client\":null,\"role\":null,\"coverage\":\"full\",\"validator\":true}\n"
        );
        serde_json::from_str::<serde_json::Value>(&text).unwrap();
    }
}
