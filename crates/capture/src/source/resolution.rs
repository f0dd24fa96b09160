//! Time stamps of pcapng: ticks of a unit that each interface chooses.

use bftap_model::CaptureTime;

/// How the ticks of an interface become nanoseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clock {
    tick: Tick,
    /// Added to each time, in seconds (`if_tsoffset`).
    offset: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tick {
    /// So many nanoseconds.
    Nanos(u64),
    /// One of so many parts of a nanosecond.
    Part(u64),
    /// So short that all ticks that fit the field make no nanosecond.
    Nothing,
    /// 2 to this negative power of a second.
    Binary(u8),
}

impl Clock {
    /// From the options `if_tsresol` and `if_tsoffset`.
    ///
    /// Bit 7 of the resolution tells a power of two from a power of ten; the other bits are the negative exponent.
    pub(super) fn new(resolution: u8, offset: i64) -> Self {
        let exponent = resolution & 0x7f;
        let tick = if resolution & 0x80 != 0 {
            Tick::Binary(exponent)
        } else if exponent <= 9 {
            Tick::Nanos(10_u64.pow(u32::from(9 - exponent)))
        } else {
            // Beyond 10^19 parts of a nanosecond all 2^64 ticks make at most one nanosecond: below what is kept.
            10_u64
                .checked_pow(u32::from(exponent - 9))
                .map_or(Tick::Nothing, Tick::Part)
        };
        Self { tick, offset }
    }

    /// The time of `ticks`, or the nearest that can be represented.
    #[inline]
    pub(super) fn time(self, ticks: u64) -> CaptureTime {
        let nanos = match self.tick {
            Tick::Nanos(each) => i128::from(ticks) * i128::from(each),
            Tick::Part(parts) => i128::from(ticks / parts),
            Tick::Nothing => 0,
            Tick::Binary(exponent) => (i128::from(ticks) * 1_000_000_000) >> exponent,
        };
        let nanos = nanos + i128::from(self.offset) * 1_000_000_000;
        CaptureTime::from_nanos(nanos.clamp(i64::MIN.into(), i64::MAX.into()) as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nanos(resolution: u8, ticks: u64) -> i64 {
        Clock::new(resolution, 0).time(ticks).nanos()
    }

    #[test]
    fn powers_of_ten() {
        assert_eq!(nanos(6, 7), 7_000);
        assert_eq!(nanos(0, 7), 7_000_000_000);
        assert_eq!(nanos(3, 7), 7_000_000);
        assert_eq!(nanos(9, 7), 7);
        assert_eq!(nanos(10, 79), 7);
        assert_eq!(nanos(12, 7_999), 7);
        assert_eq!(nanos(28, u64::MAX), 1);
        assert_eq!(nanos(29, u64::MAX), 0);
        assert_eq!(nanos(127, u64::MAX), 0);
        assert_eq!(nanos(0, u64::MAX), i64::MAX, "saturates");
    }

    #[test]
    fn powers_of_two() {
        assert_eq!(nanos(0x80, 7), 7_000_000_000);
        assert_eq!(nanos(0x80 | 1, 3), 1_500_000_000);
        assert_eq!(nanos(0x80 | 10, 1024 + 512), 1_500_000_000);
        assert_eq!(nanos(0x80 | 32, (1 << 32) + (1 << 31)), 1_500_000_000);
        assert_eq!(nanos(0x80 | 63, 1 << 63), 1_000_000_000);
        assert_eq!(nanos(0x80 | 64, u64::MAX), 999_999_999);
        assert_eq!(nanos(0x80 | 127, u64::MAX), 0);
        assert_eq!(nanos(0x80, u64::MAX), i64::MAX, "saturates");
    }

    #[test]
    fn offsets_in_seconds() {
        assert_eq!(
            Clock::new(6, 1_600_000_000).time(1).nanos(),
            1_600_000_000_000_001_000
        );
        assert_eq!(Clock::new(9, -2).time(500).nanos(), -1_999_999_500);
        assert_eq!(Clock::new(6, i64::MAX).time(0), CaptureTime::MAX);
        assert_eq!(Clock::new(0, i64::MIN).time(0), CaptureTime::MIN, "saturates");
    }
}
