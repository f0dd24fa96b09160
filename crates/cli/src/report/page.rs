//! Laying out a page of text: headings, tables, bars, wrapped lines.
//!
//! Every text that reaches a page goes through [`safe`], whatever its source.

use std::borrow::Cow;

use crate::term::{Ink, Style, fit, safe, width_of};

/// A page that grows downwards.
#[derive(Debug)]
pub(crate) struct Page {
    text: String,
    style: Style,
}

impl Page {
    pub(crate) const fn new(style: Style) -> Self {
        Self {
            text: String::new(),
            style,
        }
    }

    pub(crate) const fn style(&self) -> Style {
        self.style
    }

    /// What was written.
    pub(crate) fn into_text(self) -> String {
        self.text
    }

    /// Starts a section, with a remark in small print.
    pub(crate) fn heading(&mut self, title: &str, remark: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(&self.style.paint(Ink::Heading, title));
        self.text.push('\n');
        if !remark.is_empty() {
            self.paragraph(Ink::Faint, "", remark);
        }
    }

    /// A line as it is, indented.
    pub(crate) fn line(&mut self, text: &str) {
        self.text.push_str(INDENT);
        self.text
            .push_str(fit(&safe(text), self.style.width.saturating_sub(INDENT.len())).trim_end());
        self.text.push('\n');
    }

    /// Text broken into lines at spaces; `mark` stands before the first, the others are indented by its width.
    pub(crate) fn paragraph(&mut self, ink: Ink, mark: &str, text: &str) {
        let hang = " ".repeat(width_of(mark));
        let columns = self.style.width.saturating_sub(INDENT.len() + hang.len()).max(20);
        for (number, line) in wrap(&safe(text), columns).into_iter().enumerate() {
            let before = if number == 0 {
                self.style.paint(ink, mark)
            } else {
                hang.clone()
            };
            let body = if mark.is_empty() {
                self.style.paint(ink, line)
            } else {
                line.to_owned()
            };
            self.text.push_str(INDENT);
            self.text.push_str(&before);
            self.text.push_str(&body);
            self.text.push('\n');
        }
    }

    /// A table; nothing where it has no rows.
    pub(crate) fn table(&mut self, table: &Table) {
        if table.rows.is_empty() {
            return;
        }
        let widths = table.widths(self.style.width.saturating_sub(INDENT.len()));
        if table.columns.iter().any(|column| !column.title.is_empty()) {
            let titles = table
                .columns
                .iter()
                .map(|column| Cell::from(column.title).ink(Ink::Faint))
                .collect::<Vec<_>>();
            self.row(table, &titles, &widths);
        }
        for row in &table.rows {
            self.row(table, row, &widths);
        }
    }

    fn row(&mut self, table: &Table, cells: &[Cell], widths: &[usize]) {
        let mut line = String::from(INDENT);
        for (number, ((cell, column), &width)) in cells.iter().zip(&table.columns).zip(widths).enumerate() {
            if number > 0 {
                line.push_str(BETWEEN);
            }
            let text = fit(&cell.text, width);
            let padding = " ".repeat(width.saturating_sub(width_of(&text)));
            let painted = match cell.ink {
                Some(ink) if !text.is_empty() => Cow::Owned(self.style.paint(ink, &text)),
                _ => text,
            };
            match column.align {
                Align::Left => {
                    line.push_str(&painted);
                    line.push_str(&padding);
                }
                Align::Right => {
                    line.push_str(&padding);
                    line.push_str(&painted);
                }
            }
        }
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }
}

/// Rows under titles.
#[derive(Debug, Default)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

#[derive(Debug)]
struct Column {
    title: &'static str,
    align: Align,
    /// May be cut when the page is narrow.
    gives_way: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Align {
    Left,
    Right,
}

impl Table {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A column of words.
    pub(crate) fn words(self, title: &'static str) -> Self {
        self.column(title, Align::Left, false)
    }

    /// A column of words that is cut when the page is too narrow.
    pub(crate) fn long_words(self, title: &'static str) -> Self {
        self.column(title, Align::Left, true)
    }

    /// A column of numbers.
    pub(crate) fn numbers(self, title: &'static str) -> Self {
        self.column(title, Align::Right, false)
    }

    fn column(mut self, title: &'static str, align: Align, gives_way: bool) -> Self {
        self.columns.push(Column {
            title,
            align,
            gives_way,
        });
        self
    }

    /// Adds a row; missing cells at its end are empty.
    pub(crate) fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        debug_assert!(
            N <= self.columns.len(),
            "a row of {N} cells in a table of {} columns",
            self.columns.len()
        );
        self.rows.push(cells.into());
    }

