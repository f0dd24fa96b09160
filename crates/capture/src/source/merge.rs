//! Several capture files as one capture, ordered by time.

use std::sync::Arc;

use bftap_model::{CaptureTime, TapId};

use super::error::CaptureError;
use super::reader::CaptureReader;
use crate::packet::{Batch, Record};

/// Packets that a merged batch holds at most.
const BATCH_RECORDS: usize = 4096;

/// Reads several files side by side and gives their packets by time.
///
/// Packets of equal time are ordered by their bytes, then by the index of their reader; packets of one file keep their order,
/// also where their times do not rise. Hand the readers over in an order of their own (by path, say), and the order in
/// which a user named them makes no difference. A single file's batches pass through as they are.
#[derive(Debug)]
pub struct MergedCapture {
    sources: Vec<Source>,
    taps: Vec<Tap>,
    /// True once each source has shown its first packet.
    started: bool,
}

/// What a [`TapId`] stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tap {
    /// Index of the reader.
    pub reader: usize,
    /// Index in its [`CaptureReader::interfaces`].
    pub interface: usize,
}

#[derive(Debug)]
struct Source {
    reader: CaptureReader,
    /// The batch being merged, and how many of its records and secrets are done.
    batch: Batch,
    at: usize,
    secrets_at: usize,
    /// Place of its block in the batch that is being put together.
    slot: Option<u32>,
    ended: bool,
    problem: Option<CaptureError>,
    /// Taps of its interfaces.
    taps: TapNumbers,
}

impl MergedCapture {
    /// Joins `readers`.
    pub fn new(readers: Vec<CaptureReader>) -> Self {
        let sources = readers
            .into_iter()
            .map(|reader| Source {
                reader,
                batch: Batch::default(),
                at: 0,
                secrets_at: 0,
                slot: None,
                ended: false,
                problem: None,
                taps: TapNumbers::default(),
            })
            .collect();
        Self {
            sources,
            taps: Vec::new(),
            started: false,
        }
    }

    /// The next packets of all files, `None` at the end of the last.
    ///
    /// A file that cannot be read to its end does not end the others; see [`problems`](Self::problems).
    pub fn next_batch(&mut self) -> Option<Batch> {
        if let [source] = &mut self.sources[..] {
            let mut batch = source.next_batch()?;
            for record in &mut batch.records {
                record.tap = source.taps.of(record.tap, 0, &mut self.taps);
            }
            return Some(batch);
        }
        let mut out = Batch::default();
        for source in &mut self.sources {
            source.slot = None;
            if !self.started {
                source.refill(&mut out);
            }
        }
        self.started = true;
        while out.records.len() < BATCH_RECORDS {
            let Some((first, until)) = self.first() else { break };
            self.sources[first].emit(first, until, &mut self.taps, &mut out);
        }
        (!out.is_empty()).then_some(out)
    }

    /// What the taps of the packets given so far stand for, by [`TapId`], in order of their first packets.
    ///
    /// All interfaces beyond 65,535 share the last tap.
    pub fn taps(&self) -> &[Tap] {
        &self.taps
    }

    /// The readers, for their interfaces and sums.
    pub fn readers(&self) -> impl ExactSizeIterator<Item = &CaptureReader> {
        self.sources.iter().map(|source| &source.reader)
    }

    /// Readers that could not go on, by index, and why.
    pub fn problems(&self) -> impl Iterator<Item = (usize, &CaptureError)> {
        self.sources
            .iter()
            .enumerate()
            .filter_map(|(index, source)| Some((index, source.problem.as_ref()?)))
    }

    /// The source whose next packet comes first, and the earliest time of the other sources' next packets.
    fn first(&self) -> Option<(usize, Option<CaptureTime>)> {
        let mut first: Option<(usize, &Record)> = None;
        let mut until: Option<CaptureTime> = None;
        for (index, source) in self.sources.iter().enumerate() {
            let Some(head) = source.head() else { continue };
            let Some((best, best_head)) = first else {
                first = Some((index, head));
                continue;
            };
            let earlier = head.seen < best_head.seen
                || head.seen == best_head.seen
                    && source.batch.bytes(head) < self.sources[best].batch.bytes(best_head);
            let loser = if earlier {
                first = Some((index, head));
                best_head
            } else {
                head
            };
            until = Some(until.map_or(loser.seen, |until| until.min(loser.seen)));
        }
        first.map(|(index, _)| (index, until))
    }
}

impl Source {
    fn next_batch(&mut self) -> Option<Batch> {
        self.reader.next_batch().unwrap_or_else(|error| {
            self.problem = Some(error);
            None
        })
    }

    fn head(&self) -> Option<&Record> {
        self.batch.records.get(self.at)
    }

    /// Moves the first packet, and those after it that are earlier than `until`, into `out`.
    fn emit(&mut self, index: usize, until: Option<CaptureTime>, taps: &mut Vec<Tap>, out: &mut Batch) {
        let slot = *self.slot.get_or_insert_with(|| {
            out.blocks.extend(self.batch.blocks.iter().map(Arc::clone));
            (out.blocks.len() - 1) as u32
        });
        while let Some(&record) = self.batch.records.get(self.at) {
            let tap = self.taps.of(record.tap, index, taps);
            out.records.push(Record {
                tap,
                block: slot,
                ..record
            });
            self.at += 1;
            self.emit_secrets(out);
            let next_is_first = self
                .head()
                .is_some_and(|head| until.is_none_or(|until| head.seen < until));
            if !next_is_first || out.records.len() == BATCH_RECORDS {
                break;
            }
        }
        self.refill(out);
    }

    /// Reads on if all packets at hand are given, until there is one again or the file ends.
    fn refill(&mut self, out: &mut Batch) {
        while self.at == self.batch.records.len() && !self.ended {
            self.batch = self.next_batch().unwrap_or_default();
            self.ended = self.batch.is_empty();
            (self.at, self.secrets_at, self.slot) = (0, 0, None);
            self.emit_secrets(out);
        }
    }

    /// Gives the secrets that stand before the next packet.
    fn emit_secrets(&mut self, out: &mut Batch) {
        while let Some(secrets) = self.batch.secrets.get(self.secrets_at)
            && secrets.before as usize <= self.at
        {
            let mut secrets = secrets.clone();
            secrets.before = out.records.len() as u32;
            out.secrets.push(secrets);
            self.secrets_at += 1;
        }
    }
}

/// Taps of a source's interfaces, numbered when their first packet comes.
#[derive(Debug, Default)]
struct TapNumbers(Vec<Option<TapId>>);

impl TapNumbers {
    #[inline]
    fn of(&mut self, interface: TapId, reader: usize, all: &mut Vec<Tap>) -> TapId {
        let interface = usize::from(interface.0);
        match self.0.get(interface) {
            Some(&Some(tap)) => tap,
            _ => self.add(interface, reader, all),
        }
    }

    #[cold]
    fn add(&mut self, interface: usize, reader: usize, all: &mut Vec<Tap>) -> TapId {
        if all.len() < usize::from(u16::MAX) {
            all.push(Tap { reader, interface });
        }
        let tap = TapId((all.len() - 1) as u16);
        if self.0.len() <= interface {
            self.0.resize(interface + 1, None);
        }
        self.0[interface] = Some(tap);
        tap
    }
}
