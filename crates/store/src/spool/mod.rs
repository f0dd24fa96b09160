//! Batches that wait for a database that is away, in a file of bounded size.
//!
//! The file has no name, is readable by its owner only, and goes with the process, however that ends: a run that was killed is
//! made again. A record has a checksum: what a broken disk made of it is an error, never rows.
//!
//! Records stand one behind the other; when the end of the file is reached, those still waiting move to its start, and if that is not
//! enough, [`Spool::shrink`] makes less of them.

mod record;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::StoreError;
use crate::batch_merge::merge;
use crate::store::Batch;

/// What is told of a live batch besides its rows, and kept with its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// Capture time of the newest packet in it.
    pub(crate) seen_ns: Option<i64>,
    /// Age of that packet when the batch was handed over.
    pub(crate) lag_ns: i64,
    /// When that was, since the writer began.
    pub(crate) handed_ns: i64,
    /// Everything up to this update is in it or before it.
    pub(crate) update: u64,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Spool {
    file: File,
    folder: PathBuf,
    waiting: VecDeque<Entry>,
    /// Behind the last record.
    end: u64,
    /// Bytes of records that wait.
    bytes: u64,
    /// What the file may take now: less than `allowed` once the disk had no more.
    limit: u64,
    /// What it may take on a disk with room.
    allowed: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    offset: u64,
    len: u64,
    checksum: u64,
    told: Option<Told>,
    /// There is nothing left to make less of.
    shrunk: bool,
}

/// Deliveries whose detail was given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Thinned {
    pub(crate) rows: u64,
    pub(crate) copies: u64,
}

/// Bytes of records that are put together at a time: bounds the memory that takes.
const TOGETHER: u64 = 4 << 20;

