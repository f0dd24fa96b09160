//! The files of a journal: records behind each other, each with its length and a checksum.
//!
//! `state.N` begins with everything that is known and goes on with what changed; when it has grown, a new one takes its place. `messages.N` are
//! parts of one long list that only grows. A record that is torn is the last one of its file, because the program was killed while it
//! wrote; it counts as not written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};

use super::JournalError;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    State,
    Messages,
}

impl Content {
    fn stem(self) -> &'static str {
        match self {
            Self::State => "state.",
            Self::Messages => "messages.",
        }
    }

    /// The first bytes of its files: what it is, and the version of its records.
    fn mark(self) -> &'static [u8; MARK_LEN] {
        match self {
            Self::State => b"bftap-journal-state-0003",
            Self::Messages => b"bftap-journal-parts-0003",
        }
    }
}

const MARK_LEN: usize = 24;

/// Bytes of a record besides its content.
const FRAME: usize = 12;

/// Longest record: sanity against lengths that a broken disk made up.
const LONGEST: u32 = 1 << 31;

/// The folder of a journal; nobody else uses it while this lives.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// Locked.
    _lock: File,
}

impl Folder {
    /// Makes the folder if it is not there, and takes it for this program.
    pub(super) fn take(path: &Path) -> Result<Self, JournalError> {
        let failed = |source| JournalError::Folder { source };
        match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_dir() => check_owner(&metadata)?,
            Ok(_) => return Err(JournalError::NotAFolder),
            Err(error) if error.kind() == io::ErrorKind::NotFound => make_folder(path).map_err(failed)?,
            Err(error) => return Err(failed(error)),
        }
        let lock = private()
            .create(true)
            .truncate(false)
            .open(path.join("lock"))
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(JournalError::Taken),
            Err(fs::TryLockError::Error(error)) => return Err(failed(error)),
        }
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// Numbers of the files that are there, rising.
    pub(super) fn numbers(&self, content: Content) -> Result<Vec<u64>, JournalError> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(|source| JournalError::Folder { source })? {
            let entry = entry.map_err(|source| JournalError::Folder { source })?;
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(content.stem()));
            numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn file(&self, content: Content, number: u64) -> PathBuf {
        self.path.join(format!("{}{number:06}", content.stem()))
    }

    /// Hands the records of a file to `take`, one by one, as long as it says that it takes them; gives the bytes up to there.
    ///
    /// What is behind the last whole record is no error here: `last` tells whether more files follow, where it would be one.
    pub(super) fn read(
        &self,
        content: Content,
        number: u64,
        last: bool,
        mut take: impl FnMut(&[u8]) -> Result<bool, JournalError>,
    ) -> Result<u64, JournalError> {
        let path = self.file(content, number);
        let name = || path.display().to_string();
        let failed = |source| JournalError::File { name: name(), source };
        let file = OpenOptions::new().read(true).open(&path).map_err(failed)?;
        check_owner(&file.metadata().map_err(failed)?)?;
        let mut left = file.metadata().map_err(failed)?.len();
        let mut from = BufReader::with_capacity(1 << 20, file);
        let mut mark = [0; MARK_LEN];
        if left < MARK_LEN as u64 && last {
            return Ok(0);
        }
        from.read_exact(&mut mark).map_err(failed)?;
        if mark != *content.mark() {
            return Err(JournalError::Version { name: name() });
        }
        left -= MARK_LEN as u64;
        let mut taken = MARK_LEN as u64;
        let mut record = Vec::new();
        while left > 0 {
            let torn = || {
                if last {
                    Ok(taken)
                } else {
                    Err(JournalError::Damaged { name: name() })
                }
            };
            let mut frame = [0; FRAME];
            if left < FRAME as u64 {
                return torn();
            }
            from.read_exact(&mut frame).map_err(failed)?;
            let [a, b, c, d, sum @ ..] = frame;
            let len = u32::from_le_bytes([a, b, c, d]);
            if len > LONGEST || u64::from(len) > left - FRAME as u64 {
                return torn();
            }
            record.clear();
            record.resize(len as usize, 0);
            from.read_exact(&mut record).map_err(failed)?;
            if checksum(&record) != u64::from_le_bytes(sum) {
                return torn();
            }
            if !take(&record)? {
                return Ok(taken);
            }
            left -= FRAME as u64 + u64::from(len);
            taken += FRAME as u64 + u64::from(len);
        }
        Ok(taken)
    }

    /// Begins a file. One that is to take the place of others has another name until it [has its first record](Appender::publish).
    pub(super) fn begin(&self, content: Content, number: u64) -> io::Result<Appender> {
        let path = self.file(content, number);
        let hidden = path.with_extension("new");
        let mut file = private().create(true).truncate(true).open(&hidden)?;
        file.write_all(content.mark())?;
        Ok(Appender {
            file,
            hidden: Some((hidden, path)),
            len: MARK_LEN as u64,
        })
    }

    /// Lets go of what is behind the first `len` bytes of a file.
    pub(super) fn cut(&self, content: Content, number: u64, len: u64) -> Result<(), JournalError> {
        let path = self.file(content, number);
        let cut = || {
            let file = OpenOptions::new().write(true).open(&path)?;
            if file.metadata()?.len() > len {
                file.set_len(len)?;
            }
            Ok(())
        };
        cut().map_err(|source| JournalError::File {
            name: path.display().to_string(),
            source,
        })
    }

    /// Removes a file; that it is not there is as good.
    pub(super) fn remove(&self, content: Content, number: u64) -> io::Result<()> {
        match fs::remove_file(self.file(content, number)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// A file that grows record by record.
#[derive(Debug)]
pub(super) struct Appender {
    file: File,
    /// The name it has, and the name it gets.
    hidden: Option<(PathBuf, PathBuf)>,
    len: u64,
}

impl Appender {
    /// Bytes so far.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Writes a record at the end, in one piece: when this is back, the system has it, whatever becomes of the program.
    pub(super) fn append(&mut self, record: &[u8]) -> io::Result<()> {
        if record.len() > LONGEST as usize {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a record is too long",
            ));
        }
        let mut framed = Vec::with_capacity(FRAME + record.len());
        frame(record, &mut framed);
        self.file.write_all(&framed)?;
        self.len += framed.len() as u64;
        Ok(())
    }

    /// Gives the file its name.
    pub(super) fn publish(&mut self) -> io::Result<()> {
        if let Some((hidden, path)) = self.hidden.take() {
            // The file before it is removed next: after a power cut one of the two must be whole.
            self.file.sync_all()?;
            fs::rename(hidden, &path)?;
            if let Some(folder) = path.parent() {
                File::open(folder)?.sync_all()?;
            }
        }
        Ok(())
    }
}

