//! Every message of the heights in question, once each, with the places where it was seen.

use std::collections::BTreeMap;

use bftap_ibft_decode::{ConsensusMessage, Dialect};
use bftap_model::{Address, CaptureTime, Endpoint, FlowKey, Hash256, MacState, NodeId, SeqNumber, Side};

/// What a collector holds at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CollectLimits {
    /// Distinct payloads. Default 65,536: heights of a hundred validators have some hundreds.
    pub payloads: usize,
    /// Bytes of their messages. Default 256 MiB.
    pub bytes: usize,
    /// Places that are kept of one payload. Default 512; the others are counted.
    pub sights: usize,
}

impl Default for CollectLimits {
    fn default() -> Self {
        Self {
            payloads: 65_536,
            bytes: 256 << 20,
            sights: 512,
        }
    }
}

/// One place where a message was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    /// The TCP connection.
    pub flow: FlowKey,
    /// The end that sent it.
    pub side: Side,
    /// Key from Hello of who handed it over.
    pub from: Option<NodeId>,
    /// Key from Hello of who got it.
    pub to: Option<NodeId>,
    /// Stream offset of the first byte of its frame.
    pub offset: u64,
    /// TCP sequence number of that byte.
    pub seq: Option<SeqNumber>,
    /// Bytes of the frame.
    pub frame_bytes: u32,
    /// Capture time of the packet that completed it.
    pub seen: CaptureTime,
    /// Whether the frame's MACs held.
    pub mac: MacState,
}

impl Sight {
    /// The end that sent it.
    pub fn sender(&self) -> Endpoint {
        self.flow.endpoint(self.side)
    }

    /// The end that got it.
    pub fn receiver(&self) -> Endpoint {
        self.flow.endpoint(self.side.other())
    }
}

/// One payload.
#[derive(Clone, Debug)]
pub struct Found {
    /// How it is encoded.
    pub dialect: &'static dyn Dialect,
    /// Its code, the capability's offset taken off.
    pub local: u64,
    /// What it says.
    pub message: ConsensusMessage,
    /// The message on the wire, envelope included, of its first sight.
    pub bytes: Vec<u8>,
    /// Where it was seen, in the order of capture.
    pub sights: Vec<Sight>,
    /// Further sights that were not kept.
    pub sights_left_out: u64,
}

impl Found {
    /// Who is to answer for it.
    pub fn signer(&self) -> Option<Address> {
        self.message.signer
    }
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Collector {
    limits: CollectLimits,
    found: BTreeMap<Hash256, Found>,
    bytes: usize,
    left_out: u64,
}

impl Collector {
    /// Holds as much as it may.
    pub fn new(limits: CollectLimits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Takes one sight of a payload. `bytes`: the message with its envelope.
    pub fn push(
        &mut self,
        payload: Hash256,
        dialect: &'static dyn Dialect,
        local: u64,
        message: &ConsensusMessage,
        bytes: Vec<u8>,
        sight: Sight,
    ) {
        if let Some(found) = self.found.get_mut(&payload) {
            if found.sights.len() < self.limits.sights {
                found.sights.push(sight);
            } else {
                found.sights_left_out += 1;
            }
            return;
        }
        if self.found.len() >= self.limits.payloads || self.bytes + bytes.len() > self.limits.bytes {
            self.left_out += 1;
            return;
        }
        self.bytes += bytes.len();
        let found = Found {
            dialect,
            local,
            message: message.clone(),
            bytes,
            sights: vec![sight],
            sights_left_out: 0,
        };
        self.found.insert(payload, found);
    }

    /// All payloads, by hash.
    pub fn found(&self) -> &BTreeMap<Hash256, Found> {
        &self.found
    }

    /// Messages that there was no room for.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }
}
