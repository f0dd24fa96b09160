//! What the packets of a connection tell of the network: how much is sent again, and how long things take.
//!
//! # Round trips
//!
//! From a segment with payload to the first acknowledgement whose number is the end of that segment, both at one tap. An
//! acknowledgement that ends elsewhere, or covers more, tells nothing of the segments before. Of bytes that pass a tap a
//! second time nobody can say which of the two packets is acknowledged (Karn's rule, RFC 6298, section 3), unless the acknowledgement
//! itself does: it says that it has got the bytes twice, so that the first packet arrived as well (RFC 2883; the usual end of a tail
//! loss probe, RFC 8985), or both ends use timestamps, and it echoes that of the second packet (RFC 7323). What was on its way behind
//! such bytes is acknowledged only once they have arrived, so it is not measured.
//!
//! # Passages
//!
//! From the sight of a packet at one tap to that at another, by the clocks of both; what that says about them is found out where
//! both directions are known.

use std::collections::VecDeque;

use bftap_model::{CaptureTime, Nanos, Passages, RoundTrips, SeqNumber, Side, TapId, WaySums};

use crate::assembler::Carried;
use crate::segment::SegmentHead;

/// See the module's documentation. Pairs are by side.
#[derive(Debug, Default)]
pub(crate) struct Measures {
    ways: [WaySums; 2],
    taps: Vec<AtTap>,
}

/// What one tap shows.
#[derive(Debug)]
struct AtTap {
    tap: TapId,
    ways: [WayAtTap; 2],
}

#[derive(Debug)]
struct WayAtTap {
    /// End of all that has passed.
    high: Option<SeqNumber>,
    /// What awaits its acknowledgement, with rising ends.
    awaiting: VecDeque<Awaiting>,
    trips: RoundTrips,
}

/// A segment that was sent and not acknowledged yet.
#[derive(Clone, Copy, Debug)]
struct Awaiting {
    end: SeqNumber,
    /// As it was sent first; `None` if that was not seen, or is unclear.
    first: Option<Sent>,
    /// As it was sent again.
    again: Option<Sent>,
}

/// When a packet passed, and its timestamp.
#[derive(Clone, Copy, Debug)]
struct Sent {
    seen: CaptureTime,
    stamp: Option<u32>,
}

/// Segments of one direction, at one tap, that are awaited at a time. Klaytn writes a frame in five pieces, and a receiver may
/// acknowledge only after 40 ms; beyond, every second one is let go, so that the oldest and the newest can still tell something.
const MOST_AWAITED: usize = 128;

/// Longer ones are not believed: no receiver delays an acknowledgement so long (RFC 9293, section 3.8.6.3, allows half a second), so the
/// capture lacks it, and this is a later one with the same number.
pub(crate) const MOST_TRIP: Nanos = Nanos::from_secs(2);

impl Measures {
    /// Takes a segment of a side that carried something.
    #[inline]
    pub(crate) fn payload(&mut self, side: Side, head: &SegmentHead, captured: usize, carried: Carried) {
        let len = (captured as u32).saturating_add(head.cut);
        let passed_before = match (carried, self.at(head.tap)) {
            // Captured twice, as when a switch mirrors both sides of a port.
            (Carried::Nothing | Carried::Twice, _) => return,
            (_, Some(at)) => at.ways[side.index()].send(head, len),
            (_, None) => true,
        };
        let way = &mut self.ways[side.index()];
        match carried {
            Carried::Nothing | Carried::Twice => {}
            Carried::Payload { again } => {
                way.segments += 1;
                way.bytes += u64::from(len);
                // What was lost on its way passes the second tap for the first time.
                way.retransmissions += u64::from(again && passed_before);
            }
            Carried::Elsewhere { tap, first } => {
                way.pass(&Passages::between((tap, first), (head.tap, head.seen)));
            }
        }
    }

    /// Takes the acknowledgement of a segment, if it has one; the acknowledged bytes are those of `side`.
    #[inline]
    pub(crate) fn ack(&mut self, side: Side, head: &SegmentHead) {
        if let Some(ack) = head.ack
            && let Some(at) = self.taps.iter_mut().find(|at| at.tap == head.tap)
        {
            at.ways[side.index()].acknowledge(ack, head);
        }
    }

