//! Memory of recent packets of one direction: tells the same packet at another tap from a retransmission.

use std::collections::VecDeque;

use bftap_model::{CaptureTime, SETTLE, TapId};

/// Recent packets that carried payload.
///
/// Kept also while just one tap is known: a second one may turn up with the very next packet, and whether the table has
/// seen it already would depend on how flows are spread over tables. A record is 32 bytes and written once.
#[derive(Debug, Default)]
pub(crate) struct Sights {
    recent: VecDeque<Sight>,
}

/// First sight of one packet, and the taps that have seen it since.
#[derive(Clone, Copy, Debug)]
struct Sight {
    identity: u64,
    /// End of the bytes that the packet brought, 0 if it brought nothing.
    end: u64,
    seen: CaptureTime,
    taps: [TapId; 3],
    /// How many of `taps` are meant.
    known_taps: u16,
}

/// What is known of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acquaintance {
    /// Not seen lately.
    New,
    /// Seen at this tap before, so sent twice or captured twice.
    SameTap,
    /// Seen at another tap: the same packet on its way.
    OtherTap {
        /// Which record it is.
        index: usize,
        /// End of the bytes that the packet brought so far, 0 if none.
        end: u64,
        /// When the first tap saw it.
        first: CaptureTime,
        /// Which one that was.
        tap: TapId,
    },
}

/// Packets remembered per direction. Packets on their way between two taps, which are few: a path of 10 ms holds 128
/// packets only above 12,000 packets a second in one direction of one connection.
const MOST: usize = 128;

impl Sights {
    /// Remembers a packet that brought the bytes up to `end` (0: nothing).
    #[inline]
    pub(crate) fn note(&mut self, identity: u64, tap: TapId, seen: CaptureTime, end: u64) {
        if let Some(oldest) = self.recent.front()
            && (self.recent.len() >= MOST || seen.since(oldest.seen) > SETTLE)
        {
            self.recent.pop_front();
            // One more, so that a burst's memory shrinks again while packets trickle.
            if self
                .recent
                .front()
                .is_some_and(|oldest| seen.since(oldest.seen) > SETTLE)
            {
                self.recent.pop_front();
            }
        }
        self.recent.push_back(Sight {
            identity,
            end,
            seen,
            taps: [tap; 3],
            known_taps: 1,
        });
    }

    /// Looks a packet up, and remembers that this tap has seen it.
    pub(crate) fn recall(&mut self, identity: u64, tap: TapId, seen: CaptureTime) -> Acquaintance {
        for (index, sight) in self.recent.iter_mut().enumerate().rev() {
            if sight.identity != identity {
                continue;
            }
            let apart = seen.since(sight.seen);
            if apart > SETTLE || apart.0 < -SETTLE.0 {
                return Acquaintance::New;
            }
            let known = usize::from(sight.known_taps);
            if sight.taps[..known].contains(&tap) {
                return Acquaintance::SameTap;
            }
            if let Some(free) = sight.taps.get_mut(known) {
                *free = tap;
                sight.known_taps += 1;
            }
            return Acquaintance::OtherTap {
                index,
                end: sight.end,
                first: sight.seen,
                tap: sight.taps[0],
            };
        }
        Acquaintance::New
    }

    /// A later sight of a packet brought more of it than the first, which was cut.
    pub(crate) fn extend(&mut self, index: usize, end: u64) {
        if let Some(sight) = self.recent.get_mut(index) {
            sight.end = sight.end.max(end);
        }
    }

    /// Offset 0 of the stream has become known to be at `origin` of what it was counted from.
    pub(crate) fn shift(&mut self, origin: u64) {
        for sight in &mut self.recent {
            sight.end = sight.end.saturating_sub(origin);
        }
    }

    /// Memory of the records.
    #[cfg(test)]
    pub(crate) fn heap_bytes(&self) -> usize {
        self.recent.capacity() * size_of::<Sight>()
    }

    /// Frees the records.
    pub(crate) fn forget(&mut self) {
        self.recent = VecDeque::new();
    }
}

#[cfg(test)]
mod tests {
    use bftap_model::Nanos;

    use super::*;

    const FIRST: CaptureTime = CaptureTime::from_nanos(1_000_000_000);

    #[test]
    fn another_tap_is_told_from_a_retransmission() {
        let mut sights = Sights::default();
        sights.note(7, TapId(0), FIRST, 100);
        assert_eq!(sights.recall(8, TapId(1), FIRST), Acquaintance::New);
        assert_eq!(sights.recall(7, TapId(0), FIRST), Acquaintance::SameTap);
        let other = Acquaintance::OtherTap {
            index: 0,
            end: 100,
            first: FIRST,
            tap: TapId(0),
        };
        assert_eq!(sights.recall(7, TapId(1), FIRST.saturating_add(Nanos(5))), other);
        assert_eq!(
            sights.recall(7, TapId(1), FIRST.saturating_add(Nanos(6))),
            Acquaintance::SameTap
        );
        assert_eq!(sights.recall(7, TapId(2), FIRST), other);
    }

    #[test]
    fn a_sight_is_forgotten_after_settling() {
        let mut sights = Sights::default();
        sights.note(7, TapId(0), FIRST, 100);
        let late = FIRST.saturating_add(Nanos(SETTLE.0 + 1));
        assert_eq!(sights.recall(7, TapId(1), late), Acquaintance::New);
        assert!(matches!(
            sights.recall(7, TapId(1), FIRST.saturating_add(SETTLE)),
            Acquaintance::OtherTap { .. }
        ));
        sights.note(8, TapId(0), late, 200);
        assert_eq!(
            sights.recall(7, TapId(2), FIRST),
            Acquaintance::New,
            "pushed out by a later packet"
        );
    }

    #[test]
    fn memory_is_bounded() {
        let mut sights = Sights::default();
        for identity in 0..10_000 {
            sights.note(identity, TapId(0), FIRST, 1);
        }
        assert!(sights.heap_bytes() <= 2 * MOST * size_of::<Sight>());
        assert_eq!(sights.recall(0, TapId(1), FIRST), Acquaintance::New);
        assert!(matches!(
            sights.recall(9_999, TapId(1), FIRST),
            Acquaintance::OtherTap { .. }
        ));
    }
}