    fn widths(&self, available: usize) -> Vec<usize> {
        let mut widths: Vec<usize> = self
            .columns
            .iter()
            .enumerate()
            .map(|(number, column)| {
                let cells = self.rows.iter().filter_map(|row| row.get(number));
                cells
                    .map(|cell| width_of(&cell.text))
                    .chain([width_of(column.title)])
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let used = widths.iter().sum::<usize>() + BETWEEN.len() * widths.len().saturating_sub(1);
        let mut excess = used.saturating_sub(available);
        // The widest column gives way first, down to a width at which something can still be recognised.
        while excess > 0 {
            let widest = (0..widths.len())
                .filter(|&number| self.columns[number].gives_way && widths[number] > NARROWEST)
                .max_by_key(|&number| widths[number]);
            let Some(widest) = widest else { break };
            let cut = excess.min(widths[widest] - NARROWEST);
            widths[widest] -= cut;
            excess -= cut;
        }
        widths
    }
}

/// One cell of a table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cell {
    text: String,
    ink: Option<Ink>,
}

impl Cell {
    /// In this colour.
    pub(crate) const fn ink(mut self, ink: Ink) -> Self {
        self.ink = Some(ink);
        self
    }

    /// In this colour if `condition` holds.
    pub(crate) const fn ink_if(self, condition: bool, ink: Ink) -> Self {
        if condition { self.ink(ink) } else { self }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self {
            text: safe(text).into_owned(),
            ink: None,
        }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<u64> for Cell {
    fn from(number: u64) -> Self {
        Self {
            text: count(number),
            ink: None,
        }
    }
}

/// A bar of `value` on a scale that ends at `full` after `columns` columns, in eighths of a column.
pub(crate) fn bar(value: f64, full: f64, columns: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    if full <= 0.0 || value <= 0.0 {
        return String::new();
    }
    let eighths = ((value / full).min(1.0) * (columns * 8) as f64).round() as usize;
    // What is not nothing is seen.
    let eighths = eighths.max(1);
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

/// A bar on a track that shows the whole scale, with a tick at `mark`.
pub(crate) fn gauge(value: f64, full: f64, mark: f64, columns: usize) -> String {
    let place = |value: f64| ((value / full).clamp(0.0, 1.0) * columns as f64).round() as usize;
    if full <= 0.0 || columns == 0 {
        return String::new();
    }
    let (end, tick) = (place(value), place(mark).min(columns - 1));
    (0..columns)
        .map(|column| match column {
            column if column == tick => '│',
            column if column < end => '█',
            _ => '░',
        })
        .collect()
}

/// `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 session`, `2 sessions`.
pub(crate) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// Bytes in decimal units: `9.2 MB`.
pub(crate) fn bytes(number: u64) -> String {
    let mut value = number as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 999.5 {
            return match unit {
                "B" => format!("{number} B"),
                _ if value < 9.95 => format!("{value:.1} {unit}"),
                _ => format!("{value:.0} {unit}"),
            };
        }
        value /= 1000.0;
    }
    format!("{value:.1} TB")
}

/// A span of time: `97.1 s`, `12 ms`, `2.5 h`.
pub(crate) fn duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = shown_duration(nanos.unsigned_abs());
    let seconds = nanos as f64 / 1e9;
    let text = match nanos {
        n if n < MILLI => format!("{:.0} µs", seconds * 1e6),
        n if n < 10 * MILLI => format!("{:.2} ms", seconds * 1e3),
        n if n < SECOND => format!("{:.0} ms", seconds * 1e3),
        n if n < 120 * SECOND => format!("{seconds:.1} s"),
        n if n < 2 * HOUR => format!("{:.0} min", seconds / 60.0),
        n if n < 2 * DAY => format!("{:.1} h", seconds / 3600.0),
        n if n < 1000 * DAY => format!("{:.1} days", seconds / 86_400.0),
        _ => format!("{:.0} days", seconds / 86_400.0),
    };
    format!("{sign}{text}")
}

/// A span of time as [`duration`] shows it: nanoseconds rounded to its last digit. Never falls when `nanos` grows.
pub(crate) fn shown_duration(nanos: u64) -> u64 {
    /// Below the first, the second is the last digit.
    const DIGITS: [(u64, u64); 7] = [
        (MILLI, MILLI / 1000),
        (10 * MILLI, MILLI / 100),
        (SECOND, MILLI),
        (120 * SECOND, SECOND / 10),
        (2 * HOUR, 60 * SECOND),
        (2 * DAY, HOUR / 10),
        (1000 * DAY, DAY / 10),
    ];
    let to = |digit: u64| nanos.saturating_add(digit / 2) / digit * digit;
    DIGITS
        .into_iter()
        .map(|(end, digit)| (end, to(digit)))
        .find_map(|(end, rounded)| (rounded < end).then_some(rounded))
        .unwrap_or_else(|| to(DAY))
}

const MILLI: u64 = 1_000_000;
const SECOND: u64 = 1000 * MILLI;
const HOUR: u64 = 3600 * SECOND;
const DAY: u64 = 24 * HOUR;

/// A factor: `4.3×`.
pub(crate) fn factor(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}×"))
}

/// Lines of at most `columns` columns; words longer than that are broken.
fn wrap(text: &str, columns: usize) -> Vec<&str> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut rest = paragraph.trim_end();
        while width_of(rest) > columns {
            let mut used = 0;
            let mut end = 0;
            let mut space = None;
            for (at, c) in rest.char_indices() {
                if c == ' ' && at > 0 {
                    space = Some(at);
                }
                used += width_of(c.encode_utf8(&mut [0; 4]));
                if used > columns {
                    break;
                }
                end = at + c.len_utf8();
            }
            let cut = space
                .unwrap_or(end)
                .max(rest.chars().next().map_or(1, char::len_utf8));
            lines.push(rest[..cut].trim_end());
            rest = rest[cut..].trim_start();
        }
        lines.push(rest);
    }
    lines
}

