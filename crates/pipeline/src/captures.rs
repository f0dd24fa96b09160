//! The captures of an analysis: opened, read as one, and named by their content.

use std::collections::BTreeMap;
use std::io::Read;

use bftap_analysis::facts::CaptureFact;
use bftap_capture::source::{CaptureReader, ContentHash, HashingReader, MergedCapture, ReadLimits};

use crate::run::Input;

/// The inputs, opened.
pub(crate) struct Captures {
    pub(crate) merged: MergedCapture,
    /// By reader of `merged`.
    hashes: Vec<(String, Option<ContentHash>)>,
    /// Those that could not be opened.
    failed: Vec<CaptureFact>,
}

impl Captures {
    /// Sorted by path, so that the order in which a user names them makes no difference.
    pub(crate) fn open(mut inputs: Vec<Input>, hashed: bool) -> Self {
        inputs.sort_by(|a, b| a.path.cmp(&b.path));
        let limits = ReadLimits::for_readers(inputs.len());
        let mut readers = Vec::new();
        let mut hashes = Vec::new();
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
                    hashes.push((input.path, hash));
                }
                Err(error) => failed.push(CaptureFact {
                    path: input.path,
                    sha256: content_hash(hash),
                    packets: 0,
                    bytes: 0,
                    problem: Some(error.to_string()),
                }),
            }
        }
        Self {
            merged: MergedCapture::new(readers),
            hashes,
            failed,
        }
    }

    /// Facts of those that take part so far, in the order of readers, and of those that do not.
    pub(crate) fn begun(&self) -> (Vec<CaptureFact>, Vec<CaptureFact>) {
        let fact = |(path, _): &(String, _)| CaptureFact {
            path: path.clone(),
            sha256: String::new(),
            packets: 0,
            bytes: 0,
            problem: None,
        };
        (self.hashes.iter().map(fact).collect(), self.failed.clone())
    }

    /// Facts of all, when they were read.
    pub(crate) fn facts(self) -> Vec<CaptureFact> {
        let problems: BTreeMap<usize, String> = self
            .merged
            .problems()
            .map(|(index, error)| (index, error.to_string()))
            .collect();
        let mut facts = self.failed;
        for (index, (reader, (path, hash))) in self.merged.readers().zip(self.hashes).enumerate() {
            let stats = reader.stats();
            facts.push(CaptureFact {
                path,
                sha256: content_hash(hash),
                packets: stats.packets,
                bytes: stats.bytes,
                problem: problems.get(&index).cloned(),
            });
        }
        facts
    }
}

/// Empty where it was not wanted, or the rest of the file cannot be read: that problem is told elsewhere.
fn content_hash(hash: Option<ContentHash>) -> String {
    hash.and_then(|hash| hash.finish().ok())
        .map(hex::encode)
        .unwrap_or_default()
}
