//! What a receiver got, one key log a shipper: written, and on the disk, before it is acknowledged.
//!
//! A line is told from others by its content, so one that comes again, because an acknowledgement was lost or a shipper
//! starts over, is known. The files alone say what is there: nothing else has to agree with them after a crash.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::line::{LONGEST, parse_line};
use crate::receiving::Received;
use crate::wire::ReceiverId;

/// A folder of what was received, for one receiver at a time.
#[derive(Debug)]
pub struct Ledger {
    folder: PathBuf,
    id: ReceiverId,
    /// Held as long as the receiver lives.
    _lock: File,
}

/// What one shipper sent.
#[derive(Debug)]
pub struct Account {
    path: PathBuf,
    file: Option<Opened>,
    known: HashSet<[u8; 16]>,
}

#[derive(Debug)]
struct Opened {
    file: File,
    inode: (u64, u64),
    len: u64,
}

/// Why nothing can be stored.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// A file or folder cannot be used.
    #[error("cannot {doing} {path}: {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: String,
        /// What came of it.
        source: io::Error,
    },
    /// Another receiver writes there.
    #[error("another bftap writes to {0} already: give each receiver a folder of its own")]
    Busy(String),
    /// The name of a shipper is no name of a file.
    #[error("the certificate's name cannot be the name of a file")]
    Name,
    /// A file in the place of the receiver's name that is something else.
    #[error("{0} is damaged: remove it, and all shippers send once more what they have")]
    Id(String),
    /// A shipper sent more than is kept.
    #[error("{path} holds {MOST_LINES} lines, and no more are taken: move it away")]
    Full {
        /// Where its lines are.
        path: String,
    },
}

/// Lines kept of one shipper: 35 MB, and as many sessions as are ever known at a time.
pub const MOST_LINES: usize = 1 << 18;

/// A comment of a key log, so that the whole folder can be given to `--keylog`.
const ID_PREFIX: &str = "# bftap keys receive, ";

/// How the files of shippers end.
const SUFFIX: &str = ".keylog";

/// Whether a name is that of a file and nothing else: letters, digits, `-`, `_`, and dots within.
pub fn is_safe_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 100
        && !name.starts_with(['.', '-'])
        && !name.ends_with('.')
        && !name.contains("..")
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

impl Ledger {
    /// Opens a folder, and makes it if it is not there.
    ///
    /// # Errors
    /// It cannot be used, or is used by another receiver.
    pub fn open(folder: &Path) -> Result<Self, LedgerError> {
        let failed = |doing, path: &Path| {
            let path = path.display().to_string();
            move |source| LedgerError::Io { doing, path, source }
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(failed("make", folder))?;
        let lock_path = folder.join("receiver.lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&lock_path)
            .map_err(failed("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                return Err(LedgerError::Busy(folder.display().to_string()));
            }
            Err(fs::TryLockError::Error(error)) => return Err(failed("lock", &lock_path)(error)),
        }
        let id = Self::id(&folder.join("receiver.id"))?;
        Ok(Self {
            folder: folder.to_owned(),
            id,
            _lock: lock,
        })
    }

    fn id(path: &Path) -> Result<ReceiverId, LedgerError> {
        let failed = |doing| {
            let path = path.display().to_string();
            move |source| LedgerError::Io { doing, path, source }
        };
        match fs::read_to_string(path) {
            Ok(text) => {
                let mut id = [0; 16];
                let digits = text.trim_ascii().strip_prefix(ID_PREFIX).unwrap_or_default();
                hex::decode_to_slice(digits, &mut id)
                    .map_err(|_| LedgerError::Id(path.display().to_string()))?;
                Ok(ReceiverId(id))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let id = crate::tls::random_id().map_err(failed("make a name for"))?;
                write_whole(path, format!("{ID_PREFIX}{}\n", hex::encode(id)).as_bytes())
                    .map_err(failed("write"))?;
                Ok(ReceiverId(id))
            }
            Err(error) => Err(failed("read")(error)),
        }
    }

    /// Names this memory: it is another if the folder was emptied.
    pub fn receiver(&self) -> ReceiverId {
        self.id
    }

    /// What is there of each shipper, by name; what cannot be read is told by `problem`.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn shippers(&self) -> io::Result<Vec<String>> {
        let mut names: Vec<String> = fs::read_dir(&self.folder)?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter_map(|name| Some(name.strip_suffix(SUFFIX)?.to_owned()))
            .filter(|name| is_safe_name(name))
            .collect();
        names.sort();
        Ok(names)
    }

    /// Opens what a shipper sent; `each` gets what is there. A last line that a crash cut is removed.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub fn account(&self, shipper: &str, each: impl FnMut(Received)) -> Result<Account, LedgerError> {
        if !is_safe_name(shipper) {
            return Err(LedgerError::Name);
        }
        let mut account = Account {
            path: self.folder.join(format!("{shipper}{SUFFIX}")),
            file: None,
            known: HashSet::new(),
        };
        account.load(each)?;
        Ok(account)
    }
}

