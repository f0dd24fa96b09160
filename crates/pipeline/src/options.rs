//! Settings of one run of the pipeline.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use bftap_analysis::AnalysisOptions;
use bftap_capture::flow_table::FlowLimits;
use bftap_decrypt::{SecretStore, SessionOptions};
use bftap_ibft_decode::{Dialect, SignatureCheck};
use bftap_model::CaptureTime;

use crate::checkpoint::Checkpoint;
use crate::raw::RawSink;
use crate::seek::BLOCKS_A_SECOND;

/// Which messages count.
#[derive(Clone, Debug)]
pub struct Selection {
    /// From this capture time on.
    pub from: CaptureTime,
    /// Up to this capture time.
    pub to: CaptureTime,
    /// Of these heights.
    pub sequences: RangeInclusive<u64>,
    /// Heights of which messages were seen that are too early or too late to count.
    pub cut: Arc<CutHeights>,
}

/// Heights at the edges of a span of time: of them, and of those beyond, only a part may be counted.
#[derive(Debug)]
pub struct CutHeights {
    /// One more than the highest height of a message that came too early.
    early: AtomicU64,
    /// The lowest height of a message that came too late.
    late: AtomicU64,
    /// Lowest and highest height of messages that were left out.
    heights: (AtomicU64, AtomicU64),
    /// Earliest and latest sight of these, in nanoseconds.
    times: (AtomicI64, AtomicI64),
}

/// What lies outside of a part of captures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Lowest and highest height of messages that do not count.
    pub sequences: (u64, u64),
    /// The earliest and the latest of them.
    pub seen: (CaptureTime, CaptureTime),
}

impl Default for CutHeights {
    fn default() -> Self {
        Self {
            early: AtomicU64::new(0),
            late: AtomicU64::new(u64::MAX),
            heights: (AtomicU64::new(u64::MAX), AtomicU64::new(0)),
            times: (AtomicI64::new(i64::MAX), AtomicI64::new(i64::MIN)),
        }
    }
}

impl CutHeights {
    /// Whether messages of this height may have been left out; final when everything was read.
    pub fn contains(&self, sequence: u64) -> bool {
        sequence < self.early.load(Ordering::Relaxed) || sequence >= self.late.load(Ordering::Relaxed)
    }

    /// What was left out, final when everything was read; `None` if all messages count.
    pub fn left_out(&self) -> Option<LeftOut> {
        let height = |height: &AtomicU64| height.load(Ordering::Relaxed);
        let time = |time: &AtomicI64| CaptureTime::from_nanos(time.load(Ordering::Relaxed));
        let left_out = LeftOut {
            sequences: (height(&self.heights.0), height(&self.heights.1)),
            seen: (time(&self.times.0), time(&self.times.1)),
        };
        (left_out.sequences.0 <= left_out.sequences.1).then_some(left_out)
    }

    fn leave_out(&self, seen: CaptureTime, sequence: u64) {
        self.heights.0.fetch_min(sequence, Ordering::Relaxed);
        self.heights.1.fetch_max(sequence, Ordering::Relaxed);
        self.times.0.fetch_min(seen.nanos(), Ordering::Relaxed);
        self.times.1.fetch_max(seen.nanos(), Ordering::Relaxed);
    }
}

impl Default for Selection {
    fn default() -> Self {
        Self {
            from: CaptureTime::MIN,
            to: CaptureTime::MAX,
            sequences: 0..=u64::MAX,
            cut: Arc::default(),
        }
    }
}

impl Selection {
    /// Whether a message of this height, seen at this time, counts. If only its time is wrong, its height is noted as cut.
    #[inline]
    pub fn covers(&self, seen: CaptureTime, sequence: u64) -> bool {
        if !self.sequences.contains(&sequence) {
            self.cut.leave_out(seen, sequence);
            return false;
        }
        if seen < self.from {
            self.cut
                .early
                .fetch_max(sequence.saturating_add(1), Ordering::Relaxed);
            self.cut.leave_out(seen, sequence);
            return false;
        }
        if seen > self.to {
            self.cut.late.fetch_min(sequence, Ordering::Relaxed);
            self.cut.leave_out(seen, sequence);
            return false;
        }
        true
    }
}

/// How far, and how long, places of sessions joined in their middle are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttachOptions {
    /// Blocks of 16 bytes of key stream behind which nobody looks.
    pub reach: u64,
    /// Blocks of key stream that all searches together may run through.
    pub budget: u64,
}

