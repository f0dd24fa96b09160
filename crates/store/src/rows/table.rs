//! Rows as values: how a struct becomes columns, and columns a struct.

/// A value on its way into a database.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'a> {
    Int(Option<i64>),
    Text(Option<&'a str>),
}

impl<'a> Value<'a> {
    pub(crate) fn int(value: i64) -> Self {
        Value::Int(Some(value))
    }

    pub(crate) fn text(value: &'a str) -> Self {
        Value::Text(Some(value))
    }
}

/// Columns of one row on their way out of a database, by position.
///
/// Databases are input like any other: what has not the type it should have is an error.
pub(crate) trait Columns {
    type Error;
    fn int(&mut self, column: usize) -> Result<i64, Self::Error>;
    fn optional_int(&mut self, column: usize) -> Result<Option<i64>, Self::Error>;
    fn text(&mut self, column: usize) -> Result<String, Self::Error>;
    fn optional_text(&mut self, column: usize) -> Result<Option<String>, Self::Error>;
}

/// What a query gives, one a row: read by position.
pub(crate) trait Selected: Sized + Send {
    /// Reads the columns from the first on.
    fn get<C: Columns>(columns: &mut C) -> Result<Self, C::Error>;
}

/// A row of a table.
pub(crate) trait TableRow: Selected + Sync {
    const TABLE: &'static str;
    /// Columns of the key: a row that comes again with the same key takes the place of the one before.
    const KEY: &'static [&'static str];
    const COLUMNS: &'static [&'static str];
    /// What the column of the same position holds.
    const TYPES: &'static [ColumnType];

    /// Gives the values in the order of `COLUMNS`.
    fn put(&self, take: &mut impl FnMut(Value<'_>));
}

macro_rules! selected_tuple {
    ($($field:ident: $type:ident),*) => {
        impl<$($type: Field + Send),*> Selected for ($($type,)*) {
            fn get<Cells: Columns>(columns: &mut Cells) -> Result<Self, Cells::Error> {
                let mut column = 0..;
                $(let $field = Field::read(columns, column.next().unwrap_or(usize::MAX))?;)*
                Ok(($($field,)*))
            }
        }
    };
}
selected_tuple!(a: A);
selected_tuple!(a: A, b: B);
selected_tuple!(a: A, b: B, c: C);

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColumnType {
    /// Numbers, flags or texts.
    pub holds: Holds,
    /// Whether it may be null.
    pub null: bool,
}

/// See [`ColumnType`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Whole numbers of 64 bits.
    Int,
    /// 0 or 1.
    Flag,
    /// Text.
    Text,
}

/// A type that a column can have.
pub(crate) trait Field: Sized {
    const TYPE: ColumnType;
    fn value(&self) -> Value<'_>;
    fn read<C: Columns>(columns: &mut C, column: usize) -> Result<Self, C::Error>;
}

impl Field for i64 {
    const TYPE: ColumnType = ColumnType {
        holds: Holds::Int,
        null: false,
    };
    fn value(&self) -> Value<'_> {
        Value::Int(Some(*self))
    }
    fn read<C: Columns>(columns: &mut C, column: usize) -> Result<Self, C::Error> {
        columns.int(column)
    }
}

impl Field for Option<i64> {
    const TYPE: ColumnType = ColumnType {
        holds: Holds::Int,
        null: true,
    };
    fn value(&self) -> Value<'_> {
        Value::Int(*self)
    }
    fn read<C: Columns>(columns: &mut C, column: usize) -> Result<Self, C::Error> {
        columns.optional_int(column)
    }
}

impl Field for bool {
    const TYPE: ColumnType = ColumnType {
        holds: Holds::Flag,
        null: false,
    };
    fn value(&self) -> Value<'_> {
        Value::Int(Some(i64::from(*self)))
    }
    fn read<C: Columns>(columns: &mut C, column: usize) -> Result<Self, C::Error> {
        columns.int(column).map(|value| value != 0)
    }
}

impl Field for String {
    const TYPE: ColumnType = ColumnType {
        holds: Holds::Text,
        null: false,
    };
    fn value(&self) -> Value<'_> {
        Value::Text(Some(self))
    }
    fn read<C: Columns>(columns: &mut C, column: usize) -> Result<Self, C::Error> {
        columns.text(column)
    }
}

impl Field for Option<String> {
    const TYPE: ColumnType = ColumnType {
        holds: Holds::Text,
        null: true,
    };
    fn value(&self) -> Value<'_> {
        Value::Text(self.as_deref())
    }
    fn read<C: Columns>(columns: &mut C, column: usize) -> Result<Self, C::Error> {
        columns.optional_text(column)
    }
}

/// Declares a row: the struct, and its columns in the same order.
macro_rules! table_row {
    ($(#[$doc:meta])* $vis:vis struct $name:ident in $table:literal by [$($key:ident),*] {
        $($(#[$field_doc:meta])* $field:ident: $type:ty,)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        $vis struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
        }

        impl $crate::rows::TableRow for $name {
            const TABLE: &'static str = $table;
            const KEY: &'static [&'static str] = &[$(stringify!($key),)*];
            const COLUMNS: &'static [&'static str] = &[$(stringify!($field),)*];
            const TYPES: &'static [$crate::rows::ColumnType] = &[$(<$type as $crate::rows::Field>::TYPE,)*];

            fn put(&self, take: &mut impl FnMut($crate::rows::Value<'_>)) {
                $(take($crate::rows::Field::value(&self.$field));)*
            }
        }

        impl $crate::rows::Selected for $name {
            fn get<C: $crate::rows::Columns>(columns: &mut C) -> Result<Self, C::Error> {
                let mut column = 0..;
                $(let $field = $crate::rows::Field::read(columns, column.next().unwrap_or(usize::MAX))?;)*
                Ok(Self { $($field,)* })
            }
        }
    };
}
pub(crate) use table_row;