impl Account {
    /// Of a receiver that keeps nothing on disk.
    pub fn in_memory() -> Self {
        Self {
            path: PathBuf::new(),
            file: None,
            known: HashSet::new(),
        }
    }

    /// Lines known.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Stores lines; when it returns they are on the disk. Gives back those that are new.
    ///
    /// # Errors
    /// They cannot be stored, or not all of them: nothing of them is to be acknowledged.
    pub fn store(&mut self, lines: Vec<Received>) -> Result<Vec<Received>, LedgerError> {
        let mut batch = Zeroizing::new(Vec::with_capacity(lines.len() * (LONGEST + 1)));
        let mut marks = HashSet::new();
        let mut fresh = Vec::new();
        for line in lines {
            let mark = mark_of(line.text.as_bytes());
            if self.known.contains(&mark) || !marks.insert(mark) {
                continue;
            }
            if self.known.len() + marks.len() > MOST_LINES {
                return Err(LedgerError::Full {
                    path: self.path.display().to_string(),
                });
            }
            batch.extend_from_slice(line.text.as_bytes());
            batch.push(b'\n');
            fresh.push(line);
        }
        if !fresh.is_empty() && !self.path.as_os_str().is_empty() {
            self.append(&batch).map_err(|source| LedgerError::Io {
                doing: "write to",
                path: self.path.display().to_string(),
                source,
            })?;
        }
        self.known.extend(marks);
        Ok(fresh)
    }

    fn append(&mut self, batch: &[u8]) -> io::Result<()> {
        let mut opened = match self.file.take() {
            // Moved away or removed: the next line starts a new file.
            Some(opened) if fs::metadata(&self.path).is_ok_and(|at| (at.dev(), at.ino()) == opened.inode) => {
                opened
            }
            _ => Opened::open(&self.path)?,
        };
        let written = opened
            .file
            .write_all(batch)
            .and_then(|()| opened.file.sync_data());
        if let Err(error) = written {
            // What was written of it would be there twice. If this fails too, the cut line is removed when it is opened again.
            let _ = opened.file.set_len(opened.len);
            return Err(error);
        }
        opened.len += batch.len() as u64;
        self.file = Some(opened);
        Ok(())
    }

    fn load(&mut self, mut each: impl FnMut(Received)) -> Result<(), LedgerError> {
        let failed = |doing, path: &Path| {
            let path = path.display().to_string();
            move |source| LedgerError::Io { doing, path, source }
        };
        let opened = match Opened::open(&self.path) {
            Ok(opened) => opened,
            Err(error) => return Err(failed("open", &self.path)(error)),
        };
        let file = File::open(&self.path).map_err(failed("read", &self.path))?;
        let mut reader = BufReader::new(file);
        let mut line = Zeroizing::new(Vec::with_capacity(4096));
        loop {
            line.clear();
            let read = io::Read::take(&mut reader, 4096)
                .read_until(b'\n', &mut line)
                .map_err(failed("read", &self.path))?;
            if read == 0 {
                break;
            }
            let text = line.strip_suffix(b"\n").unwrap_or(&line);
            // What somebody else wrote there stays there.
            let Some((text, entry)) = std::str::from_utf8(text)
                .ok()
                .and_then(|text| Some((text, parse_line(text)?)))
            else {
                continue;
            };
            if self.known.len() < MOST_LINES && self.known.insert(mark_of(text.as_bytes())) {
                each(Received {
                    text: Zeroizing::new(text.to_owned()),
                    entry,
                });
            }
        }
        self.file = Some(opened);
        Ok(())
    }
}

impl Opened {
    /// Opens a key log at its end; what stands behind its last newline is cut off.
    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .read(true)
            .mode(0o600)
            .open(path)?;
        let metadata = file.metadata()?;
        let len = whole_lines(&file, metadata.len())?;
        if len < metadata.len() {
            file.set_len(len)?;
        }
        if metadata.len() == 0 {
            // The name too must be on the disk before what stands under it is acknowledged.
            if let Some(folder) = path.parent() {
                File::open(folder)?.sync_all()?;
            }
        }
        Ok(Self {
            file,
            inode: (metadata.dev(), metadata.ino()),
            len,
        })
    }
}