impl AttachOptions {
    /// From GiB of past traffic a direction, and seconds of one processor for all searches together.
    ///
    /// A second counts as 2 GiB of key stream, so that what is found does not depend on how busy the machine is.
    pub fn new(reach_gib: u64, budget_seconds: u64) -> Self {
        Self {
            reach: reach_gib.saturating_mul(1 << 26),
            budget: budget_seconds.saturating_mul(BLOCKS_A_SECOND),
        }
    }
}

impl Default for AttachOptions {
    /// 64 GiB, and 600 seconds.
    fn default() -> Self {
        Self::new(64, 600)
    }
}

/// Settings of one run of the pipeline.
#[derive(Debug)]
pub struct PipelineOptions {
    /// Worker threads; at least one.
    pub jobs: usize,
    /// Only flows with one of these ports; empty: every flow.
    pub ports: BTreeSet<u16>,
    /// Dialect of sessions whose Hello does not tell.
    pub dialect: Option<&'static dyn Dialect>,
    /// Whether signatures are recovered.
    pub signatures: SignatureCheck,
    /// Whether wrong TCP checksums are counted.
    pub checksums: bool,
    /// Whether the content of the inputs is hashed (SHA-256), for reports that name them by it.
    pub content_hashes: bool,
    /// Which messages count.
    pub selection: Selection,
    /// Session secrets known from the start; more may stand in the captures.
    pub secrets: Arc<SecretStore>,
    /// Limits of reassembly; every worker gets its share of the totals.
    pub flows: FlowLimits,
    /// Settings of decryption.
    pub sessions: SessionOptions,
    /// How far places of sessions joined in their middle are looked for.
    pub attach: AttachOptions,
    /// Bytes that the cache of decoded payloads may hold.
    pub payload_cache: usize,
    /// What an earlier run left, to go on where it ended.
    pub checkpoint: Option<Arc<Checkpoint>>,
    /// Whether this run leaves a checkpoint; see [`Analysis::checkpoint`](crate::Analysis::checkpoint).
    pub keep_checkpoint: bool,
    /// Who gets the selected messages as they were on the wire, if anybody wants them.
    pub raw: Option<RawSink>,
    /// Settings of the analysis.
    pub analysis: AnalysisOptions,
}

impl Default for PipelineOptions {
    fn default() -> Self {
        Self {
            jobs: 1,
            ports: BTreeSet::new(),
            dialect: None,
            signatures: SignatureCheck::Recover,
            checksums: true,
            content_hashes: true,
            selection: Selection::default(),
            secrets: Arc::default(),
            flows: FlowLimits::default(),
            sessions: SessionOptions::default(),
            attach: AttachOptions::default(),
            payload_cache: 32 << 20,
            checkpoint: None,
            keep_checkpoint: false,
            raw: None,
            analysis: AnalysisOptions::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heights_at_the_edges_of_a_span_of_time_are_noted_as_cut() {
        let at = CaptureTime::from_nanos;
        let selection = Selection {
            from: at(100),
            to: at(200),
            sequences: 1..=50,
            ..Selection::default()
        };
        assert!(selection.covers(at(100), 1) && selection.covers(at(200), 50));
        assert!((0..60).all(|sequence| !selection.cut.contains(sequence)));
        assert!(!selection.covers(at(99), 10) && !selection.covers(at(99), 9));
        assert!(!selection.covers(at(201), 30) && !selection.covers(at(201), 31));
        // Heights that were not asked for say nothing about those that were.
        assert!(!selection.covers(at(99), 51) && !selection.covers(at(150), 0));
        let cut: Vec<_> = (8..33)
            .filter(|&sequence| selection.cut.contains(sequence))
            .collect();
        assert_eq!(cut, [8, 9, 10, 30, 31, 32]);
    }

    #[test]
    fn what_lies_beside_a_part_is_known() {
        let at = CaptureTime::from_nanos;
        let selection = Selection {
            from: at(100),
            sequences: 10..=50,
            ..Selection::default()
        };
        assert!(selection.covers(at(100), 10));
        assert_eq!(selection.cut.left_out(), None);
        assert!(!selection.covers(at(-5), 20) && !selection.covers(at(300), 0));
        assert_eq!(
            selection.cut.left_out(),
            Some(LeftOut {
                sequences: (0, 20),
                seen: (at(-5), at(300)),
            })
        );
    }
}