/// Files that their owner alone can read.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn make_folder(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Who can write a journal can have any numbers told.
#[cfg(unix)]
fn check_owner(metadata: &fs::Metadata) -> Result<(), JournalError> {
    use std::os::unix::fs::MetadataExt as _;
    // The owner of what this program makes is who runs it.
    let own = tempfile::tempfile()
        .and_then(|file| file.metadata())
        .map_err(|source| JournalError::Folder { source })?
        .uid();
    if metadata.uid() != own {
        return Err(JournalError::Owner {
            owner: metadata.uid(),
            own,
        });
    }
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(JournalError::Exposed { mode });
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_owner(_: &fs::Metadata) -> Result<(), JournalError> {
    Ok(())
}

/// Appends a record as it stands in a file.
pub(crate) fn frame(record: &[u8], to: &mut Vec<u8>) {
    to.extend_from_slice(&(record.len() as u32).to_le_bytes());
    to.extend_from_slice(&checksum(record).to_le_bytes());
    to.extend_from_slice(record);
}

/// FNV-1a over words of eight bytes: tells accidents; against malice stands the mode of the file.
pub(super) fn checksum(record: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ record.len() as u64;
    for chunk in record.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(0x0000_0100_0000_01b3);
        hash ^= hash >> 29;
    }
    hash
}