    /// The tap of that number, if there is room for it.
    #[inline]
    fn at(&mut self, tap: TapId) -> Option<&mut AtTap> {
        let known = self.taps.iter().position(|at| at.tap == tap);
        let index = match known {
            Some(index) => index,
            None if self.taps.len() < WaySums::MOST_TAPS => {
                self.taps.push(AtTap {
                    tap,
                    ways: [WayAtTap::new(tap), WayAtTap::new(tap)],
                });
                self.taps.len() - 1
            }
            None => return None,
        };
        self.taps.get_mut(index)
    }

    /// Forgets what awaits an acknowledgement, which would come too late to be believed.
    pub(crate) fn forget(&mut self) {
        for way in self.taps.iter_mut().flat_map(|at| &mut at.ways) {
            way.awaiting = VecDeque::new();
        }
    }

    /// What was measured so far.
    pub(crate) fn sums(&self) -> [WaySums; 2] {
        let mut sums = self.ways.clone();
        for at in &self.taps {
            for (sums, way) in sums.iter_mut().zip(&at.ways) {
                if way.trips.spread.count > 0 {
                    sums.round_trips.push(way.trips);
                }
            }
        }
        for way in &mut sums {
            way.round_trips.sort_unstable_by_key(|trips| trips.tap);
            way.passages.sort_unstable_by_key(|passages| passages.taps);
        }
        sums
    }
}

impl WayAtTap {
    fn new(tap: TapId) -> Self {
        Self {
            high: None,
            awaiting: VecDeque::new(),
            trips: RoundTrips::at(tap),
        }
    }

    /// Takes a segment that passes; says whether later bytes have passed before.
    #[inline]
    fn send(&mut self, head: &SegmentHead, len: u32) -> bool {
        let start = head.first_byte();
        let end = start.add(len);
        let sent = Sent {
            seen: head.seen,
            stamp: head.timestamps.map(|(value, _)| value),
        };
        let is_next = self.high.is_none_or(|high| start.distance_from(high) >= 0);
        if is_next {
            self.high = Some(end);
            self.hold(Awaiting {
                end,
                first: Some(sent),
                again: None,
            });
        } else {
            self.fall_back(start, end, sent);
        }
        !is_next
    }

    /// Takes a segment that begins before the end of what has passed.
    #[cold]
    fn fall_back(&mut self, start: SeqNumber, end: SeqNumber, sent: Sent) {
        let mut first = None;
        while let Some(last) = self.awaiting.back()
            && last.end.distance_from(start) > 0
        {
            if last.end == end && last.again.is_none() {
                first = last.first;
            }
            self.awaiting.pop_back();
        }
        self.hold(Awaiting {
            end,
            first,
            again: Some(sent),
        });
        if self.high.is_some_and(|high| end.distance_from(high) > 0) {
            self.high = Some(end);
        }
    }

    #[inline]
    fn hold(&mut self, awaiting: Awaiting) {
        if self.awaiting.len() == MOST_AWAITED {
            let mut second = true;
            self.awaiting.retain(|_| {
                second = !second;
                !second
            });
        }
        self.awaiting.push_back(awaiting);
    }

    #[inline]
    fn acknowledge(&mut self, ack: SeqNumber, head: &SegmentHead) {
        while let Some(first) = self.awaiting.front() {
            let behind = ack.distance_from(first.end);
            if behind < 0 {
                break;
            }
            let trip = first.sent(head).map(|sent| head.seen.since(sent.seen));
            self.awaiting.pop_front();
            // A clock that was set back while the acknowledgement came tells nothing.
            if let Some(trip) = trip
                && behind == 0
                && (0..=MOST_TRIP.0).contains(&trip.0)
            {
                self.trips.add(trip);
            }
        }
    }
}

