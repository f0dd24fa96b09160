//! What came before this life of the program, to be added to what comes now.

use std::sync::Arc;

use bftap_analysis::facts::CaptureFact;
use bftap_analysis::{Now, Observation, ReadFacts, SessionEnd, WorkerTotals};
use bftap_model::CaptureTime;

use super::{Noted, Recalled};
use crate::returning::Parts;
use crate::worker::WorkerNow;

/// See the module's documentation. Empty where this is the first life.
#[derive(Debug, Default)]
pub(crate) struct Before {
    pub(crate) parts: Arc<Parts>,
    totals: WorkerTotals,
    read: ReadFacts,
    /// The latest capture time; `None` in the first life.
    pub(crate) seen: Option<CaptureTime>,
}

impl Before {
    pub(crate) fn new(recalled: Recalled) -> Self {
        Self {
            parts: Arc::new(Parts::new(recalled.parts)),
            totals: recalled.totals,
            read: recalled.read,
            seen: recalled.seen,
        }
    }

    /// How things stand now, given what this life's workers and its reading side tell.
    ///
    /// `totals` are those that no worker counts.
    pub(crate) fn now(
        &self,
        workers: Vec<WorkerNow>,
        mut totals: WorkerTotals,
        mut read: ReadFacts,
        seen: Option<CaptureTime>,
        pause: Option<(CaptureTime, CaptureTime)>,
    ) -> (Now, Noted) {
        self.add_totals(&mut totals);
        self.add_read(&mut read);
        let mut parts: Vec<_> = self
            .parts
            .unclaimed()
            .map(|part| (None, part.as_ref().clone()))
            .collect();
        let mut pending = Vec::new();
        for worker in workers {
            totals.add(worker.totals);
            parts.extend(worker.parts);
            pending.extend(worker.pending);
        }
        let mut all = totals.clone();
        for (_, part) in &parts {
            all.add(part.totals.clone());
        }
        let open: Vec<SessionEnd> = parts.iter().filter_map(|(_, part)| part.end.clone()).collect();
        let now = Now {
            read: read.clone(),
            totals: all,
            open,
            last: false,
        };
        let noted = Noted {
            totals,
            read,
            seen: seen.max(self.seen),
            parts,
            pending,
            pause,
        };
        (now, noted)
    }

    /// Adds what was counted before.
    pub(crate) fn add_totals(&self, totals: &mut WorkerTotals) {
        totals.add(self.totals.clone());
    }

    /// Adds what was read before.
    pub(crate) fn add_read(&self, read: &mut ReadFacts) {
        for before in &self.read.captures {
            match read
                .captures
                .iter_mut()
                .find(|capture| capture.path == before.path)
            {
                Some(capture) => add_capture(capture, before),
                None => read.captures.push(before.clone()),
            }
        }
        if read.tap_ends.is_empty() {
            read.tap_ends.clone_from(&self.read.tap_ends);
        }
        read.tcp_packets += self.read.tcp_packets;
        read.bad_checksums += self.read.bad_checksums;
        for (reason, count) in &self.read.skipped_packets {
            *read.skipped_packets.entry(reason.clone()).or_default() += count;
        }
    }

    /// Sessions that never came up again, as they ended, with what they gave to the sums.
    pub(crate) fn ends(&self, totals: &mut WorkerTotals) -> Vec<Observation> {
        let mut ends = Vec::new();
        for part in self.parts.unclaimed() {
            totals.add(part.totals.clone());
            let end = part.ended(part.last_seen);
            ends.extend(end.map(|end| Observation::End(part.key(), Box::new(end))));
        }
        ends
    }
}

fn add_capture(capture: &mut CaptureFact, before: &CaptureFact) {
    let add = |now: Option<u64>, before: Option<u64>| match (now, before) {
        (Some(now), Some(before)) => Some(now + before),
        (now, before) => now.or(before),
    };
    capture.packets += before.packets;
    capture.bytes += before.bytes;
    capture.kernel_drops = add(capture.kernel_drops, before.kernel_drops);
    capture.interface_drops = add(capture.interface_drops, before.interface_drops);
    capture.times_down = add(capture.times_down, before.times_down);
}
