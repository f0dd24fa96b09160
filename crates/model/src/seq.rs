//! TCP sequence numbers.

/// A TCP sequence number: 32 bits that wrap (RFC 9293, section 3.4).
///
/// Deliberately without `Ord`: two numbers can only be compared by their wrapping distance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SeqNumber(pub u32);

impl SeqNumber {
    /// Signed distance from `other` to this; positive if this is later, within 2 GiB.
    #[inline]
    pub const fn distance_from(self, other: Self) -> i32 {
        self.0.wrapping_sub(other.0).cast_signed()
    }

    /// The number `bytes` further on.
    #[inline]
    #[must_use]
    pub const fn add(self, bytes: u32) -> Self {
        Self(self.0.wrapping_add(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_crosses_the_wrap() {
        assert_eq!(SeqNumber(5).distance_from(SeqNumber(u32::MAX)), 6);
        assert_eq!(SeqNumber(u32::MAX).distance_from(SeqNumber(5)), -6);
        assert_eq!(SeqNumber(u32::MAX).add(6), SeqNumber(5));
    }
}
