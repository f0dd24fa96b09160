//! Checkpoints on disk: readable by their owner alone, and at any time either the old one or the new one.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read as _, Write as _};
use std::path::Path;

use super::Checkpoint;
use super::format::{Document, MARK, VERSION, WrongValue};

/// A checkpoint that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// What it holds.
    pub checkpoint: Checkpoint,
    /// Others than its owner may read or change it: it names all peers, and who can change it can have messages counted as copies.
    pub exposed: bool,
}

/// Why a checkpoint cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The file cannot be read.
    #[error("it cannot be read: {0}")]
    Read(#[source] io::Error),
    /// It is a folder, a pipe or a device.
    #[error("it is not a file")]
    NotAFile,
    /// Larger than any checkpoint.
    #[error("it has {len} bytes, and a checkpoint at most {LARGEST}")]
    TooLarge {
        /// Its size.
        len: u64,
    },
    /// It holds something else.
    #[error("it is not a checkpoint of bftap")]
    NotACheckpoint,
    /// It was written by another version.
    #[error(
        "it is a checkpoint of version {found}, and this program reads version {VERSION}; start without it"
    )]
    Version {
        /// Its version.
        found: u64,
    },
    /// It begins like a checkpoint, and its end is missing.
    #[error("its end is missing: it was cut; start without it")]
    Cut,
    /// It begins like a checkpoint, and then something does not belong there.
    #[error(
        "at line {line}, column {column} stands what does not belong into a checkpoint; start without it"
    )]
    Syntax {
        /// Where.
        line: usize,
        /// Where in the line.
        column: usize,
    },
    /// It holds a value that cannot be.
    #[error("it holds what cannot be: {what}; start without it")]
    Value {
        /// Which.
        what: String,
    },
    /// It cannot be written; what stood there before still does.
    #[error("it cannot be written: {0}")]
    Write(#[source] io::Error),
}

/// Bytes of the largest checkpoint, many times what the limits of its parts make usual.
const LARGEST: u64 = 1 << 30;

impl Checkpoint {
    /// Writes it in place of what stands at `path`: first beside it, then, when everything is on the disk, under its name. At no
    /// time can others than the owner read it (mode 0600).
    ///
    /// # Errors
    /// The folder cannot be written. What stood at `path` before still does.
    pub fn save(&self, path: &Path) -> Result<(), CheckpointError> {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        self.write(path, folder).map_err(CheckpointError::Write)
    }

    fn write(&self, path: &Path, folder: &Path) -> io::Result<()> {
        // A temporary file is made with mode 0600 wherever there are modes.
        let mut file = tempfile::Builder::new()
            .prefix(".bftap-checkpoint-")
            .tempfile_in(folder)?;
        let mut out = BufWriter::new(file.as_file_mut());
        out.write_all(&self.to_json()?)?;
        out.flush()?;
        drop(out);
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        // The new name is on the disk once the folder is. Some systems cannot do that, and there it need not be done.
        if let Ok(folder) = File::open(folder) {
            let _ = folder.sync_all();
        }
        Ok(())
    }

    /// Reads what [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// See [`CheckpointError`]. A file that is not there is an error of kind [`io::ErrorKind::NotFound`].
    pub fn load(path: &Path) -> Result<Loaded, CheckpointError> {
        // Opening a pipe would wait for somebody to write to it.
        let metadata = fs::metadata(path).map_err(CheckpointError::Read)?;
        if !metadata.is_file() {
            return Err(CheckpointError::NotAFile);
        }
        let file = File::open(path).map_err(CheckpointError::Read)?;
        let metadata = file.metadata().map_err(CheckpointError::Read)?;
        if metadata.len() > LARGEST {
            return Err(CheckpointError::TooLarge { len: metadata.len() });
        }
        let mut text = Vec::new();
        file.take(LARGEST)
            .read_to_end(&mut text)
            .map_err(CheckpointError::Read)?;
        Ok(Loaded {
            checkpoint: Self::from_json(&text)?,
            exposed: is_exposed(&metadata),
        })
    }

    /// Its text.
    ///
    /// # Errors
    /// Never in practice: all of it can be written as JSON.
    pub fn to_json(&self) -> io::Result<Vec<u8>> {
        let mut text = serde_json::to_vec(&Document::of(self))?;
        text.push(b'\n');
        Ok(text)
    }

    /// Reads what [`to_json`](Self::to_json) wrote.
    ///
    /// # Errors
    /// See [`CheckpointError`].
    pub fn from_json(text: &[u8]) -> Result<Self, CheckpointError> {
        let found = version(text).ok_or(CheckpointError::NotACheckpoint)?;
        if found != VERSION {
            return Err(CheckpointError::Version { found });
        }
        // The reader's own words may repeat what stands there.
        let document: Document = serde_json::from_slice(text).map_err(|error| match error.classify() {
            serde_json::error::Category::Eof => CheckpointError::Cut,
            _ => CheckpointError::Syntax {
                line: error.line(),
                column: error.column(),
            },
        })?;
        document
            .read()
            .map_err(|WrongValue(what)| CheckpointError::Value { what })
    }
}

