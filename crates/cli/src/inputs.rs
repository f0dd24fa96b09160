//! Captures as the user names them: opened, measured, and watched while they are read.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bftap_analysis::facts::CaptureFact;
use bftap_pipeline::Input;

use crate::exit::Usage;
use crate::term::{Level, safe_display, tell};

/// Captures ready to be read.
pub(crate) struct Inputs {
    /// In the order of the arguments, those that cannot be opened included: their first read fails.
    pub(crate) inputs: Vec<Input>,
    /// How many could be opened.
    pub(crate) opened: usize,
    /// Paths of those that could not, and why; that was told.
    pub(crate) unopened: BTreeMap<String, String>,
    /// Bytes in all files; `None` when one of them has no known length (standard input, a pipe).
    pub(crate) length: Option<u64>,
    /// Bytes read from all files so far.
    pub(crate) read: Arc<AtomicU64>,
}

/// Opens captures. What cannot be opened is told at once; reading goes on with the others.
///
/// # Errors
/// When standard input is named twice: wrong usage.
pub(crate) fn open(paths: &[PathBuf]) -> Result<Inputs, Usage> {
    if paths.iter().filter(|path| *path == Path::new("-")).count() > 1 {
        return Err(Usage(
            "standard input (-) is named more than once; it can be read only once".to_owned(),
        ));
    }
    let read = Arc::new(AtomicU64::new(0));
    let mut length = Some(0);
    let mut opened = 0;
    let mut unopened = BTreeMap::new();
    let mut inputs = Vec::with_capacity(paths.len());
    for path in paths {
        let content: Box<dyn Read + Send> = if path == Path::new("-") {
            opened += 1;
            length = None;
            Box::new(Watched {
                inner: io::stdin(),
                read: Arc::clone(&read),
            })
        } else {
            match open_file(path) {
                Ok((file, len)) => {
                    opened += 1;
                    length = length.zip(len).map(|(sum, len)| sum + len);
                    Box::new(Watched {
                        inner: file,
                        read: Arc::clone(&read),
                    })
                }
                Err(error) => {
                    tell(
                        Level::Error,
                        &format!("cannot open {}: {error}", safe_display(path.display())),
                    );
                    unopened.insert(path.to_string_lossy().into_owned(), error.to_string());
                    Box::new(Broken(Some(error)))
                }
            }
        };
        inputs.push(Input {
            path: path.to_string_lossy().into_owned(),
            read: content,
        });
    }
    Ok(Inputs {
        inputs,
        opened,
        unopened,
        length,
        read,
    })
}

/// Says of captures that could not be opened just that: for the reader they failed behind their packet 0.
pub(crate) fn name_unopened(captures: &mut [CaptureFact], unopened: &BTreeMap<String, String>) {
    for capture in captures {
        if let Some(why) = unopened.get(&capture.path) {
            capture.problem = Some(format!("{NOT_OPENED}{why}"));
        }
    }
}

/// How the problem of a capture begins that could not be opened.
pub(crate) const NOT_OPENED: &str = "could not be opened: ";

/// A file and its length, if it is a plain one.
fn open_file(path: &Path) -> io::Result<(File, Option<u64>)> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::Error::other(
            "it is a directory; name the capture files in it",
        ));
    }
    Ok((file, metadata.is_file().then_some(metadata.len())))
}

/// Counts what is read, for the progress bar.
struct Watched<R> {
    inner: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.inner.read(buffer)?;
        self.read.fetch_add(len as u64, Ordering::Relaxed);
        Ok(len)
    }
}

/// Stands for a file that could not be opened, so that it is listed among the captures with its problem.
struct Broken(Option<io::Error>);

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(self
            .0
            .take()
            .unwrap_or_else(|| io::Error::other("it could not be opened")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_opened_fails_at_its_first_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.pcap");
        std::fs::write(&file, b"12345").unwrap();
        let mut inputs = open(&[file, folder.path().join("missing"), folder.path().to_owned()]).unwrap();
        assert_eq!(inputs.opened, 1);
        assert_eq!(inputs.length, Some(5));
        let mut buffer = Vec::new();
        assert_eq!(inputs.inputs[0].read.read_to_end(&mut buffer).unwrap(), 5);
        assert_eq!(inputs.read.load(Ordering::Relaxed), 5);
        assert_eq!(
            inputs.inputs[1].read.read(&mut [0]).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        assert!(
            inputs.inputs[2]
                .read
                .read(&mut [0])
                .unwrap_err()
                .to_string()
                .contains("directory")
        );
    }
}
