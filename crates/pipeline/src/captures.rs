//! The captures of an analysis: files, opened, read as one, and named by their content; and what is known of any source's inputs.

use std::io::Read;

use bftap_analysis::facts::CaptureFact;
use bftap_capture::packet::Batch;
use bftap_capture::source::{
    CaptureReader, ContentHash, HashingReader, InputStats, Interface, MergedCapture, PacketSource, ReadLimits,
};

use crate::run::Input;

/// Files, opened.
pub(crate) struct Captures {
    merged: MergedCapture,
    /// By reader of `merged`.
    opened: Vec<(String, Option<ContentHash>)>,
    /// Those that could not be opened.
    failed: Vec<InputStats>,
}

impl Captures {
    /// Sorted by path, so that the order in which a user names them makes no difference.
    pub(crate) fn open(mut inputs: Vec<Input>, hashed: bool) -> Self {
        inputs.sort_by(|a, b| a.path.cmp(&b.path));
        let limits = ReadLimits::for_readers(inputs.len());
        let mut readers = Vec::new();
        let mut opened = Vec::new();
        let mut failed = Vec::new();
        for input in inputs {
            let (read, hash): (Box<dyn Read + Send>, _) = if hashed {
                let (read, hash) = HashingReader::new(input.read);
                (Box::new(read), Some(hash))
            } else {
                (input.read, None)
            };
            match CaptureReader::open(read, limits) {
                Ok(reader) => {
                    readers.push(reader);
                    opened.push((input.path, hash));
                }
                Err(error) => failed.push(InputStats {
                    name: input.path,
                    sha256: content_hash(hash),
                    problem: Some(error.to_string()),
                    ..InputStats::default()
                }),
            }
        }
        Self {
            merged: MergedCapture::new(readers),
            opened,
            failed,
        }
    }
}

impl PacketSource for Captures {
    fn next_batch(&mut self) -> Option<Batch> {
        self.merged.next_batch()
    }

    fn inputs_of_taps(&self) -> Vec<usize> {
        self.merged.taps().iter().map(|tap| tap.reader).collect()
    }

    /// Those that could be opened, in the order of readers, and then the others.
    fn inputs(&self) -> Vec<InputStats> {
        let mut inputs: Vec<InputStats> = self
            .merged
            .readers()
            .zip(&self.opened)
            .map(|(reader, (path, _))| {
                let stats = reader.stats();
                InputStats {
                    name: path.clone(),
                    packets: stats.packets,
                    bytes: stats.bytes,
                    kernel_drops: dropped(reader.interfaces()),
                    ..InputStats::default()
                }
            })
            .collect();
        for (reader, error) in self.merged.problems() {
            inputs[reader].problem = Some(error.to_string());
        }
        inputs.extend(self.failed.iter().cloned());
        inputs
    }

    fn finish(self: Box<Self>) -> Vec<InputStats> {
        let mut inputs = self.inputs();
        for (input, (_, hash)) in inputs.iter_mut().zip(self.opened) {
            input.sha256 = content_hash(hash);
        }
        inputs
    }
}

/// As it stands among the facts.
pub(crate) fn fact_of(input: InputStats) -> CaptureFact {
    CaptureFact {
        path: input.name,
        sha256: input.sha256,
        packets: input.packets,
        bytes: input.bytes,
        kernel_drops: input.kernel_drops,
        interface_drops: input.interface_drops,
        times_down: input.times_down,
        problem: input.problem,
    }
}

/// What a file says was lost at its interfaces; `None` if it says nothing.
fn dropped(interfaces: &[Interface]) -> Option<u64> {
    interfaces
        .iter()
        .filter_map(|interface| interface.dropped)
        .reduce(u64::saturating_add)
}

/// Empty where it was not wanted, or the rest of the file cannot be read: that problem is told elsewhere.
fn content_hash(hash: Option<ContentHash>) -> String {
    hash.and_then(|hash| hash.finish().ok())
        .map(hex::encode)
        .unwrap_or_default()
}
