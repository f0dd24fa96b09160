//! A borrowed view of RLP: items are slices of the input, and know their place in it.
//!
//! Strict as the nodes' own decoder is (go-ethereum and Klaytn `rlp/decode.go`): lengths and integers in their
//! shortest form only. Nothing recurses: nesting is followed only as deep as a layout asks, so the work is linear in
//! the input times the (constant) depth of the layout.

use std::fmt;

use crate::error::{DecodeError, DecodeErrorKind};

/// The two kinds of RLP item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemKind {
    /// A string of bytes.
    String,
    /// A list of items.
    List,
}

impl ItemKind {
    /// The kind that this is not.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::String => Self::List,
            Self::List => Self::String,
        }
    }
}

impl fmt::Display for ItemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::String => "string",
            Self::List => "list",
        })
    }
}

/// One RLP item inside a larger input.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    raw: &'a [u8],
    prefix: usize,
    offset: usize,
    kind: ItemKind,
}

impl<'a> Item<'a> {
    /// Reads the first item of `input`; `offset` is the place of `input` in the whole, `field` names it in errors.
    #[inline]
    pub fn first(input: &'a [u8], offset: usize, field: &'static str) -> Result<Self, DecodeError> {
        let head = Head::read(input).map_err(|kind| kind.at(offset, field))?;
        let needed = (head.prefix as u64).saturating_add(head.len);
        let raw = usize::try_from(needed)
            .ok()
            .and_then(|end| input.get(..end))
            .ok_or_else(|| {
                DecodeErrorKind::Truncated {
                    needed,
                    available: input.len(),
                }
                .at(offset, field)
            })?;
        if head.prefix == 1 && head.len == 1 && head.kind == ItemKind::String && raw[1] < 0x80 {
            return Err(DecodeErrorKind::NotCanonical.at(offset, field));
        }
        Ok(Self {
            raw,
            prefix: head.prefix,
            offset,
            kind: head.kind,
        })
    }

    /// Reads the one item that `input` consists of.
    #[inline]
    pub fn only(input: &'a [u8], offset: usize, field: &'static str) -> Result<Self, DecodeError> {
        let item = Self::first(input, offset, field)?;
        let count = input.len() - item.raw.len();
        if count > 0 {
            return Err(DecodeErrorKind::TrailingBytes { count }.at(offset + item.raw.len(), field));
        }
        Ok(item)
    }

    /// String or list.
    pub const fn kind(&self) -> ItemKind {
        self.kind
    }

    /// Place of the item's first byte, its length prefix included.
    pub const fn offset(&self) -> usize {
        self.offset
    }

    /// The whole encoding, length prefix included.
    pub const fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// What is behind the length prefix.
    #[inline]
    pub fn content(&self) -> &'a [u8] {
        &self.raw[self.prefix..]
    }

    /// Place of [`content`](Self::content).
    pub const fn content_offset(&self) -> usize {
        self.offset + self.prefix
    }

    /// Content of a string.
    #[inline]
    pub fn bytes(&self, field: &'static str) -> Result<&'a [u8], DecodeError> {
        self.expect(ItemKind::String, field)?;
        Ok(self.content())
    }

    /// Content of a string of exactly `N` bytes.
    #[inline]
    pub fn fixed<const N: usize>(&self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let bytes = self.bytes(field)?;
        bytes.try_into().map_err(|_| {
            DecodeErrorKind::BadLength {
                expected: N,
                found: bytes.len(),
            }
            .at(self.offset, field)
        })
    }

    /// An integer up to `limit`.
    #[inline]
    pub fn uint(&self, limit: u64, field: &'static str) -> Result<u64, DecodeError> {
        let digits = self.big_uint(field)?;
        let too_large = || DecodeErrorKind::OutOfRange { limit }.at(self.offset, field);
        if digits.len() > 8 {
            return Err(too_large());
        }
        let value = digits
            .iter()
            .fold(0, |value, &digit| value << 8 | u64::from(digit));
        if value > limit {
            Err(too_large())
        } else {
            Ok(value)
        }
    }

    /// Big-endian digits of an integer of any size, without leading zeros.
    #[inline]
    pub fn big_uint(&self, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let digits = self.bytes(field)?;
        if digits.first() == Some(&0) {
            return Err(DecodeErrorKind::NotCanonical.at(self.offset, field));
        }
        Ok(digits)
    }

    /// The item that stands encoded inside this string.
    #[inline]
    pub fn wrapped(&self, field: &'static str) -> Result<Self, DecodeError> {
        Self::only(self.bytes(field)?, self.content_offset(), field)
    }

    /// The items of a list.
    #[inline]
    pub fn items(&self, field: &'static str) -> Result<Items<'a>, DecodeError> {
        self.expect(ItemKind::List, field)?;
        Ok(Items {
            rest: self.content(),
            offset: self.content_offset(),
            field,
        })
    }

    /// The items of a list that has exactly `N` of them.
    #[inline]
    pub fn exactly<const N: usize>(&self, field: &'static str) -> Result<[Self; N], DecodeError> {
        let mut items = self.items(field)?;
        let mut found = [*self; N];
        for (index, place) in found.iter_mut().enumerate() {
            *place = items.next().transpose()?.ok_or_else(|| {
                DecodeErrorKind::WrongItemCount {
                    expected: N,
                    found: index,
                }
                .at(self.offset, field)
            })?;
        }
        let more = items.count_rest()?;
        if more > 0 {
            let found = N.saturating_add(more);
            return Err(DecodeErrorKind::WrongItemCount { expected: N, found }.at(self.offset, field));
        }
        Ok(found)
    }

    fn expect(&self, expected: ItemKind, field: &'static str) -> Result<(), DecodeError> {
        if self.kind == expected {
            Ok(())
        } else {
            Err(DecodeErrorKind::WrongType { expected }.at(self.offset, field))
        }
    }
}

/// Items of a list, in order; ends after the first error.
#[derive(Clone, Debug)]
pub struct Items<'a> {
    rest: &'a [u8],
    offset: usize,
    field: &'static str,
}

