//! What TCP itself tells of one direction of a connection: how much was sent, sent again, and how long it took.

use crate::{CaptureTime, Nanos, TapId};

/// Spans of time, as far as they can be joined with others in any order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    /// How many.
    pub count: u64,
    /// Their sum, in nanoseconds.
    pub sum: i64,
    /// The smallest, in nanoseconds; 0 without any.
    pub min: i64,
    /// The largest, in nanoseconds; 0 without any.
    pub max: i64,
}

impl Spread {
    /// Adds one.
    #[inline]
    pub fn add(&mut self, span: Nanos) {
        self.join(&Self {
            count: 1,
            sum: span.0,
            min: span.0,
            max: span.0,
        });
    }

    /// Adds those of another.
    pub fn join(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = *other;
            return;
        }
        self.count += other.count;
        self.sum = self.sum.saturating_add(other.sum);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// Their mean, rounded towards zero; `None` without any.
    pub fn mean(&self) -> Option<i64> {
        let count = i64::try_from(self.count).ok()?;
        self.sum.checked_div(count)
    }
}

/// Round trips of one direction, seen at one tap: from there to the receiver and back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoundTrips {
    /// Where.
    pub tap: TapId,
    /// All of them.
    pub spread: Spread,
    /// Smoothed as RFC 6298 does (SRTT), in nanoseconds.
    pub smoothed: i64,
    /// Their smoothed variation (RTTVAR), in nanoseconds.
    pub variation: i64,
}

impl RoundTrips {
    /// None yet.
    pub const fn at(tap: TapId) -> Self {
        Self {
            tap,
            spread: Spread {
                count: 0,
                sum: 0,
                min: 0,
                max: 0,
            },
            smoothed: 0,
            variation: 0,
        }
    }

    /// Adds one (RFC 6298, section 2: alpha is 1/8, beta 1/4).
    #[inline]
    pub fn add(&mut self, trip: Nanos) {
        if self.spread.count == 0 {
            self.smoothed = trip.0;
            self.variation = trip.0 / 2;
        } else {
            let off = self.smoothed.saturating_sub(trip.0).saturating_abs();
            self.variation += (off - self.variation) / 4;
            self.smoothed += (trip.0 - self.smoothed) / 8;
        }
        self.spread.add(trip);
    }

    /// Adds those of a later part of the same connection.
    pub fn go_on(&mut self, later: &Self) {
        if later.spread.count > 0 {
            self.smoothed = later.smoothed;
            self.variation = later.variation;
        }
        self.spread.join(&later.spread);
    }
}

/// Segments of one direction that passed two taps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passages {
    /// The two taps, the smaller number first: which of them is nearer to the sender only the times tell.
    pub taps: [TapId; 2],
    /// From the sight at the first of `taps` to that at the second one, each by the clock of its tap; negative where the second one
    /// was passed first.
    pub spread: Spread,
}

impl Passages {
    /// Between two sights: which tap, and when.
    pub fn between(one: (TapId, CaptureTime), other: (TapId, CaptureTime)) -> Self {
        let (first, second) = if one.0 <= other.0 {
            (one, other)
        } else {
            (other, one)
        };
        let mut spread = Spread::default();
        spread.add(second.1.since(first.1));
        Self {
            taps: [first.0, second.0],
            spread,
        }
    }
}

/// One direction of a connection, as TCP tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WaySums {
    /// Segments with payload, each once however many taps saw it.
    pub segments: u64,
    /// Payload bytes in them.
    pub bytes: u64,
    /// Of `segments`, those that brought bytes which had been seen before.
    pub retransmissions: u64,
    /// Round trips by tap, at most [`MOST_TAPS`](Self::MOST_TAPS).
    pub round_trips: Vec<RoundTrips>,
    /// Passages by pair of taps, at most [`MOST_TAPS`](Self::MOST_TAPS).
    pub passages: Vec<Passages>,
}

