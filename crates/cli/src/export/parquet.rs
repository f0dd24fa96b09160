//! Apache Parquet, by the columns: numbers INT64, times INT64 with the logical type of nanoseconds in UTC, flags BOOLEAN, texts strings.

use std::io::{self, Write};
use std::sync::Arc;

use bftap_store::rows::{Cell, Column, Holds, Table};
use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical, ZstdLevel};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;

use super::TableWriter;

/// Rows of a row group: readers skip whole ones, and one is held in memory until it is written.
const ROWS: usize = 65_536;

/// Bytes of texts after which a row group is written all the same.
const TEXT_BYTES: usize = 32 << 20;

/// Columns that are moments; other columns that end in `_ns` are spans.
const TIMES: [&str; 14] = [
    "started_ns",
    "finished_ns",
    "first_seen_ns",
    "last_seen_ns",
    "written_ns",
    "seen_ns",
    "thinned_before_ns",
    "minute_ns",
    "preprepare_ns",
    "prepared_ns",
    "committed_ns",
    "roundchange_ns",
    "first_ns",
    "time_ns",
];

/// Whether a column holds moments.
fn is_time(column: &str) -> bool {
    TIMES.contains(&column)
}

/// A Parquet file that grows by row groups.
pub(super) struct Parquet<W: Write + Send> {
    file: SerializedFileWriter<W>,
    columns: Vec<Column>,
    held: Vec<Values>,
    rows: usize,
    text_bytes: usize,
}

/// Values of a column, without nulls, and which rows have one.
struct Values {
    there: Vec<i16>,
    of: Typed,
}

enum Typed {
    Ints(Vec<i64>),
    Flags(Vec<bool>),
    Texts(Vec<ByteArray>),
}