impl Items<'_> {
    /// Reads to the end and tells how many items there were.
    pub fn count_rest(self) -> Result<usize, DecodeError> {
        let mut count = 0;
        for item in self {
            item?;
            count += 1;
        }
        Ok(count)
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Result<Item<'a>, DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let item = Item::first(self.rest, self.offset, self.field);
        match &item {
            Ok(item) => {
                self.rest = &self.rest[item.raw.len()..];
                self.offset += item.raw.len();
            }
            Err(_) => self.rest = &[],
        }
        Some(item)
    }
}

/// What an item's first bytes say of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    /// Bytes before the content; 0 for a byte that is its own encoding.
    pub(crate) prefix: usize,
    /// Bytes of content that are declared.
    pub(crate) len: u64,
    /// String or list.
    pub(crate) kind: ItemKind,
}

impl Head {
    /// Reads the length prefix. Does not look whether the content is there.
    #[inline]
    pub(crate) fn read(input: &[u8]) -> Result<Self, DecodeErrorKind> {
        let Some(&first) = input.first() else {
            return Err(DecodeErrorKind::Truncated {
                needed: 1,
                available: 0,
            });
        };
        let (kind, short) = match first {
            0..0x80 => {
                return Ok(Self {
                    prefix: 0,
                    len: 1,
                    kind: ItemKind::String,
                });
            }
            0x80..0xc0 => (ItemKind::String, first - 0x80),
            0xc0.. => (ItemKind::List, first - 0xc0),
        };
        if short <= MAX_SHORT {
            return Ok(Self {
                prefix: 1,
                len: u64::from(short),
                kind,
            });
        }
        let prefix = 1 + usize::from(short - MAX_SHORT);
        let digits = input.get(1..prefix).ok_or(DecodeErrorKind::Truncated {
            needed: prefix as u64,
            available: input.len(),
        })?;
        let len = digits.iter().fold(0, |len, &digit| len << 8 | u64::from(digit));
        if digits[0] == 0 || len <= u64::from(MAX_SHORT) {
            return Err(DecodeErrorKind::NotCanonical);
        }
        Ok(Self { prefix, len, kind })
    }
}

/// Longest content whose length stands in the first byte.
const MAX_SHORT: u8 = 55;

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(bytes: &[u8]) -> DecodeErrorKind {
        Item::only(bytes, 0, "item").unwrap_err().kind
    }

    #[test]
    fn only_the_shortest_form_counts() {
        assert_eq!(kind(&[0x81, 0x7f]), DecodeErrorKind::NotCanonical);
        assert!(Item::only(&[0x81, 0x80], 0, "item").is_ok());
        assert_eq!(kind(&[0xb8, 55]), DecodeErrorKind::NotCanonical);
        assert_eq!(kind(&[0xf8, 0]), DecodeErrorKind::NotCanonical);
        assert_eq!(kind(&[0xb9, 0, 56]), DecodeErrorKind::NotCanonical);
    }

    #[test]
    fn lengths_beyond_the_input_are_told() {
        assert_eq!(
            kind(&[]),
            DecodeErrorKind::Truncated {
                needed: 1,
                available: 0
            }
        );
        assert_eq!(
            kind(&[0x82, 1]),
            DecodeErrorKind::Truncated {
                needed: 3,
                available: 2
            }
        );
        assert_eq!(
            kind(&[0xf9, 1]),
            DecodeErrorKind::Truncated {
                needed: 3,
                available: 2
            }
        );
        assert_eq!(
            kind(&[0xff; 9]),
            DecodeErrorKind::Truncated {
                needed: u64::MAX,
                available: 9
            }
        );
        assert_eq!(kind(&[0x80, 0x80]), DecodeErrorKind::TrailingBytes { count: 1 });
    }

    #[test]
    fn errors_inside_lists_name_their_place() {
        let bytes = [0xc4, 0x01, 0x82, 0x00, 0x07];
        let [one, two] = Item::only(&bytes, 100, "list").unwrap().exactly("list").unwrap();
        assert_eq!(one.uint(5, "one"), Ok(1));
        let error = two.uint(5, "two").unwrap_err();
        assert_eq!(
            (error.offset, error.field, error.reason()),
            (102, "two", "not_canonical")
        );
        let error = Item::only(&bytes, 100, "list")
            .unwrap()
            .exactly::<3>("list")
            .unwrap_err();
        assert_eq!(
            error.kind,
            DecodeErrorKind::WrongItemCount {
                expected: 3,
                found: 2
            }
        );
        assert_eq!(
            one.uint(0, "one").unwrap_err().kind,
            DecodeErrorKind::OutOfRange { limit: 0 }
        );
    }
}
