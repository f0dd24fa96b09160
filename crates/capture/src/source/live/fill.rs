//! Packets of one interface, copied once out of the kernel's buffer into blocks.

use std::sync::Arc;
use std::time::Instant;

use bftap_model::{CaptureTime, TapId};

use super::super::blocks::Blocks;
use crate::link::LinkType;
use crate::packet::{Batch, Record};

/// Bytes of a block.
const BLOCK: usize = 1 << 20;

/// Packets of a piece at most, so that small ones do not come in heaps.
const RECORDS: usize = 8192;

/// What an interface's thread hands on.
#[derive(Debug)]
pub(super) struct Piece {
    /// Its number.
    pub(super) interface: usize,
    /// Packets in order; none if it only says how time goes on.
    pub(super) batch: Batch,
    /// All that it saw before this time was handed on.
    pub(super) reached: Option<CaptureTime>,
    /// When it was handed on.
    pub(super) at: Instant,
}

/// Puts packets into blocks, and blocks into batches.
pub(super) struct Filler {
    blocks: Blocks,
    block: Arc<Vec<u8>>,
    used: usize,
    records: Vec<Record>,
    full: Vec<Batch>,
    bytes: u64,
    packets: u64,
    /// Latest time of a packet.
    latest: Option<CaptureTime>,
}

impl Filler {
    pub(super) fn new() -> Self {
        let mut blocks = Blocks::new(BLOCK);
        Self {
            block: blocks.take(BLOCK),
            blocks,
            used: 0,
            records: Vec::new(),
            full: Vec::new(),
            bytes: 0,
            packets: 0,
            latest: None,
        }
    }

    /// Takes a packet.
    pub(super) fn push(
        &mut self,
        seen: CaptureTime,
        tap: TapId,
        link: LinkType,
        bytes: &[u8],
        orig_len: u32,
    ) {
        if self.used + bytes.len() > self.block.len() || self.records.len() == RECORDS {
            self.close(bytes.len());
        }
        let Some(space) = Arc::get_mut(&mut self.block) else {
            unreachable!("the block being filled is not shared");
        };
        space[self.used..self.used + bytes.len()].copy_from_slice(bytes);
        self.records.push(Record {
            seen,
            block: 0,
            start: self.used as u32,
            len: bytes.len() as u32,
            orig_len,
            tap,
            link,
        });
        self.used += bytes.len();
        self.packets += 1;
        self.bytes += bytes.len() as u64;
        self.latest = self.latest.max(Some(seen));
    }

    /// Packets and bytes that came since the last time this was asked.
    pub(super) fn counted(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.packets), std::mem::take(&mut self.bytes))
    }

    pub(super) fn latest(&self) -> Option<CaptureTime> {
        self.latest
    }

    /// Batches that are full.
    pub(super) fn take_full(&mut self) -> std::vec::Drain<'_, Batch> {
        self.full.drain(..)
    }

    /// Something waits in a block that is not full.
    pub(super) fn has_rest(&self) -> bool {
        !self.records.is_empty()
    }

    /// Counts the block that is being filled among the full ones.
    pub(super) fn flush(&mut self) {
        if self.has_rest() {
            self.close(0);
        }
    }

    fn close(&mut self, room: usize) {
        let fresh = self.blocks.take(room.max(BLOCK));
        let block = std::mem::replace(&mut self.block, fresh);
        self.used = 0;
        if self.records.is_empty() {
            // A packet that is larger than a block, at the start of one.
            return;
        }
        self.blocks.remember(&block);
        let records = Vec::with_capacity(self.records.len());
        self.full.push(Batch {
            blocks: vec![block],
            records: std::mem::replace(&mut self.records, records),
            ..Batch::default()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_packet_comes_out_as_it_came_in() {
        let mut filler = Filler::new();
        let packet = |number: usize| vec![number as u8; number * 7919 % 300_000];
        for number in 0..60 {
            let seen = CaptureTime::from_nanos(number as i64);
            filler.push(seen, TapId(3), LinkType::ETHERNET, &packet(number), 400_000);
        }
        // Larger than any block.
        filler.push(
            CaptureTime::from_nanos(60),
            TapId(3),
            LinkType::ETHERNET,
            &[1; BLOCK + 9],
            7,
        );
        filler.flush();
        let batches: Vec<Batch> = filler.take_full().collect();
        assert!(batches.len() > 8);
        let packets: Vec<_> = batches.iter().flat_map(Batch::packets).collect();
        assert_eq!(packets.len(), 61);
        for (number, got) in packets[..60].iter().enumerate() {
            assert_eq!((got.seen.nanos(), got.tap), (number as i64, TapId(3)));
            assert!(got.bytes == packet(number) && got.orig_len == 400_000);
        }
        assert_eq!(packets[60].bytes.len(), BLOCK + 9);
        let bytes: usize = packets.iter().map(|packet| packet.bytes.len()).sum();
        assert_eq!(filler.counted(), (61, bytes as u64));
        assert_eq!(filler.counted(), (0, 0));
    }
}