impl<W: Write + Send> Parquet<W> {
    pub(super) fn begin(table: &'static Table, about: &[(&str, String)], out: W) -> io::Result<Self> {
        let columns: Vec<Column> = table.columns().collect();
        let fields = columns.iter().map(|column| field(*column).map(Arc::new));
        let fields = fields.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let schema = Type::group_type_builder(table.name)
            .with_fields(fields)
            .build()
            .map_err(failed)?;
        let about = about
            .iter()
            .map(|(key, value)| KeyValue::new((*key).to_owned(), value.clone()));
        let properties = WriterProperties::builder()
            .set_created_by(concat!("bftap ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_key_value_metadata(Some(about.collect()))
            .build();
        let file = SerializedFileWriter::new(out, Arc::new(schema), Arc::new(properties)).map_err(failed)?;
        let held = columns.iter().map(|column| Values::of(*column)).collect();
        Ok(Self {
            file,
            columns,
            held,
            rows: 0,
            text_bytes: 0,
        })
    }

    fn write_group(&mut self) -> Result<(), ParquetError> {
        if self.rows == 0 {
            return Ok(());
        }
        let mut group = self.file.next_row_group()?;
        for (values, column) in self.held.iter_mut().zip(&self.columns) {
            let Some(mut writer) = group.next_column()? else {
                break;
            };
            let there = column.holds.null.then_some(&*values.there);
            match &values.of {
                Typed::Ints(ints) => writer.typed::<Int64Type>().write_batch(ints, there, None)?,
                Typed::Flags(flags) => writer.typed::<BoolType>().write_batch(flags, there, None)?,
                Typed::Texts(texts) => writer.typed::<ByteArrayType>().write_batch(texts, there, None)?,
            };
            writer.close()?;
            *values = Values::of(*column);
        }
        group.close()?;
        (self.rows, self.text_bytes) = (0, 0);
        Ok(())
    }
}

impl<W: Write + Send> TableWriter for Parquet<W> {
    fn rows(&mut self, rows: &[Vec<Cell>]) -> io::Result<()> {
        for row in rows {
            for ((cell, values), column) in row.iter().zip(&mut self.held).zip(&self.columns) {
                self.text_bytes += values.push(cell, *column)?;
            }
            self.rows += 1;
            if self.rows >= ROWS || self.text_bytes >= TEXT_BYTES {
                self.write_group().map_err(failed)?;
            }
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.write_group().map_err(failed)?;
        // With the footer, and flushed.
        self.file.close().map_err(failed)?;
        Ok(())
    }
}

impl Values {
    const fn of(column: Column) -> Self {
        Self {
            there: Vec::new(),
            of: match column.holds.holds {
                Holds::Int => Typed::Ints(Vec::new()),
                Holds::Flag => Typed::Flags(Vec::new()),
                Holds::Text => Typed::Texts(Vec::new()),
            },
        }
    }

    /// Takes a value, and gives the bytes of its text.
    fn push(&mut self, cell: &Cell, column: Column) -> io::Result<usize> {
        let mut bytes = 0;
        let there = match (&mut self.of, cell) {
            (Typed::Ints(ints), Cell::Int(Some(value))) => {
                ints.push(*value);
                true
            }
            (Typed::Flags(flags), Cell::Int(Some(value))) => {
                flags.push(*value != 0);
                true
            }
            (Typed::Texts(texts), Cell::Text(Some(text))) => {
                bytes = text.len();
                texts.push(ByteArray::from(text.as_str()));
                true
            }
            _ if column.holds.null => false,
            _ => {
                let text = format!(
                    "there is no value in the column {}, which must have one",
                    column.name
                );
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
        };
        if column.holds.null {
            self.there.push(i16::from(there));
        }
        Ok(bytes)
    }
}

fn field(column: Column) -> Result<Type, ParquetError> {
    let (physical, logical) = match column.holds.holds {
        Holds::Int if is_time(column.name) => (
            Physical::INT64,
            Some(LogicalType::timestamp(true, TimeUnit::NANOS)),
        ),
        Holds::Int => (Physical::INT64, None),
        Holds::Flag => (Physical::BOOLEAN, None),
        Holds::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
    };
    Type::primitive_type_builder(column.name, physical)
        .with_logical_type(logical)
        .with_repetition(if column.holds.null {
            Repetition::OPTIONAL
        } else {
            Repetition::REQUIRED
        })
        .build()
}

/// What went wrong beneath, where that is known: a full disk is one.
fn failed(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(source) => match source.downcast::<io::Error>() {
            Ok(source) => *source,
            Err(source) => io::Error::other(source),
        },
        error => io::Error::other(error),
    }
}

#[cfg(test)]
mod tests {
    use bftap_store::rows::{Stored as _, TABLES, VoteRow};
    use parquet::file::reader::{FileReader as _, SerializedFileReader};
    use parquet::record::Field;

    use super::*;

    fn vote(sequence: i64) -> Vec<Cell> {
        let word = |text: &str| Cell::Text(Some(text.into()));
        let seen = sequence % 3 != 0;
        vec![
            Cell::Int(Some(1)),
            Cell::Int(Some(0)),
            Cell::Int(Some(sequence)),
            Cell::Int(Some(0)),
            word("commit"),
            word("cn\"1"),
            Cell::Int(Some(0)),
            Cell::Text(seen.then(|| format!("0x{sequence:064x}"))),
            Cell::Int(seen.then_some(1_795_251_683_887_116_812)),
            Cell::Text(None),
            Cell::Int(Some(2)),
            Cell::Int(Some(3)),
            Cell::Text(None),
            word("missing"),
        ]
    }

    #[test]
    fn what_is_written_is_read_back_with_its_types() {
        let mut bytes = Vec::new();
        let about = [("bftap.run", "night 3".to_owned())];
        let mut file = Box::new(Parquet::begin(VoteRow::table(), &about, &mut bytes).unwrap());
        let all = ROWS as i64 + 10;
        for start in (0..all).step_by(4096) {
            let page: Vec<_> = (start..all.min(start + 4096)).map(vote).collect();
            file.rows(&page).unwrap();
        }
        file.finish().unwrap();
        let reader = SerializedFileReader::new(bytes::Bytes::from(bytes)).unwrap();
        let metadata = reader.metadata();
        assert_eq!(
            (metadata.num_row_groups(), metadata.file_metadata().num_rows()),
            (2, all)
        );
        let about = metadata.file_metadata().key_value_metadata().unwrap();
        assert_eq!(about[0].value.as_deref(), Some("night 3"));
        let schema = metadata.file_metadata().schema_descr();
        let names: Vec<_> = schema.columns().iter().map(|column| column.name()).collect();
        let expected: Vec<_> = VoteRow::table().columns().map(|column| column.name).collect();
        assert_eq!(names, expected);
        assert_eq!(
            schema.column(8).logical_type_ref(),
            Some(&LogicalType::timestamp(true, TimeUnit::NANOS))
        );
        assert_eq!(schema.column(2).logical_type_ref(), None);
        for (sequence, row) in (0_i64..).zip(reader.get_row_iter(None).unwrap()) {
            let row = row.unwrap();
            let fields: Vec<&Field> = row.get_column_iter().map(|(_, field)| field).collect();
            assert_eq!(fields[2], &Field::Long(sequence));
            assert_eq!(fields[5], &Field::Str("cn\"1".to_owned()));
            assert_eq!(*fields[7] == Field::Null, sequence % 3 == 0);
            assert_eq!(*fields[8] == Field::Null, sequence % 3 == 0);
            assert_eq!(fields[12], &Field::Null);
        }
    }

    #[test]
    fn a_null_where_none_may_be_is_an_error() {
        let mut file = Parquet::begin(VoteRow::table(), &[], Vec::new()).unwrap();
        let mut row = vote(1);
        row[0] = Cell::Int(None);
        assert_eq!(file.rows(&[row]).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_full_disk_is_an_error_that_says_so() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let file = Parquet::begin(VoteRow::table(), &[], Full).and_then(|mut file| {
            file.rows(&[vote(1)])?;
            Box::new(file).finish()
        });
        assert_eq!(file.unwrap_err().kind(), io::ErrorKind::StorageFull);
    }

    /// Each column that ends in `_ns` is either a moment or known as a span.
    #[test]
    fn moments_and_spans_are_told_apart() {
        let mut times: Vec<_> = TABLES
            .iter()
            .flat_map(Table::columns)
            .filter(|column| is_time(column.name))
            .map(|column| column.name)
            .collect();
        times.sort_unstable();
        times.dedup();
        let mut listed = TIMES.to_vec();
        listed.sort_unstable();
        assert_eq!(times, listed);
        let spans: std::collections::BTreeSet<_> = TABLES
            .iter()
            .flat_map(Table::columns)
            .map(|column| column.name)
            .filter(|name| name.ends_with("_ns") && !is_time(name))
            .collect();
        let spans: Vec<_> = spans.into_iter().collect();
        assert_eq!(
            spans,
            [
                "block_time_ns",
                "commit_delay_p50_ns",
                "commit_delay_p95_ns",
                "delay_p50_ns",
                "delay_p95_ns",
                "lag_ns",
                "max_ns",
                "one_way_mean_ns",
                "one_way_min_ns",
                "p50_ns",
                "p95_ns",
                "p99_ns",
                "reconnect_p50_ns",
                "rtt_max_ns",
                "rtt_mean_ns",
                "rtt_min_ns",
                "rtt_smoothed_ns",
                "session_p50_ns",
                "skew_ns"
            ]
        );
    }
}
