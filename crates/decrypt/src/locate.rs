//! Finding frame headers by the part of the key stream that shows through them.
//!
//! A header ends in thirteen constant bytes, so each sixteen bytes of ciphertext that may be one tell thirteen bytes of key
//! stream. [`Windows`] keeps those of many places, of one stream or of many, and [`Windows::scan`] runs over a key stream once and
//! names the places whose bytes it meets. A match is 104 bits, more than chance gives in any search that ends.

use std::collections::BTreeSet;
use std::ops::{ControlFlow, Range};

use crate::frame::HEADER_TAIL;
use crate::keystream::{BLOCK_LEN, Keystream};

/// Places that may be frame headers.
#[derive(Debug, Default)]
pub struct Windows {
    windows: Vec<Window>,
    index: Option<Index>,
}

/// A place that may be a frame header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Window {
    /// Bytes 3 to 10 of the key stream, if this is a header.
    mark: u64,
    /// Bytes 11 to 15 of it.
    rest: [u8; 5],
    /// Whose window it is, as the caller likes.
    pub owner: u32,
    /// Its place in its stream.
    pub offset: u64,
}

/// Where in the sorted windows a mark is.
///
/// Bytes of a stream are chosen by whoever sends it, blocks of a key stream are not: both tables here cost the same whatever
/// the windows are, as it is the blocks that are looked up.
#[derive(Debug)]
struct Index {
    /// Two bits for each mark: small enough for the near caches, so that most blocks are passed over at once.
    filter: Vec<u64>,
    /// First window of each group with the same high bits, and the end of the last.
    groups: Vec<u32>,
    group_shift: u32,
}

impl Windows {
    /// Most windows that can be kept together; further ones are not taken.
    pub const MAX: usize = 1 << 26;

    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the sixteen bytes at `offset`; false if there is no room for more.
    #[inline]
    pub fn push(&mut self, header: &[u8; BLOCK_LEN], owner: u32, offset: u64) -> bool {
        if self.windows.len() >= Self::MAX {
            return false;
        }
        self.index = None;
        let shown: [u8; 13] = std::array::from_fn(|i| header[i + 3] ^ HEADER_TAIL[i]);
        let (mark, rest) = shown.split_at(8);
        let (Ok(mark), Ok(rest)) = (mark.try_into(), rest.try_into()) else {
            return false;
        };
        self.windows.push(Window {
            mark: u64::from_le_bytes(mark),
            rest,
            owner,
            offset,
        });
        true
    }

    /// Adds all windows of `bytes`, which stand at `offset`, that begin at every `step`-th byte.
    pub fn push_all(&mut self, bytes: &[u8], step: usize, owner: u32, offset: u64) -> bool {
        let mut at = 0;
        while let Some(header) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
            if !self.push(header, owner, offset + at as u64) {
                return false;
            }
            at += step;
        }
        true
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.windows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }

    /// Forgets all windows, and keeps the memory.
    pub fn clear(&mut self) {
        self.windows.clear();
        self.index = None;
    }

    /// Removes the windows of which `keep` says no.
    pub fn retain(&mut self, keep: impl FnMut(&Window) -> bool) {
        self.windows.retain(keep);
        self.index = None;
    }

    /// Whose windows there are.
    pub fn owners(&self) -> BTreeSet<u32> {
        self.windows.iter().map(|window| window.owner).collect()
    }

    /// Prepares [`scan`](Self::scan), which may then run on several threads at once.
    ///
    /// Of an owner's windows that show the same bytes only the first one stays: a key stream does not repeat, so the others
    /// are no headers.
    pub fn prepare(&mut self) {
        if self.index.is_none() {
            self.windows.sort_unstable();
            self.windows
                .dedup_by(|a, b| (a.mark, a.rest, a.owner) == (b.mark, b.rest, b.owner));
            self.index = Some(Index::of(&self.windows));
        }
    }

    /// Runs over blocks of a key stream, and tells of every one that a window shows, in the order of the blocks.
    ///
    /// Stops when `found` breaks. Only after [`prepare`](Self::prepare); else nothing is found.
    pub fn scan<B>(
        &self,
        keystream: &mut Keystream,
        blocks: Range<u64>,
        mut found: impl FnMut(u64, &Window) -> ControlFlow<B>,
    ) -> Option<B> {
        let index = self.index.as_ref()?;
        let mut buffer = [[0; BLOCK_LEN]; SCAN_BLOCKS];
        let mut likely = [0_u16; SCAN_BLOCKS];
        let mut first = blocks.start;
        while first < blocks.end {
            let count = (blocks.end - first).min(SCAN_BLOCKS as u64);
            let piece = &mut buffer[..count as usize];
            keystream.seek_block(first);
            keystream.write_blocks(piece);
            // Without a branch: what passes is rare and comes at random, which no processor foresees.
            let mut passed = 0;
            for (number, block) in (0..).zip(piece.iter()) {
                likely[passed] = number;
                passed += index.first_bit(mark_of(block)) as usize;
            }
            for &number in &likely[..passed] {
                let block = &piece[usize::from(number)];
                if !index.has_second_bit(mark_of(block)) {
                    continue;
                }
                for window in index.with_mark(&self.windows, mark_of(block)) {
                    if window.rest == block[11..]
                        && let ControlFlow::Break(result) = found(first + u64::from(number), window)
                    {
                        return Some(result);
                    }
                }
            }
            first += count;
        }
        None
    }
}

