//! Rows in portions, each for one INSERT.

use crate::rows::{TableRow, Value};

/// Cuts rows into portions of a few fixed sizes, largest first, so that few different statements are needed.
pub(crate) struct Chunks<I, R> {
    rows: I,
    waiting: Vec<R>,
    /// Bytes of texts in `waiting`.
    bytes: usize,
    sizes: &'static [usize],
    most_bytes: usize,
    any_size: bool,
}

impl<R: TableRow, I: Iterator<Item = R>> Chunks<I, R> {
    /// Portions of as many rows as one of `sizes` says (the largest first, the last one is 1), with at most `most_bytes` of
    /// texts, but for the last row.
    pub(crate) fn new(rows: I, sizes: &'static [usize], most_bytes: usize) -> Self {
        Self {
            rows,
            waiting: Vec::new(),
            bytes: 0,
            sizes,
            most_bytes,
            any_size: false,
        }
    }

    /// Portions of any size up to the largest.
    pub(crate) fn of_any_size(self) -> Self {
        Self {
            any_size: true,
            ..self
        }
    }

    /// The next portion; `None` at the end.
    pub(crate) fn next(&mut self) -> Option<Vec<R>> {
        while self.waiting.len() < self.sizes[0] && self.bytes < self.most_bytes {
            let Some(row) = self.rows.next() else {
                break;
            };
            self.bytes += text_bytes(&row);
            self.waiting.push(row);
        }
        if self.waiting.is_empty() {
            return None;
        }
        let fits = self.sizes.iter().find(|size| **size <= self.waiting.len());
        let size = if self.any_size {
            self.waiting.len()
        } else {
            *fits.unwrap_or(&1)
        };
        let chunk: Vec<R> = self.waiting.drain(..size).collect();
        self.bytes = self.waiting.iter().map(text_bytes).sum();
        Some(chunk)
    }
}

fn text_bytes<R: TableRow>(row: &R) -> usize {
    let mut bytes = 0;
    row.put(&mut |value| {
        if let Value::Text(Some(text)) = value {
            bytes += text.len();
        }
    });
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::LabelRow;

    fn sizes(rows: i64, text: &str, most_bytes: usize) -> Vec<usize> {
        let row = |label_id| LabelRow {
            run_id: 1,
            label_id,
            label: text.to_owned(),
        };
        let mut chunks = Chunks::new((0..rows).map(row), &[8, 4, 1], most_bytes);
        let mut sizes = Vec::new();
        let mut next = 0;
        while let Some(chunk) = chunks.next() {
            for row in &chunk {
                assert_eq!(row.label_id, next);
                next += 1;
            }
            sizes.push(chunk.len());
        }
        assert_eq!(next, rows);
        sizes
    }

    #[test]
    fn every_row_comes_once_and_in_order() {
        assert_eq!(sizes(0, "x", 1000), [0; 0]);
        assert_eq!(sizes(8, "x", 1000), [8]);
        assert_eq!(sizes(22, "x", 1000), [8, 8, 4, 1, 1]);
    }

    #[test]
    fn long_texts_make_small_portions() {
        assert_eq!(sizes(9, "x", 5), [4, 4, 1]);
        assert_eq!(sizes(3, "a text longer than that", 5), [1, 1, 1]);
    }
}