const INDENT: &str = "  ";
const BETWEEN: &str = "  ";

/// Columns that a column keeps when it gives way.
const NARROWEST: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Style = Style {
        width: 40,
        colour: false,
    };

    #[test]
    fn tables_align_and_give_way() {
        let mut page = Page::new(PLAIN);
        let mut table = Table::new().long_words("who").numbers("how many").words("");
        table.row(["a".into(), 5.into(), "x".into()]);
        table.row([
            "a name that is longer than the page is wide".into(),
            1_234_567.into(),
            "y".into(),
        ]);
        page.table(&table);
        assert_eq!(
            page.into_text(),
            "  who                        how many\n\
             \x20 a                                 5  x\n\
             \x20 a name that is longer t…  1,234,567  y\n"
        );
    }

    #[test]
    fn hostile_cells_stay_in_their_cell() {
        let mut page = Page::new(PLAIN);
        let mut table = Table::new().words("name");
        table.row(["\x1b[2J\nx".into()]);
        page.table(&table);
        page.line("a\rb");
        page.paragraph(Ink::Faint, "- ", "c\x07d");
        let text = page.into_text();
        assert_eq!(text, "  name\n  \\u{1b}[2J\\u{a}x\n  a\\u{d}b\n  - c\\u{7}d\n");
    }

    #[test]
    fn paragraphs_wrap_at_spaces_and_hang() {
        let mut page = Page::new(PLAIN);
        page.paragraph(
            Ink::Warning,
            "! ",
            "one two three four five six seven eight nine ten",
        );
        assert_eq!(
            page.into_text(),
            "  ! one two three four five six seven\n    eight nine ten\n"
        );
        assert_eq!(wrap("aaaaaaaaaa", 4), ["aaaa", "aaaa", "aa"]);
        assert_eq!(wrap("케이노드", 3), ["케", "이", "노", "드"]);
        assert_eq!(wrap("", 4), [""; 0]);
    }

    #[test]
    fn colour_does_not_move_columns() {
        let mut table = Table::new().words("a").numbers("b");
        table.row([Cell::from("x").ink(Ink::Bad), Cell::from(7).ink(Ink::Good)]);
        let plain = {
            let mut page = Page::new(PLAIN);
            page.table(&table);
            page.into_text()
        };
        let mut page = Page::new(Style {
            colour: true,
            ..PLAIN
        });
        page.table(&table);
        let coloured = page.into_text();
        assert!(coloured.contains("\x1b[31mx\x1b[0m"));
        let stripped = coloured
            .replace("\x1b[31m", "")
            .replace("\x1b[32m", "")
            .replace("\x1b[2m", "");
        assert_eq!(stripped.replace("\x1b[0m", ""), plain);
    }

    #[test]
    fn bars_are_proportional_and_never_lie_about_nothing() {
        assert_eq!(bar(0.0, 10.0, 4), "");
        assert_eq!(bar(10.0, 10.0, 4), "████");
        assert_eq!(bar(5.0, 10.0, 4), "██");
        assert_eq!(bar(0.001, 10.0, 4), "▏");
        assert_eq!(bar(20.0, 10.0, 4), "████");
        assert_eq!(bar(1.0, 0.0, 4), "");
        assert_eq!(gauge(5.0, 10.0, 2.0, 10), "██│██░░░░░");
        assert_eq!(gauge(1.0, 10.0, 10.0, 10), "█░░░░░░░░│");
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!(
            [count(0), count(999), count(1000), count(1_234_567)],
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(
            [bytes(0), bytes(999), bytes(9_216_696), bytes(553_000_000)],
            ["0 B", "999 B", "9.2 MB", "553 MB"]
        );
        assert_eq!(bytes(u64::MAX), "18446744.1 TB");
        assert_eq!(
            [
                duration(12_345),
                duration(1_234_000),
                duration(97_100_000_000),
                duration(7_200_000_000_000)
            ],
            ["12 µs", "1.23 ms", "97.1 s", "2.0 h"]
        );
        assert_eq!(
            [
                duration(999_499),
                duration(999_500),
                duration(9_995_000),
                duration(999_500_000),
                duration(119_950_000_000),
                duration(-1_234_000),
                duration(i64::MAX)
            ],
            [
                "999 µs",
                "1.00 ms",
                "10 ms",
                "1.0 s",
                "2 min",
                "-1.23 ms",
                "106752 days"
            ]
        );
        assert_eq!([factor(None), factor(Some(4.256))], ["-", "4.26×"]);
        assert_eq!(
            [counted(1, "node", "nodes"), counted(0, "node", "nodes")],
            ["1 node", "0 nodes"]
        );
    }
}