impl Awaiting {
    /// The packet that an acknowledgement answers, if that is clear.
    #[inline]
    fn sent(&self, ack: &SegmentHead) -> Option<Sent> {
        let Some(again) = self.again else {
            return self.first;
        };
        if ack.got_twice == Some(self.end) {
            return self.first;
        }
        let echoes = again.stamp.is_some() && again.stamp == ack.timestamps.map(|(_, echo)| echo);
        // Two packets of one tick of the sender's clock have one timestamp.
        let alike = self.first.is_some_and(|first| first.stamp == again.stamp);
        (echoes && !alike).then_some(again)
    }
}

#[cfg(test)]
mod tests {
    use bftap_model::Endpoint;

    use super::*;
    use crate::segment::TcpFlags;

    fn head(seq: u32, ack: Option<u32>, at: i64) -> SegmentHead {
        let end = Endpoint {
            ip: [10, 0, 0, 1].into(),
            port: 1,
        };
        SegmentHead {
            source: end,
            destination: end,
            seq: SeqNumber(seq),
            ack: ack.map(SeqNumber),
            flags: TcpFlags(TcpFlags::ACK),
            window: 1,
            timestamps: None,
            got_twice: None,
            cut: 0,
            identity: 0,
            seen: CaptureTime::from_nanos(at),
            tap: TapId(0),
        }
    }

    fn stamped(seq: u32, ack: Option<u32>, at: i64, timestamps: (u32, u32)) -> SegmentHead {
        SegmentHead {
            timestamps: Some(timestamps),
            ..head(seq, ack, at)
        }
    }

    const NEW: Carried = Carried::Payload { again: false };
    const AGAIN: Carried = Carried::Payload { again: true };

    fn trips(measures: &Measures) -> Vec<(u64, i64, i64)> {
        measures.sums()[0]
            .round_trips
            .iter()
            .map(|trips| (trips.spread.count, trips.spread.min, trips.spread.max))
            .collect()
    }

    #[test]
    fn an_acknowledgement_tells_of_the_segment_that_it_ends_with() {
        let mut measures = Measures::default();
        measures.payload(Side::Low, &head(100, None, 0), 10, NEW);
        measures.payload(Side::Low, &head(110, None, 5), 10, NEW);
        measures.ack(Side::Low, &head(0, Some(105), 7));
        measures.ack(Side::Low, &head(0, Some(120), 9));
        measures.ack(Side::Low, &head(0, Some(120), 30));
        measures.payload(Side::Low, &head(120, None, 40), 10, NEW);
        measures.ack(Side::Low, &head(0, Some(131), 50));
        assert_eq!(trips(&measures), [(1, 4, 4)]);
        let sums = measures.sums();
        assert_eq!((sums[0].segments, sums[0].bytes, sums[1].segments), (3, 30, 0));
    }

    #[test]
    fn numbers_wrap() {
        let mut measures = Measures::default();
        measures.payload(Side::Low, &head(u32::MAX - 4, None, 0), 10, NEW);
        measures.payload(Side::Low, &head(5, None, 1), 10, NEW);
        measures.ack(Side::Low, &head(0, Some(5), 3));
        measures.ack(Side::Low, &head(0, Some(15), 9));
        assert_eq!(trips(&measures), [(2, 3, 8)]);
    }

    #[test]
    fn bytes_that_pass_twice_tell_nothing_without_timestamps() {
        let mut measures = Measures::default();
        measures.payload(Side::Low, &head(100, None, 0), 10, NEW);
        measures.payload(Side::Low, &head(110, None, 1), 10, NEW);
        measures.payload(Side::Low, &head(100, None, 200), 10, AGAIN);
        measures.ack(Side::Low, &head(0, Some(110), 204));
        measures.ack(Side::Low, &head(0, Some(120), 204));
        assert_eq!(trips(&measures), []);
        assert_eq!(measures.sums()[0].retransmissions, 1);
        measures.payload(Side::Low, &head(120, None, 300), 10, NEW);
        measures.ack(Side::Low, &head(0, Some(130), 303));
        assert_eq!(trips(&measures), [(1, 3, 3)]);
    }

