//! Why bytes are not a consensus message, and where they stop being one.

use std::fmt;

use crate::rlp_view::ItemKind;

/// Why a message could not be decoded, and where.
///
/// `Display` gives the place and the field, `source` the reason: a printed chain says each once.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot decode {field} at byte {offset}")]
pub struct DecodeError {
    /// Position of the offending item in the bytes that were given: the message for
    /// [`Dialect::open`](crate::Dialect::open), the payload for [`Dialect::decode`](crate::Dialect::decode).
    pub offset: usize,
    /// Name of the field in the client's source (`Subject.Digest`), for a person.
    pub field: &'static str,
    /// What is wrong with it.
    #[source]
    pub kind: DecodeErrorKind,
}

impl DecodeError {
    /// The same error seen from bytes in which these start at `by`.
    #[must_use]
    pub fn shifted(mut self, by: usize) -> Self {
        self.offset = self.offset.saturating_add(by);
        self
    }

    /// Stable word for counters: [`DecodeErrorKind::reason`].
    pub const fn reason(&self) -> &'static str {
        self.kind.reason()
    }
}

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// An item declares more bytes than there are.
    #[error("the item needs {}, {available} are there", Bytes(*needed))]
    Truncated {
        /// Bytes the item needs, its length prefix included.
        needed: u64,
        /// Bytes that are left.
        available: usize,
    },
    /// A length prefix or an integer is not in its shortest form, which RLP demands.
    #[error("not the shortest form of the value, as RLP demands")]
    NotCanonical,
    /// A list where a string belongs, or the other way round.
    #[error("a {expected} belongs here, not a {}", expected.other())]
    WrongType {
        /// What belongs here.
        expected: ItemKind,
    },
    /// A list with too few or too many items.
    #[error("the list has {found} items, {expected} belong in it")]
    WrongItemCount {
        /// Items that belong in the list (the least number, where more are allowed).
        expected: usize,
        /// Items that are in it.
        found: usize,
    },
    /// A string of the wrong length.
    #[error("{} where {expected} belong", Bytes(*found as u64))]
    BadLength {
        /// Bytes that belong here.
        expected: usize,
        /// Bytes that are here.
        found: usize,
    },
    /// An integer beyond what this field may hold.
    #[error("the number is larger than {limit}")]
    OutOfRange {
        /// Largest allowed value.
        limit: u64,
    },
    /// A message code that no kind of consensus message has.
    #[error("no kind of consensus message has code {code}")]
    UnknownCode {
        /// The code.
        code: u64,
    },
    /// Bytes behind the end of the value.
    #[error("more than the value: {} behind its end", Bytes(*count as u64))]
    TrailingBytes {
        /// How many.
        count: usize,
    },
}

/// A number of bytes in words.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("1 byte"),
            count => write!(f, "{count} bytes"),
        }
    }
}

impl DecodeErrorKind {
    /// Short stable word, used as the key of counters and in reports.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Truncated { .. } => "truncated",
            Self::NotCanonical => "not_canonical",
            Self::WrongType { .. } => "wrong_type",
            Self::WrongItemCount { .. } => "wrong_item_count",
            Self::BadLength { .. } => "bad_length",
            Self::OutOfRange { .. } => "out_of_range",
            Self::UnknownCode { .. } => "unknown_code",
            Self::TrailingBytes { .. } => "trailing_bytes",
        }
    }

    /// Puts the reason at its place.
    pub const fn at(self, offset: usize, field: &'static str) -> DecodeError {
        DecodeError {
            offset,
            field,
            kind: self,
        }
    }
}
