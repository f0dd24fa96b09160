//! Entry points of the fuzz targets, kept beside the code so that unit tests run them too.
//!
//! Each takes any bytes and panics when a promise of this crate does not hold.

use std::convert::Infallible;
use std::io;

use bftap_model::CaptureTime;

use crate::facts::{CaptureFact, EventFact, FactSink, HeightFacts, LinkCountFact};
use crate::height::Height;
use crate::record::{Kept, RecordReader, RecordWriter};
use crate::{Aggregator, AnalysisOptions, Now, ReadFacts, SessionEnd, WorkerTotals, minutes};

/// Takes bytes for a record; the first one tells of what.
pub fn fuzz_record(data: &[u8]) {
    let [what, bytes @ ..] = data else { return };
    match what % 7 {
        0 => check::<Vec<SessionEnd>>(bytes),
        1 => check::<WorkerTotals>(bytes),
        2 => check::<Vec<EventFact>>(bytes),
        3 => check::<ReadFacts>(bytes),
        4 => check::<CaptureFact>(bytes),
        5 => {
            if let Ok(height) = Height::read(bytes) {
                let again = Height::read(&height.write()).expect("what was written comes back");
                assert_eq!(again.payloads, height.payloads);
                assert_eq!(again.deliveries, height.deliveries);
            }
        }
        _ => {
            if let Ok(links) = minutes::read(bytes) {
                assert!(links.len() <= bytes.len() / 29, "a link takes 29 bytes");
            }
        }
    }
}

/// Takes bytes for what an aggregator told whoever keeps it: pieces, each with a byte that tells what it is (even: all but the
/// messages; odd: messages) and its length (2 bytes). What is taken back is judged, told again, and judged to the end.
pub fn fuzz_recall(data: &[u8]) {
    let pieces: Vec<(u8, &[u8])> = pieces(data).collect();
    let mut aggregator = Aggregator::new(AnalysisOptions::default());
    aggregator.keep_changes();
    let mut rests: Vec<&[u8]> = Vec::new();
    rests.extend(
        pieces
            .iter()
            .filter(|(what, _)| what % 2 == 0)
            .map(|(_, rest)| rest),
    );
    for (at, rest) in rests.iter().enumerate() {
        if aggregator.recall(rest, at + 1 == rests.len()).is_err() {
            return;
        }
    }
    for (what, messages) in pieces.iter().filter(|(what, _)| what % 2 == 1) {
        if aggregator.recall_messages(messages, what & 2 == 0).is_err() {
            return;
        }
    }
    aggregator.pause(CaptureTime::from_nanos(0), CaptureTime::from_nanos(5));
    let told = aggregator.changes(&[], true);
    let mut again = Aggregator::new(AnalysisOptions::default());
    again.keep_changes();
    again
        .recall(&told.rest, true)
        .expect("what was told is taken back");
    aggregator.update(Now::default()).expect("a temporary file");
    aggregator
        .finish(ReadFacts::default(), WorkerTotals::default(), &mut Nowhere)
        .expect("a temporary file");
}

fn check<T: Kept>(bytes: &[u8]) {
    let written = |value: &T| {
        let mut record = RecordWriter::default();
        record.put(value);
        record.0
    };
    let read = |bytes: &[u8]| -> io::Result<T> { RecordReader(bytes).get() };
    let Ok(value) = read(bytes) else { return };
    let first = written(&value);
    assert!(first.len() <= bytes.len(), "more than the record has");
    let again = read(&first).expect("what was written comes back");
    assert_eq!(written(&again), first);
}

fn pieces(mut bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let [what, high, low, rest @ ..] = bytes else {
            return None;
        };
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (content, rest) = rest.split_at(len);
        bytes = rest;
        Some((*what, content))
    })
}

struct Nowhere;

impl FactSink for Nowhere {
    type Error = Infallible;

    fn height(&mut self, _: &HeightFacts) -> Result<(), Infallible> {
        Ok(())
    }

    fn minute(&mut self, _: &[LinkCountFact]) -> Result<(), Infallible> {
        Ok(())
    }
}
