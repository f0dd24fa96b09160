//! The machine's clock, for captures that are played at a pace, and for what a person is told when.

use std::time::{Duration, Instant, SystemTime};

use bftap_model::{CaptureTime, Nanos};
use bftap_pipeline::Clock;

/// Time since it was made.
#[derive(Debug)]
pub(crate) struct WallClock(Instant);

impl WallClock {
    #[allow(
        clippy::disallowed_methods,
        reason = "the command is at the edge: when packets are played is about this machine"
    )]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// How long ago that was.
    pub(crate) fn age(&self, of: Nanos) -> Duration {
        Duration::from_nanos(self.now().0.saturating_sub(of.0).max(0).unsigned_abs())
    }
}

/// The time of day, for log lines and certificates: no fact depends on it.
#[allow(
    clippy::disallowed_methods,
    reason = "the command is at the edge: people ask when something happened"
)]
pub(crate) fn time_of_day() -> CaptureTime {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    CaptureTime::from_nanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

impl Clock for WallClock {
    fn now(&self) -> Nanos {
        Nanos(i64::try_from(self.0.elapsed().as_nanos()).unwrap_or(i64::MAX))
    }

    fn sleep_until(&self, at: Nanos) {
        let left = at.0.saturating_sub(self.now().0);
        if left > 0 {
            std::thread::sleep(Duration::from_nanos(left.unsigned_abs()));
        }
    }
}