impl Spool {
    /// Makes the file, so that a folder that cannot be written is known before it is needed.
    pub(crate) fn create(folder: &Path, limit: u64) -> Result<Self, StoreError> {
        let made = tempfile::tempfile_in(folder);
        let file = made.map_err(|source| StoreError::Spool {
            folder: folder.display().to_string(),
            source,
        })?;
        Ok(Self {
            file,
            folder: folder.to_owned(),
            waiting: VecDeque::new(),
            end: 0,
            bytes: 0,
            limit,
            allowed: limit,
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Batches that wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether live batches wait.
    pub(crate) fn has_live(&self) -> bool {
        self.waiting.iter().any(|entry| entry.told.is_some())
    }

    /// Takes a batch behind those that wait; `false` if there is no room.
    pub(crate) fn push(&mut self, batch: &Batch, told: Option<Told>) -> Result<bool, StoreError> {
        let record = record::write(batch);
        let len = record.len() as u64;
        // Only where that frees much: it copies all that waits, while nobody else can take from it.
        if self.end + len > self.limit && self.bytes + len <= self.limit / 4 * 3 {
            self.close_ranks()?;
        }
        if self.end + len > self.limit {
            return Ok(false);
        }
        match self.write(self.end, &record) {
            Ok(()) => {}
            // No room on the disk is no room in the file: what stands there already stays what the limit is.
            Err(error) if is_full(&error) => {
                if self.end > 0 {
                    self.limit = self.end;
                }
                return Ok(false);
            }
            Err(error) => return Err(self.failed(error)),
        }
        self.waiting.push_back(Entry {
            offset: self.end,
            len,
            checksum: checksum(&record),
            told,
            shrunk: false,
        });
        self.end += len;
        self.bytes += len;
        Ok(true)
    }

    /// Takes the batch out that has waited for longest.
    pub(crate) fn pop(&mut self) -> Result<Option<(Batch, Option<Told>)>, StoreError> {
        let Some(&entry) = self.waiting.front() else {
            return Ok(None);
        };
        let batch = self.read(&entry)?;
        self.waiting.pop_front();
        self.bytes -= entry.len;
        if self.waiting.is_empty() {
            self.end = 0;
            self.limit = self.allowed;
            // The room is given back; if that fails it is used again all the same.
            let _ = self.file.set_len(0);
        }
        Ok(Some((batch, entry.told)))
    }

    /// Whether [`shrink`](Self::shrink) can make room worth its while: a quarter of the file still has all its detail.
    pub(crate) fn can_shrink(&self) -> bool {
        let whole = self.waiting.iter().filter(|entry| !entry.shrunk);
        whole.map(|entry| entry.len).sum::<u64>() > self.limit / 4
    }

    /// Makes less of what waits, until half of the room is free or nothing more can be given up: first rows that later ones replace, then
    /// the detail of deliveries, the oldest first.
    pub(crate) fn shrink(&mut self) -> Result<Thinned, StoreError> {
        self.rewrite(|batches| (merge(batches), false), |_| true)?;
        let mut thinned = Thinned::default();
        let mut to_free = self.bytes.saturating_sub(self.limit / 2);
        if to_free > 0 {
            let mut before = 0;
            self.rewrite(
                |batches| {
                    let mut batch = merge(batches);
                    thinned.rows += batch.deliveries.len() as u64;
                    thinned.copies += batch.deliveries.iter().map(|row| row.copies).sum::<u64>();
                    batch.deliveries.clear();
                    (batch, true)
                },
                |freed| {
                    to_free = to_free.saturating_sub(freed - before);
                    before = freed;
                    to_free > 0
                },
            )?;
        }
        Ok(thinned)
    }

    /// Moves what waits to the start of the file.
    fn close_ranks(&mut self) -> Result<(), StoreError> {
        let mut end = 0;
        for index in 0..self.waiting.len() {
            let entry = self.waiting[index];
            if entry.offset != end {
                let record = self.read_bytes(&entry)?;
                self.write(end, &record).map_err(|error| self.failed(error))?;
                self.waiting[index].offset = end;
            }
            end += entry.len;
        }
        self.end = end;
        Ok(())
    }

    /// Writes what `change` makes of some records at a time in their place, from the oldest on, while `go_on` says so of the bytes that were
    /// freed. What it makes takes no more room than they did.
    fn rewrite(
        &mut self,
        mut change: impl FnMut(Vec<Batch>) -> (Batch, bool),
        mut go_on: impl FnMut(u64) -> bool,
    ) -> Result<(), StoreError> {
        let mut rest = std::mem::take(&mut self.waiting);
        let mut done = VecDeque::with_capacity(rest.len());
        let (mut end, mut freed, mut going) = (0, 0, true);
        while let Some(first) = rest.pop_front() {
            let mut group = vec![first];
            if going && !first.shrunk {
                let mut len = first.len;
                while let Some(next) = rest.front()
                    && len + next.len <= TOGETHER
                    && !next.shrunk
                {
                    len += next.len;
                    group.extend(rest.pop_front());
                }
            }
            let len: u64 = group.iter().map(|entry| entry.len).sum();
            let (record, shrunk) = if going && !first.shrunk {
                let batches = group
                    .iter()
                    .map(|entry| self.read(entry))
                    .collect::<Result<_, _>>()?;
                let (batch, shrunk) = change(batches);
                (record::write(&batch), shrunk)
            } else {
                (self.read_bytes(&first)?, first.shrunk)
            };
            debug_assert!(record.len() as u64 <= len, "a merged record takes no more room");
            self.write(end, &record).map_err(|error| self.failed(error))?;
            done.push_back(Entry {
                offset: end,
                len: record.len() as u64,
                checksum: checksum(&record),
                told: group.iter().rev().find_map(|entry| entry.told),
                shrunk,
            });
            end += record.len() as u64;
            freed += len - (record.len() as u64).min(len);
            going = going && go_on(freed);
        }
        self.waiting = done;
        self.end = end;
        self.bytes = end;
        Ok(())
    }

    fn read(&mut self, entry: &Entry) -> Result<Batch, StoreError> {
        let record = self.read_bytes(entry)?;
        record::read(&record).map_err(|error| self.failed(error))
    }

    fn read_bytes(&mut self, entry: &Entry) -> Result<Vec<u8>, StoreError> {
        let mut record = vec![0; entry.len as usize];
        let read = self
            .file
            .seek(SeekFrom::Start(entry.offset))
            .and_then(|_| self.file.read_exact(&mut record));
        read.map_err(|error| self.failed(error))?;
        if checksum(&record) != entry.checksum {
            return Err(self.failed(io::Error::new(
                io::ErrorKind::InvalidData,
                "what was read back is not what was written",
            )));
        }
        Ok(record)
    }

    fn write(&mut self, at: u64, record: &[u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(at))?;
        self.file.write_all(record)
    }

    fn failed(&self, source: io::Error) -> StoreError {
        StoreError::Spool {
            folder: self.folder.display().to_string(),
            source,
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// FNV-1a over words of eight bytes: tells accidents, which is all that can happen to a file without a name.
fn checksum(record: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ record.len() as u64;
    for chunk in record.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(0x0000_0100_0000_01b3);
        hash ^= hash >> 29;
    }
    hash
}

#[cfg(test)]
mod tests;
