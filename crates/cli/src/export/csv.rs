//! Comma-separated values: RFC 4180, with a line of names first.

use std::borrow::Cow;
use std::io::{self, Write};

use bftap_store::rows::{Cell, Table};

use super::TableWriter;

/// A CSV file that grows.
pub(super) struct Csv<W> {
    out: W,
}

impl<W: Write> Csv<W> {
    pub(super) fn begin(table: &'static Table, mut out: W) -> io::Result<Self> {
        let names: Vec<_> = table.columns().map(|column| column.name).collect();
        write!(out, "{}\r\n", names.join(","))?;
        Ok(Self { out })
    }
}

impl<W: Write> TableWriter for Csv<W> {
    fn rows(&mut self, rows: &[Vec<Cell>]) -> io::Result<()> {
        for row in rows {
            for (place, cell) in row.iter().enumerate() {
                if place > 0 {
                    self.out.write_all(b",")?;
                }
                match cell {
                    Cell::Int(Some(number)) => write!(self.out, "{number}")?,
                    Cell::Text(Some(text)) => self.out.write_all(field(text).as_bytes())?,
                    Cell::Int(None) | Cell::Text(None) => {}
                }
            }
            self.out.write_all(b"\r\n")?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.out.flush()
    }
}

/// A text as a field. Peers choose some of them: one that a spreadsheet would take for a formula begins with `'`.
///
/// Characters: <https://owasp.org/www-community/attacks/CSV_Injection>. An empty text is `""`, null is nothing at all.
fn field(text: &str) -> Cow<'_, str> {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    let quoted = text.is_empty() || text.contains([',', '"', '\r', '\n', ';', '\t']);
    if !formula && !quoted && text.trim() == text {
        return Cow::Borrowed(text);
    }
    let mark = if formula { "'" } else { "" };
    Cow::Owned(format!("\"{mark}{}\"", text.replace('"', "\"\"")))
}

#[cfg(test)]
mod tests {
    use bftap_store::rows::CopiesRow;
    use bftap_store::rows::Stored as _;

    use super::*;

    #[test]
    fn fields_are_quoted_where_they_must_be() {
        for (text, expected) in [
            ("cn1", "cn1"),
            ("", "\"\""),
            ("a,b", "\"a,b\""),
            ("say \"no\"", "\"say \"\"no\"\"\""),
            ("two\r\nlines", "\"two\r\nlines\""),
            (" padded", "\" padded\""),
            ("Klaytn/v1.4.2", "Klaytn/v1.4.2"),
            ("케이노드 🦀", "케이노드 🦀"),
        ] {
            assert_eq!(field(text), expected);
        }
    }

    #[test]
    fn what_a_peer_chose_is_no_formula() {
        for (text, expected) in [
            (
                "=HYPERLINK(\"http://x\",\"y\")",
                "\"'=HYPERLINK(\"\"http://x\"\",\"\"y\"\")\"",
            ),
            ("+1", "\"'+1\""),
            ("-2", "\"'-2\""),
            ("@SUM(A1)", "\"'@SUM(A1)\""),
            ("\t=1", "\"'\t=1\""),
            ("\n=1", "\"'\n=1\""),
            ("a=1", "a=1"),
        ] {
            assert_eq!(field(text), expected);
        }
    }

    #[test]
    fn rows_are_lines_and_null_is_nothing() {
        let mut text = Vec::new();
        let mut csv = Box::new(Csv::begin(CopiesRow::table(), &mut text).unwrap());
        csv.rows(&[
            vec![
                Cell::Int(Some(1)),
                Cell::Text(Some("a,b".into())),
                Cell::Int(Some(-2)),
                Cell::Int(None),
            ],
            vec![
                Cell::Int(Some(i64::MAX)),
                Cell::Text(None),
                Cell::Int(Some(i64::MIN)),
                Cell::Int(Some(0)),
            ],
        ])
        .unwrap();
        csv.finish().unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "run_id,receiver_ip,copies,payloads\r\n1,\"a,b\",-2,\r\n9223372036854775807,,-9223372036854775808,0\r\n"
        );
    }
}
