//! The reading side: packets of all inputs, in order of time, cut to segments and dealt out to the workers by flow.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bftap_analysis::ReadFacts;
use bftap_capture::packet::Batch;
use bftap_capture::segment::{PayloadPlace, SegmentHead};
use bftap_capture::slice::{SkipReason, SliceOptions, Sliced, Slicer};
use bftap_decrypt::keylog::LastLine;
use bftap_model::{CaptureTime, FlowKey, TapId};

use crate::batch::{Piece, REASSEMBLED, SegmentBatch};
use crate::options::PipelineOptions;
use crate::taps::TapEnds;

/// How far reading is; for a progress bar on another thread.
#[derive(Debug, Default)]
pub struct Progress {
    /// Captured bytes read so far.
    pub bytes: AtomicU64,
    /// Packets read so far.
    pub packets: AtomicU64,
    /// Reading stands still while places of sessions joined in their middle are looked for.
    pub searching: AtomicBool,
    /// Bytes of key stream that such searches ran through so far.
    pub searched: AtomicU64,
    /// Batches that wait for the workers, as of the last update.
    pub queued_batches: AtomicU64,
    /// Batches of observations that wait to be merged, as of the last update.
    pub queued_observations: AtomicU64,
    /// An update is being made.
    pub(crate) updating: AtomicBool,
    /// A thread has ended; before the end of all, one that failed.
    pub(crate) left: AtomicBool,
}

/// One packet of a batch that was dealt out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dealt {
    pub(crate) seen: CaptureTime,
    pub(crate) tap: TapId,
    pub(crate) len: u32,
    /// It holds a TCP segment.
    pub(crate) tcp: bool,
    /// Which worker got it, if one did.
    pub(crate) shard: Option<u32>,
}

/// Cuts batches of packets into batches of segments, one per worker.
pub(crate) struct Dealer {
    options: Arc<PipelineOptions>,
    slicer: Slicer,
    shards: usize,
    hasher: hashbrown::DefaultHashBuilder,
    taps: TapEnds,
    /// Captured bytes in the last batch.
    dealt: u64,
    /// Capture times of the earliest and the latest packet.
    span: Option<(CaptureTime, CaptureTime)>,
    limits: BTreeMap<&'static str, u64>,
    problems: Vec<String>,
}

impl Dealer {
    pub(crate) fn new(options: Arc<PipelineOptions>, shards: usize) -> Self {
        Self {
            slicer: Slicer::new(SliceOptions {
                verify_checksums: options.checksums,
                ..SliceOptions::default()
            }),
            options,
            shards,
            hasher: hashbrown::DefaultHashBuilder::default(),
            taps: TapEnds::default(),
            dealt: 0,
            span: None,
            limits: BTreeMap::new(),
            problems: Vec::new(),
        }
    }

    /// Deals out one batch. Secrets in it are known before any of its packets are looked at.
    pub(crate) fn deal(&mut self, batch: &Batch, progress: &Progress) -> Vec<SegmentBatch> {
        let shards = self.deal_noting(batch, None);
        progress.bytes.fetch_add(self.dealt, Ordering::Relaxed);
        progress
            .packets
            .fetch_add(batch.records.len() as u64, Ordering::Relaxed);
        shards
    }

