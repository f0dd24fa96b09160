//! When packets are due that are played at a pace.

use bftap_model::{CaptureTime, Nanos};

/// The machine's clock. It is the caller's, so that nothing here has a clock of its own, and tests need not wait.
pub trait Clock: Sync {
    /// Time since some start; never goes back.
    fn now(&self) -> Nanos;

    /// Comes back at that time, or soon after; at once if it has passed.
    fn sleep_until(&self, at: Nanos);
}

/// A multiple of the capture's own speed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace(f64);

impl Pace {
    /// Slowest and fastest pace: outside, a capture of a minute takes years or no time at all.
    const RANGE: std::ops::RangeInclusive<f64> = 0.001..=1_000_000.0;

    /// From a number; `None` outside 0.001 to 1,000,000.
    pub fn new(multiple: f64) -> Option<Self> {
        Self::RANGE.contains(&multiple).then_some(Self(multiple))
    }

    /// Thousandths of the capture's own speed.
    pub fn milli(self) -> i64 {
        (self.0 * 1000.0).round() as i64
    }
}

/// How an analysis goes whose facts are wanted while it goes on.
#[derive(Clone, Copy)]
pub struct Live<'c> {
    /// The clock that packets are played and updates are made by.
    pub clock: &'c dyn Clock,
    /// How fast packets are played; `None` takes them as they come.
    pub pace: Option<Pace>,
}

/// What an update is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Capture time of the newest packet in it.
    pub seen: Option<CaptureTime>,
    /// When that packet was due or came, by the [`Clock`].
    pub dealt: Nanos,
}

/// Maps capture times to times of the clock.
#[derive(Debug)]
pub(crate) struct Schedule {
    pace: Option<Pace>,
    /// Times of the first packet.
    start: Option<(Nanos, CaptureTime)>,
}

impl Schedule {
    pub(crate) fn new(pace: Option<Pace>) -> Self {
        Self { pace, start: None }
    }

    /// When a packet is due; the first one is due now.
    pub(crate) fn due(&mut self, seen: CaptureTime, now: Nanos) -> Nanos {
        let Some(Pace(pace)) = self.pace else { return now };
        let (start, first) = *self.start.get_or_insert((now, seen));
        // Saturates: a hostile time stamp is waited for until the user has enough of it.
        let after = (seen.since(first).0 as f64 / pace) as i64;
        Nanos(start.0.saturating_add(after))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_due_at_the_pace() {
        let at = CaptureTime::from_nanos;
        let mut schedule = Schedule::new(Pace::new(2.0));
        assert_eq!(schedule.due(at(1_000), Nanos(50)), Nanos(50));
        assert_eq!(schedule.due(at(3_000), Nanos(60)), Nanos(1_050));
        assert_eq!(
            schedule.due(at(900), Nanos(60)),
            Nanos(0),
            "an earlier one is due at once"
        );
        // As exact as a float is at centuries.
        let far = schedule.due(CaptureTime::MAX, Nanos(60)).0;
        assert!(far.abs_diff(i64::MAX / 2 - 450) < 1024, "{far}");
        let mut slow = Schedule::new(Pace::new(0.001));
        assert_eq!(slow.due(at(0), Nanos(5)), Nanos(5));
        assert_eq!(slow.due(CaptureTime::MAX, Nanos(5)), Nanos(i64::MAX));
        assert_eq!(Schedule::new(None).due(at(7), Nanos(9)), Nanos(9));
    }

    #[test]
    fn paces_are_finite_and_positive() {
        for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY, 0.000_9, 1_000_001.0] {
            assert_eq!(Pace::new(wrong), None, "{wrong}");
        }
        assert_eq!(Pace::new(0.5).map(Pace::milli), Some(500));
    }
}