/// The version of a text that begins like a checkpoint.
fn version(text: &[u8]) -> Option<u64> {
    let mut rest = text.trim_ascii_start();
    for part in ["{", "\"", MARK, "\"", ":"] {
        rest = rest.strip_prefix(part.as_bytes())?;
        if part != "\"" && part != MARK {
            rest = rest.trim_ascii_start();
        }
    }
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()
}

#[cfg(unix)]
fn is_exposed(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    metadata.permissions().mode() & 0o077 != 0
}

#[cfg(not(unix))]
fn is_exposed(_: &fs::Metadata) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::super::tests::checkpoint;
    use super::*;

    #[test]
    fn what_is_saved_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint");
        let error = Checkpoint::load(&path).unwrap_err();
        assert!(
            matches!(&error, CheckpointError::Read(error) if error.kind() == io::ErrorKind::NotFound),
            "{error}"
        );
        for checkpoint in [checkpoint(), Checkpoint::default()] {
            checkpoint.save(&path).unwrap();
            let loaded = Checkpoint::load(&path).unwrap();
            assert_eq!((loaded.checkpoint, loaded.exposed), (checkpoint, false));
        }
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "nothing is left over"
        );
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_can_read_it_and_others_are_told_of() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint");
        // Also where a file with another mode stood before.
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        checkpoint().save(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(Checkpoint::load(&path).unwrap().exposed);
    }

    #[test]
    fn a_checkpoint_that_cannot_be_written_leaves_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("no").join("checkpoint");
        let error = checkpoint().save(&path).unwrap_err();
        assert!(error.to_string().contains("cannot be written"), "{error}");
        // A folder cannot be replaced by a file, and the temporary file is gone.
        let path = folder.path().join("folder");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("content"), "x").unwrap();
        checkpoint().save(&path).unwrap_err();
        assert!(matches!(Checkpoint::load(&path), Err(CheckpointError::NotAFile)));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn other_files_are_refused_in_words() {
        let read = |text: &str| Checkpoint::from_json(text.as_bytes()).unwrap_err().to_string();
        for text in [
            "",
            "{",
            "[]",
            "{\"sessions\": []}",
            "not json \u{1b}[31m",
            "{\"bftap_checkpoint\"",
        ] {
            assert_eq!(read(text), "it is not a checkpoint of bftap", "{text}");
        }
        assert!(read("{\"bftap_checkpoint\":2,\"x\":[").contains("version 2"));
        assert!(read(" { \"bftap_checkpoint\": 1, \"\u{1b}[31m\": []}").starts_with("at line 1"));
        let whole = checkpoint().to_json().unwrap();
        for len in (22..whole.len() - 2).step_by(7) {
            let error = Checkpoint::from_json(&whole[..len]).unwrap_err();
            assert!(matches!(error, CheckpointError::Cut), "{len}: {error}");
        }
    }

    #[test]
    fn values_that_cannot_be_are_refused_and_repeat_nothing() {
        let whole = String::from_utf8(checkpoint().to_json().unwrap()).unwrap();
        for (from, to) in [
            ("0000000000000001", "000000000000001"),
            ("\"secret_id\":\"", "\"secret_id\":\"+"),
            ("Klaytn/v1.4.2", "Klaytn\\u001b[31m"),
            ("697374616e62756c", "zz"),
            ("10.0.0.1:40000", "10.0.0.200:32323"),
            (
                "\"dialect\":\"klaytn",
                "\"dialect\":\"hostile__________________________________________________________________________________________________________________________________",
            ),
        ] {
            let text = whole.replace(from, to);
            assert_ne!(text, whole, "{from}");
            let error = Checkpoint::from_json(text.as_bytes()).unwrap_err();
            assert!(matches!(error, CheckpointError::Value { .. }), "{to}: {error}");
            assert!(
                !error.to_string().contains('\u{1b}') && !error.to_string().contains("hostile"),
                "{error}"
            );
        }
        for (from, to) in [("\"block\":77", "\"block\":1e99"), ("[10,", "[[[["), ("77", "-1")] {
            let text = whole.replacen(from, to, 1);
            let read = Checkpoint::from_json(text.as_bytes());
            assert!(text == whole || read.is_err(), "{to}");
        }
        // Numbers at the end of their range are numbers.
        let huge = whole
            .replace("\"block\":77", "\"block\":18446744073709551615")
            .replace("\"sequence\":5", "\"sequence\":18446744073709551615")
            .replace(",3,1]", ",18446744073709551615,18446744073709551615]");
        assert!(Checkpoint::from_json(huge.as_bytes()).is_ok());
        let deep = format!("{{\"bftap_checkpoint\":1,\"sessions\":{}", "[".repeat(100_000));
        assert!(Checkpoint::from_json(deep.as_bytes()).is_err());
    }

    /// Any one byte changed: an error or a checkpoint, never a panic.
    #[test]
    fn changed_bytes_never_panic() {
        let whole = checkpoint().to_json().unwrap();
        let mut accepted = 0;
        for at in 0..whole.len() {
            for byte in [b'9', b'"', b'{', 0, 0xff] {
                let mut text = whole.clone();
                text[at] = byte;
                accepted += usize::from(Checkpoint::from_json(&text).is_ok());
            }
        }
        assert!(accepted > 0 && accepted < whole.len());
    }
}