/// Blocks that are made at a time: they stay in the nearest cache.
const SCAN_BLOCKS: usize = 512;

#[inline]
fn mark_of(block: &[u8; BLOCK_LEN]) -> u64 {
    // Two halves of the block as they lie in memory, for that is one load each.
    let block = u128::from_le_bytes(*block);
    (block >> 24) as u64
}

impl Index {
    /// Of windows that are sorted.
    fn of(windows: &[Window]) -> Self {
        // Sixteen bits a window or more: one block in eight or fewer goes on to the second bit, one in seventy to the windows.
        let filter_bits = (windows.len() * 16).next_power_of_two().clamp(1 << 10, 1 << 27);
        let mut filter = vec![0; filter_bits / 64];
        let group_bits = windows.len().next_power_of_two().ilog2().max(1);
        let group_shift = u64::BITS - group_bits;
        let mut groups = Vec::with_capacity((1 << group_bits) + 1);
        for (number, window) in (0..).zip(windows) {
            for bits in [window.mark, second_bits(window.mark)] {
                filter[filter_word(bits, filter_bits / 64)] |= 1 << (bits & 63);
            }
            let group = (window.mark >> group_shift) as usize;
            groups.resize(groups.len().max(group + 1), number);
        }
        groups.resize((1 << group_bits) + 1, windows.len() as u32);
        Self {
            filter,
            groups,
            group_shift,
        }
    }

    #[inline]
    fn first_bit(&self, mark: u64) -> u64 {
        self.filter[filter_word(mark, self.filter.len())] >> (mark & 63) & 1
    }

    #[inline]
    fn has_second_bit(&self, mark: u64) -> bool {
        self.first_bit(second_bits(mark)) != 0
    }

    fn with_mark<'w>(&self, windows: &'w [Window], mark: u64) -> &'w [Window] {
        let group = (mark >> self.group_shift) as usize;
        let windows = &windows[self.groups[group] as usize..self.groups[group + 1] as usize];
        let from = windows.partition_point(|window| window.mark < mark);
        let len = windows[from..].partition_point(|window| window.mark == mark);
        &windows[from..from + len]
    }
}

/// Which word of a filter a bit is in; their number is a power of two.
#[inline]
fn filter_word(bits: u64, words: usize) -> usize {
    (bits >> 6) as usize & (words - 1)
}

/// The part of a mark that chooses its second bit.
#[inline]
fn second_bits(mark: u64) -> u64 {
    mark >> 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::AesSecret;

    fn header_at(secret: &AesSecret, block: u64, len: u32) -> [u8; BLOCK_LEN] {
        let mut header = [0; BLOCK_LEN];
        header[..3].copy_from_slice(&len.to_be_bytes()[1..]);
        header[3..].copy_from_slice(&HEADER_TAIL);
        let mut keystream = Keystream::new(secret);
        keystream.seek_block(block);
        keystream.apply(&mut header);
        header
    }

    fn all(windows: &Windows, secret: &AesSecret, blocks: Range<u64>) -> Vec<(u64, u64)> {
        let mut found = Vec::new();
        let end: Option<()> = windows.scan(&mut Keystream::new(secret), blocks, |block, window| {
            found.push((block, window.offset));
            ControlFlow::Continue(())
        });
        assert_eq!(end, None);
        found
    }

    #[test]
    fn headers_are_found_among_other_bytes_by_their_key_stream_alone() {
        let secret = AesSecret::new([7; 32]);
        let mut bytes: Vec<u8> = (0..5000_u32).map(|i| (i * i % 251) as u8).collect();
        for (place, block, len) in [(0, 12, 3), (777, 40_000, 0xff_ffff), (4984, 999_999, 0)] {
            bytes[place..place + BLOCK_LEN].copy_from_slice(&header_at(&secret, block, len));
        }
        let mut windows = Windows::new();
        assert!(windows.push_all(&bytes, 1, 9, 100));
        assert_eq!(windows.len(), 5000 - 15);
        windows.prepare();
        assert_eq!(
            all(&windows, &secret, 0..1_000_000),
            [(12, 100), (40_000, 877), (999_999, 5084)]
        );
        assert_eq!(all(&windows, &secret, 13..40_000), []);
        assert_eq!(all(&windows, &AesSecret::new([8; 32]), 0..1_000_000), []);
        windows.retain(|window| window.offset != 877);
        assert_eq!(all(&windows, &secret, 0..1_000_000), [], "not prepared again");
        windows.prepare();
        assert_eq!(all(&windows, &secret, 0..1_000_000), [(12, 100), (999_999, 5084)]);
    }

    #[test]
    fn equal_windows_are_told_once_an_owner_and_near_misses_are_not() {
        let secret = AesSecret::new([3; 32]);
        let header = header_at(&secret, 5, 77);
        let mut windows = Windows::new();
        for owner in 0..40 {
            windows.push(&header, owner, 7);
            windows.push(&header, owner, 3);
        }
        for byte in 3..BLOCK_LEN {
            let mut near = header;
            near[byte] ^= 1;
            windows.push(&near, 99, 0);
        }
        windows.prepare();
        assert_eq!(
            all(&windows, &secret, 0..100),
            [(5, 3); 40],
            "of each owner the first"
        );
    }
}
