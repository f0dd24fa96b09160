//! Writing RLP: what decoding is tested against, and what a simulated node sends.
//!
//! The messages themselves are put together by [`klaytn`](crate::klaytn) and [`quorum_ibft`](crate::quorum_ibft).

/// A list under construction.
///
/// ```
/// use bftap_ibft_decode::encode::List;
/// let view = List::new().uint(0).uint(1024);
/// assert_eq!(view.finish(), [0xc4, 0x80, 0x82, 0x04, 0x00]);
/// ```
#[derive(Clone, Debug, Default)]
pub struct List {
    content: Vec<u8>,
}

impl List {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a string.
    #[must_use]
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        write_string(&mut self.content, bytes);
        self
    }

    /// Adds an integer.
    #[must_use]
    pub fn uint(mut self, value: u64) -> Self {
        write_uint(&mut self.content, value);
        self
    }

    /// Adds a list.
    #[must_use]
    pub fn list(mut self, list: &Self) -> Self {
        write_list(&mut self.content, &list.content);
        self
    }

    /// Adds items that are encoded already, one or several behind each other.
    #[must_use]
    pub fn raw(mut self, items: &[u8]) -> Self {
        self.content.extend_from_slice(items);
        self
    }

    /// The list's encoding.
    pub fn finish(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.content.len() + MAX_PREFIX);
        write_list(&mut out, &self.content);
        out
    }

    /// The encodings of its items, behind each other.
    pub fn into_items(self) -> Vec<u8> {
        self.content
    }
}

/// Encoding of a string.
pub fn string(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + MAX_PREFIX);
    write_string(&mut out, bytes);
    out
}

/// Encoding of an integer: big endian without leading zeros, zero is the empty string.
pub fn uint(value: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(MAX_PREFIX);
    write_uint(&mut out, value);
    out
}

/// Appends a string.
pub fn write_string(out: &mut Vec<u8>, bytes: &[u8]) {
    if let [byte @ 0..0x80] = bytes {
        out.push(*byte);
    } else {
        write_prefix(out, 0x80, bytes.len());
        out.extend_from_slice(bytes);
    }
}

/// Appends an integer.
pub fn write_uint(out: &mut Vec<u8>, value: u64) {
    let digits = value.to_be_bytes();
    write_string(out, &digits[value.leading_zeros() as usize / 8..]);
}

/// Appends a list of items that are encoded already.
pub fn write_list(out: &mut Vec<u8>, items: &[u8]) {
    write_prefix(out, 0xc0, items.len());
    out.extend_from_slice(items);
}

fn write_prefix(out: &mut Vec<u8>, base: u8, len: usize) {
    if let Ok(short @ 0..=55) = u8::try_from(len) {
        out.push(base + short);
    } else {
        let digits = (len as u64).to_be_bytes();
        let digits = &digits[(len as u64).leading_zeros() as usize / 8..];
        out.push(base + 55 + digits.len() as u8);
        out.extend_from_slice(digits);
    }
}

/// Longest length prefix.
const MAX_PREFIX: usize = 9;