/// Length of a file without what stands behind its last newline.
fn whole_lines(file: &File, len: u64) -> io::Result<u64> {
    use std::os::unix::fs::FileExt as _;
    let mut end = len;
    let mut block = Zeroizing::new([0; 4096]);
    while end > 0 {
        let start = end.saturating_sub(block.len() as u64);
        let part = &mut block[..(end - start) as usize];
        file.read_exact_at(part, start)?;
        if let Some(newline) = part.iter().rposition(|&byte| byte == b'\n') {
            return Ok(start + newline as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

fn mark_of(line: &[u8]) -> [u8; 16] {
    let mut mark = [0; 16];
    mark.copy_from_slice(&Sha256::digest(line)[..16]);
    mark
}

/// Writes a small file so that it is there whole or not at all, readable by its owner only.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = path.with_file_name(name);
    // One that a crash left behind may have other rights.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(number: u32) -> Received {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&number.to_be_bytes());
        let text = format!("RLPX-AES {}", hex::encode(key));
        Received {
            entry: parse_line(&text).unwrap(),
            text: Zeroizing::new(text),
        }
    }

    fn lines(path: &Path) -> Vec<String> {
        fs::read_to_string(path)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn a_line_is_stored_once_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out/cn1.keylog");
        {
            let ledger = Ledger::open(&folder.path().join("out")).unwrap();
            let mut account = ledger.account("cn1", |_| panic!("nothing is there")).unwrap();
            assert_eq!(
                account
                    .store(vec![received(1), received(2), received(1)])
                    .unwrap()
                    .len(),
                2
            );
            assert_eq!(account.store(vec![received(2), received(3)]).unwrap().len(), 1);
        }
        // As a crash in the middle of a write leaves it.
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"RLPX-AES 0000000400").unwrap();
        let ledger = Ledger::open(&folder.path().join("out")).unwrap();
        let mut there = 0;
        let mut account = ledger.account("cn1", |_| there += 1).unwrap();
        assert_eq!(there, 3);
        assert!(account.store(vec![received(3)]).unwrap().is_empty());
        assert_eq!(account.store(vec![received(4)]).unwrap().len(), 1);
        let stored = lines(&path);
        assert_eq!(stored.len(), 4);
        assert!(stored.iter().all(|line| parse_line(line).is_some()));
        assert_eq!(ledger.shippers().unwrap(), ["cn1"]);
    }

    #[test]
    fn only_the_owner_can_read_and_one_receiver_writes() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("a/b");
        let ledger = Ledger::open(&out).unwrap();
        assert!(matches!(Ledger::open(&out), Err(LedgerError::Busy(_))));
        ledger
            .account("cn1", |_| ())
            .unwrap()
            .store(vec![received(1)])
            .unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&out), 0o700);
        for name in ["cn1.keylog", "receiver.id", "receiver.lock"] {
            assert_eq!(mode(&out.join(name)), 0o600, "{name}");
        }
        let id = ledger.receiver();
        drop(ledger);
        assert_eq!(Ledger::open(&out).unwrap().receiver(), id);
        fs::remove_dir_all(&out).unwrap();
        assert_ne!(
            Ledger::open(&out).unwrap().receiver(),
            id,
            "what it stored is gone"
        );
    }

    #[test]
    fn names_cannot_leave_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path()).unwrap();
        for name in [
            "",
            ".",
            "..",
            "../x",
            "a/b",
            ".x",
            "a\0b",
            "a b",
            "-x",
            "x.",
            "a..b",
            "ä",
            &"x".repeat(101),
        ] {
            assert!(
                matches!(ledger.account(name, |_| ()), Err(LedgerError::Name)),
                "{name:?}"
            );
        }
        for name in ["cn1", "cn-1.lab", "10.0.0.1", "A_b"] {
            assert!(is_safe_name(name), "{name}");
        }
    }

    #[test]
    fn a_file_that_was_moved_away_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path()).unwrap();
        let mut account = ledger.account("cn1", |_| ()).unwrap();
        account.store(vec![received(1)]).unwrap();
        let (path, away) = (folder.path().join("cn1.keylog"), folder.path().join("old"));
        fs::rename(&path, &away).unwrap();
        account.store(vec![received(1), received(2)]).unwrap();
        assert_eq!((lines(&away).len(), lines(&path).len()), (1, 1));
    }
}
