//! Columns of a database's row, by position.

use sqlx::{ColumnIndex, Decode, Row, Type};

use crate::rows::Columns;

/// A row that a query gave.
pub(crate) struct Cells<'a, R>(pub(crate) &'a R);

impl<'r, R> Columns for Cells<'r, R>
where
    R: Row,
    usize: ColumnIndex<R>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
    String: Decode<'r, R::Database> + Type<R::Database>,
{
    type Error = sqlx::Error;

    fn int(&mut self, column: usize) -> Result<i64, sqlx::Error> {
        self.0.try_get(column)
    }

    fn optional_int(&mut self, column: usize) -> Result<Option<i64>, sqlx::Error> {
        self.0.try_get(column)
    }

    fn text(&mut self, column: usize) -> Result<String, sqlx::Error> {
        self.0.try_get(column)
    }

    fn optional_text(&mut self, column: usize) -> Result<Option<String>, sqlx::Error> {
        self.0.try_get(column)
    }
}