    #[test]
    fn an_echo_names_the_packet_that_is_acknowledged() {
        let sent_twice = |tick: u32, echo: u32| {
            let mut measures = Measures::default();
            measures.payload(Side::Low, &stamped(100, None, 0, (7, 1)), 10, NEW);
            measures.payload(Side::Low, &stamped(100, None, 200, (tick, 1)), 10, AGAIN);
            measures.ack(Side::Low, &stamped(0, Some(110), 203, (2, echo)));
            trips(&measures)
        };
        assert_eq!(sent_twice(9, 9), [(1, 3, 3)]);
        assert_eq!(sent_twice(9, 7), [], "of the first one");
        assert_eq!(sent_twice(7, 7), [], "both in one tick");
    }

    #[test]
    fn who_has_got_bytes_twice_has_got_the_first_packet() {
        let sent = |times: i64, got_twice: u32| {
            let mut measures = Measures::default();
            measures.payload(Side::Low, &head(90, None, 0), 10, NEW);
            measures.payload(Side::Low, &head(100, None, 1), 10, NEW);
            for time in 0..times {
                measures.payload(Side::Low, &head(100, None, 10 + time), 10, AGAIN);
            }
            let ack = SegmentHead {
                got_twice: Some(SeqNumber(got_twice)),
                ..head(0, Some(110), 15)
            };
            measures.ack(Side::Low, &ack);
            trips(&measures)
        };
        assert_eq!(sent(1, 110), [(1, 14, 14)]);
        assert_eq!(sent(1, 100), [], "others");
        assert_eq!(sent(2, 110), [], "which two of three?");
    }

    #[test]
    fn what_awaits_is_bounded_and_grows_old() {
        let mut measures = Measures::default();
        for number in 0..1000 {
            measures.payload(
                Side::Low,
                &head(100 + 10 * number, None, i64::from(number)),
                10,
                NEW,
            );
        }
        assert!(measures.taps[0].ways[0].awaiting.len() <= MOST_AWAITED);
        measures.ack(Side::Low, &head(0, Some(110), MOST_TRIP.0));
        measures.ack(Side::Low, &head(0, Some(10_100), 999 + MOST_TRIP.0));
        assert_eq!(
            trips(&measures),
            [(2, MOST_TRIP.0, MOST_TRIP.0)],
            "the oldest and the newest"
        );
        measures.payload(Side::Low, &head(10_100, None, 2_000), 10, NEW);
        measures.ack(Side::Low, &head(0, Some(10_110), 2_001 + MOST_TRIP.0));
        assert_eq!(trips(&measures)[0].0, 2, "too late");
        measures.forget();
        assert_eq!(measures.taps[0].ways[0].awaiting.capacity(), 0);
    }

    #[test]
    fn each_tap_is_measured_alone_and_a_packet_counts_once() {
        let at = |tap, head: SegmentHead| SegmentHead {
            tap: TapId(tap),
            ..head
        };
        let mut measures = Measures::default();
        for tap in 0..5 {
            let seen = 10 * i64::from(tap);
            let carried = match tap {
                0 => NEW,
                _ => Carried::Elsewhere {
                    tap: TapId(0),
                    first: CaptureTime::from_nanos(0),
                },
            };
            measures.payload(Side::Low, &at(tap, head(100, None, seen)), 10, carried);
        }
        measures.payload(Side::Low, &head(100, None, 3), 10, Carried::Twice);
        for tap in [4, 3, 2, 1, 0] {
            let seen = 100 - 10 * i64::from(tap);
            measures.ack(Side::Low, &at(tap, head(0, Some(110), seen)));
        }
        assert_eq!(trips(&measures), [(1, 100, 100), (1, 80, 80), (1, 60, 60)]);
        let sums = &measures.sums()[0];
        assert_eq!((sums.segments, sums.bytes, sums.retransmissions), (1, 10, 0));
        let passages: Vec<(u16, i64)> = sums
            .passages
            .iter()
            .map(|passages| (passages.taps[1].0, passages.spread.min))
            .collect();
        assert_eq!(passages, [(1, 10), (2, 20), (3, 30)]);
    }
}
