//! The clock: a live validator stands at the edge.

use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since the epoch.
#[allow(
    clippy::disallowed_methods,
    reason = "blocks and records bear the time of the machine, as those of real nodes do"
)]
pub(crate) fn now_nanos() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_nanos() as u64)
}

/// Hundredths of seconds since the epoch.
pub(crate) fn now_centis() -> u64 {
    now_nanos() / 10_000_000
}