impl WaySums {
    /// Taps at which one connection is measured, and pairs of them: a packet on its way passes few.
    pub const MOST_TAPS: usize = 3;

    /// Adds what came of the same connection later.
    pub fn go_on(&mut self, later: &Self) {
        self.segments += later.segments;
        self.bytes += later.bytes;
        self.retransmissions += later.retransmissions;
        for trips in &later.round_trips {
            if let Some(known) = self.round_trips.iter_mut().find(|known| known.tap == trips.tap) {
                known.go_on(trips);
            } else if self.round_trips.len() < Self::MOST_TAPS {
                self.round_trips.push(*trips);
            }
        }
        for passages in &later.passages {
            self.pass(passages);
        }
    }

    /// Adds passages.
    pub fn pass(&mut self, passages: &Passages) {
        if let Some(known) = self.passages.iter_mut().find(|known| known.taps == passages.taps) {
            known.spread.join(&passages.spread);
        } else if self.passages.len() < Self::MOST_TAPS {
            self.passages.push(*passages);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_join_in_any_order() {
        let of = |spans: &[i64]| {
            let mut spread = Spread::default();
            for span in spans {
                spread.add(Nanos(*span));
            }
            spread
        };
        let (mut one, mut other) = (of(&[5, -3]), of(&[9, 1]));
        let before = one;
        one.join(&other);
        other.join(&before);
        assert_eq!(one, other);
        assert_eq!(one, of(&[9, 5, 1, -3]));
        assert_eq!(
            (one.min, one.max, one.mean(), Spread::default().mean()),
            (-3, 9, Some(3), None)
        );
        one.join(&Spread::default());
        assert_eq!(one, other);
    }

    #[test]
    fn round_trips_are_smoothed_as_rfc_6298_says() {
        let mut trips = RoundTrips::at(TapId(0));
        trips.add(Nanos(800));
        assert_eq!((trips.smoothed, trips.variation), (800, 400));
        trips.add(Nanos(1_600));
        // RTTVAR = 3/4 * 400 + 1/4 * 800, SRTT = 7/8 * 800 + 1/8 * 1600.
        assert_eq!((trips.smoothed, trips.variation), (900, 500));
        trips.add(Nanos(100));
        assert_eq!((trips.smoothed, trips.variation), (800, 575));
        let mut later = RoundTrips::at(TapId(0));
        trips.go_on(&later);
        assert_eq!((trips.smoothed, trips.spread.count), (800, 3));
        later.add(Nanos(64));
        trips.go_on(&later);
        assert_eq!((trips.smoothed, trips.variation, trips.spread.min), (64, 32, 64));
    }

    #[test]
    fn a_passage_counts_from_the_tap_with_the_smaller_number() {
        let at = |tap, nanos| (TapId(tap), CaptureTime::from_nanos(nanos));
        for (one, other) in [(at(1, 10), at(4, 30)), (at(4, 30), at(1, 10))] {
            let passage = Passages::between(one, other);
            assert_eq!(
                (passage.taps, passage.spread.min),
                ([TapId(1), TapId(4)], 20),
                "whichever was first"
            );
        }
        let back = Passages::between(at(4, 50), at(1, 57));
        assert_eq!((back.taps, back.spread.sum), ([TapId(1), TapId(4)], -7));
    }

    #[test]
    fn ways_keep_few_taps() {
        let mut way = WaySums::default();
        for tap in 0..10 {
            let mut trips = RoundTrips::at(TapId(tap));
            trips.add(Nanos(1));
            let later = WaySums {
                segments: 1,
                round_trips: vec![trips],
                passages: vec![Passages::between(
                    (TapId(tap), CaptureTime::MIN),
                    (TapId(tap + 1), CaptureTime::MIN),
                )],
                ..WaySums::default()
            };
            way.go_on(&later);
            way.go_on(&later);
        }
        assert_eq!(
            (way.segments, way.round_trips.len(), way.passages.len()),
            (20, 3, 3)
        );
        assert_eq!(way.round_trips[2].spread.count, 2);
    }
}
