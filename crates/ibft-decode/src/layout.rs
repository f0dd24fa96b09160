//! Layouts of messages as data: decoding checks headers by them, and [`dissect`](crate::dissect) shows everything by them.

use crate::error::{DecodeError, DecodeErrorKind};
use crate::rlp_view::Item;

/// A named place in a layout.
#[derive(Debug)]
pub(crate) struct FieldLayout {
    /// Name in the client's source, after the name of what it belongs to: `Header.Number`.
    pub(crate) name: &'static str,
    /// What belongs there.
    pub(crate) shape: Shape,
}

/// A list with a meaning for each place.
#[derive(Debug)]
pub(crate) struct ListLayout {
    /// Fields in order.
    pub(crate) fields: &'static [FieldLayout],
    /// So many of them must be there.
    pub(crate) required: usize,
    /// Whether unknown items may follow: later forks append to headers.
    pub(crate) open: bool,
}

/// What belongs in a place.
#[derive(Debug)]
pub(crate) enum Shape {
    /// An integer up to a limit.
    Uint(u64),
    /// Seconds since the epoch.
    Time,
    /// An integer of any size.
    BigUint,
    /// A string of so many bytes.
    Fixed(usize),
    /// A string of any length.
    Bytes,
    /// A signature: 65 bytes, but another length is the judge's concern, not the decoder's.
    Signature,
    /// The code of one of the four kinds.
    Code,
    /// Extra data: vanity and an RLP list behind it.
    Extra,
    /// A list of fields.
    List(&'static ListLayout),
    /// A list of items that are all alike.
    Each(&'static FieldLayout),
    /// Any item; its inside is not looked at.
    Any,
    /// A string that holds the encoding of something.
    Wrapped(&'static FieldLayout),
    /// A string that holds the encoding of what the code before it says, in the order of [`Kind::ALL`](crate::Kind::ALL).
    WrappedByCode([&'static FieldLayout; 4]),
}

impl FieldLayout {
    /// A place of this name.
    pub(crate) const fn new(name: &'static str, shape: Shape) -> Self {
        Self { name, shape }
    }

    /// Checks an item against a shape of one value; of lists and wrapped items only that they are lists and strings.
    #[inline]
    pub(crate) fn check(&self, item: &Item<'_>) -> Result<(), DecodeError> {
        match self.shape {
            Shape::Uint(limit) => item.uint(limit, self.name).map(drop),
            Shape::Time => item.uint(crate::istanbul::MAX_NUMBER, self.name).map(drop),
            Shape::BigUint => item.big_uint(self.name).map(drop),
            Shape::Fixed(expected) => {
                let found = item.bytes(self.name)?.len();
                if found == expected {
                    return Ok(());
                }
                Err(DecodeErrorKind::BadLength { expected, found }.at(item.offset(), self.name))
            }
            Shape::Code => crate::istanbul::kind(item).map(drop),
            Shape::Bytes | Shape::Signature | Shape::Extra | Shape::Wrapped(_) | Shape::WrappedByCode(_) => {
                item.bytes(self.name).map(drop)
            }
            Shape::List(_) | Shape::Each(_) => item.items(self.name).map(drop),
            Shape::Any => Ok(()),
        }
    }
}