    /// As [`deal`](Self::deal), and notes in `order` where each packet went.
    pub(crate) fn deal_noting(
        &mut self,
        batch: &Batch,
        mut order: Option<&mut Vec<Dealt>>,
    ) -> Vec<SegmentBatch> {
        for block in &batch.secrets {
            self.learn_secrets(&block.lines);
        }
        let mut shards: Vec<SegmentBatch> = (0..self.shards)
            .map(|_| SegmentBatch {
                blocks: batch.blocks.clone(),
                ..SegmentBatch::default()
            })
            .collect();
        let mut reassembled: Vec<Vec<Box<[u8]>>> = vec![Vec::new(); self.shards];
        let mut now = batch.reached;
        let mut bytes = 0;
        for record in &batch.records {
            bytes += u64::from(record.len);
            now = now.max(Some(record.seen));
            let (first, last) = self.span.get_or_insert((record.seen, record.seen));
            (*first, *last) = ((*first).min(record.seen), (*last).max(record.seen));
            let mut dealt = Dealt {
                seen: record.seen,
                tap: record.tap,
                len: record.len,
                tcp: false,
                shard: None,
            };
            // Others are counted by the slicer, by reason.
            if let Sliced::Segment(head, payload) = self.slicer.slice(&batch.packet(record)) {
                dealt.tcp = true;
                self.taps.note(head.tap, head.source.ip, head.destination.ip);
                if self.selected(&head) {
                    let shard = self.shard_of(&head);
                    dealt.shard = Some(shard as u32);
                    let piece = match payload {
                        PayloadPlace::InPacket(range) => Piece {
                            block: record.block,
                            start: record.start + range.start,
                            len: range.end - range.start,
                        },
                        PayloadPlace::Reassembled(bytes) => {
                            reassembled[shard].push(bytes);
                            let index = reassembled[shard].len() as u32 - 1;
                            Piece {
                                block: REASSEMBLED,
                                start: index,
                                len: 0,
                            }
                        }
                    };
                    shards[shard].segments.push((head, piece));
                }
            }
            if let Some(order) = &mut order {
                order.push(dealt);
            }
        }
        let several_taps = self.taps.several();
        for (shard, reassembled) in shards.iter_mut().zip(reassembled) {
            shard.now = now;
            shard.several_taps = several_taps;
            shard.reassembled = Arc::new(reassembled);
        }
        self.dealt = bytes;
        shards
    }

    /// Changes when secrets come.
    pub(crate) fn secrets_generation(&self) -> u64 {
        self.options.secrets.generation()
    }

    /// Captured bytes in the batch that was dealt out last.
    pub(crate) fn dealt(&self) -> u64 {
        self.dealt
    }

    /// Capture times of the earliest and the latest packet so far.
    pub(crate) fn span(&self) -> Option<(CaptureTime, CaptureTime)> {
        self.span
    }

    fn learn_secrets(&mut self, lines: &[u8]) {
        let (report, log) =
            self.options
                .secrets
                .add_key_log(lines, 1, LastLine::Whole, &"secrets in the capture".into());
        for problem in log.problems {
            self.problems.push(format!("secrets in the capture: {problem}"));
        }
        if report.dropped > 0 {
            *self.limits.entry("secrets").or_default() += report.dropped;
        }
    }

    fn selected(&self, head: &SegmentHead) -> bool {
        let ports = &self.options.ports;
        ports.is_empty() || ports.contains(&head.source.port) || ports.contains(&head.destination.port)
    }

    fn shard_of(&self, head: &SegmentHead) -> usize {
        if self.shards == 1 {
            return 0;
        }
        let (key, _) = FlowKey::of(head.source, head.destination);
        let mut hasher = self.hasher.build_hasher();
        std::hash::Hash::hash(&key, &mut hasher);
        (hasher.finish() >> 32) as usize % self.shards
    }

    /// What was counted, limits that were reached, and problems with secrets in the captures.
    pub(crate) fn finish(mut self) -> (ReadFacts, BTreeMap<&'static str, u64>, Vec<String>) {
        self.slicer.finish();
        (self.facts(), self.limits, self.problems)
    }

    /// What was counted so far, but for the captures.
    pub(crate) fn facts(&self) -> ReadFacts {
        let stats = self.slicer.stats();
        let skipped = SkipReason::ALL
            .into_iter()
            .map(|reason| (reason.as_str().to_owned(), stats.skipped(reason)));
        ReadFacts {
            captures: Vec::new(),
            tap_ends: self.taps.ends(),
            tcp_packets: stats.segments,
            bad_checksums: stats.bad_checksums,
            skipped_packets: skipped.filter(|(_, count)| *count > 0).collect(),
        }
    }

    /// Limits that were reached so far.
    pub(crate) fn limits(&self) -> &BTreeMap<&'static str, u64> {
        &self.limits
    }
}
