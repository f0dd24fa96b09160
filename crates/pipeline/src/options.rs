//! Settings of one run of the pipeline.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use bftap_analysis::AnalysisOptions;
use bftap_capture::flow_table::FlowLimits;
use bftap_decrypt::{SecretStore, SessionOptions};
use bftap_ibft_decode::{Dialect, SignatureCheck};
use bftap_model::CaptureTime;

/// Which messages count.
#[derive(Clone, Debug)]
pub struct Selection {
    /// From this capture time on.
    pub from: CaptureTime,
    /// Up to this capture time.
    pub to: CaptureTime,
    /// Of these heights.
    pub sequences: RangeInclusive<u64>,
}

impl Default for Selection {
    fn default() -> Self {
        Self {
            from: CaptureTime::MIN,
            to: CaptureTime::MAX,
            sequences: 0..=u64::MAX,
        }
    }
}

impl Selection {
    /// Whether a message of this height, seen at this time, counts.
    #[inline]
    pub fn covers(&self, seen: CaptureTime, sequence: u64) -> bool {
        self.from <= seen && seen <= self.to && self.sequences.contains(&sequence)
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
    /// Bytes that the cache of decoded payloads may hold.
    pub payload_cache: usize,
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
            payload_cache: 32 << 20,
            analysis: AnalysisOptions::default(),
        }
    }
}
