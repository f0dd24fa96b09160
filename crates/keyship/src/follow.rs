//! Key files and directories of them, read on as they grow.
//!
//! A file is known by its device and inode, so a log that was renamed is the same one, read to its end, and what stands in its place
//! is another. Before reading goes on, the bytes before are compared with what was read there: a log that was cut and has
//! grown again, or an inode that was used again, starts at its beginning. Reading a line twice does no harm to those behind.

mod file;

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bftap_decrypt::keylog::KeyLogEntry;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::recognise::shown;
use crate::{Tell, Weight};
use file::Tracked;

/// Reads what is new under some paths, each time it is asked.
pub struct Follower {
    roots: Vec<PathBuf>,
    files: HashMap<FileId, Tracked>,
    resume: HashMap<FileId, Position>,
    buffer: Zeroizing<Vec<u8>>,
    /// Grows with each look at the file system.
    round: u64,
    told: Told,
}

/// A file, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FileId {
    /// Device.
    pub device: u64,
    /// Inode.
    pub inode: u64,
}

/// A place between two lines of a file, and how to tell that the file is still what it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Bytes before it.
    pub offset: u64,
    /// Lines before it.
    pub lines: u64,
    /// How many of the bytes before it `mark` is of.
    pub marked: u16,
    /// Hash of these bytes.
    pub mark: [u8; 16],
}

/// A secret that was found.
#[derive(Debug)]
pub struct Found {
    /// What it says.
    pub entry: KeyLogEntry,
    /// Where it stands, as it may be shown.
    pub source: Arc<str>,
    /// The file.
    pub file: FileId,
    /// The place behind it.
    pub behind: Position,
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower").finish_non_exhaustive()
    }
}

/// Files kept in mind; each takes some hundred bytes.
const MOST_FILES: usize = 1 << 16;

/// Files kept open: their ends can be read when they have lost their name.
const MOST_OPEN: usize = 256;

/// Looks after which a file without a name is let go: whoever wrote it may do so for a moment longer.
const PATIENCE: u64 = 50;

impl Follower {
    /// Follows files and directories; those that are not there may come later.
    pub fn new(roots: Vec<PathBuf>, tell: Tell) -> Self {
        Self::resume(roots, HashMap::new(), tell)
    }

    /// The same, going on at places of an earlier follower where the files are what they were.
    pub fn resume(roots: Vec<PathBuf>, places: HashMap<FileId, Position>, tell: Tell) -> Self {
        Self {
            roots,
            files: HashMap::new(),
            resume: places,
            buffer: Zeroizing::new(vec![0; file::CHUNK]),
            round: 0,
            told: Told {
                tell,
                once: std::collections::HashSet::new(),
            },
        }
    }

    /// Reads all files once more from their beginnings.
    pub fn rewind(&mut self) {
        self.resume.clear();
        for file in self.files.values_mut() {
            file.rewind();
        }
    }

    /// Whether a file is known: places of others are of no use any more.
    pub fn knows(&self, file: &FileId) -> bool {
        self.files.contains_key(file)
    }

    /// Looks at everything, and returns at most `most` secrets that are new. As many as that: ask again at once.
    pub fn poll(&mut self, most: usize) -> Vec<Found> {
        self.look(most, false)
    }

    /// The same for the last time: lines without a newline at their end count too.
    pub fn finish(&mut self) -> Vec<Found> {
        self.look(usize::MAX, true)
    }

    fn look(&mut self, most: usize, last: bool) -> Vec<Found> {
        self.round += 1;
        let mut found = Vec::new();
        for root in self.roots.clone() {
            self.look_at_root(&root, most, &mut found);
        }
        let mut gone: Vec<FileId> = self
            .files
            .iter()
            .filter(|(_, file)| file.seen != self.round)
            .map(|(id, _)| *id)
            .collect();
        gone.sort_unstable();
        for id in gone {
            self.look_at_nameless(id, most, &mut found);
        }
        if last {
            let mut ids: Vec<FileId> = self.files.keys().copied().collect();
            ids.sort_unstable();
            for id in ids {
                if let Some(file) = self.files.get_mut(&id) {
                    file.read_last_line(id, &mut self.buffer, &mut self.told, &mut found);
                }
            }
        }
        self.close_some();
        found
    }

    fn look_at_root(&mut self, root: &Path, most: usize, found: &mut Vec<Found>) {
        let metadata = match fs::metadata(root) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.told.once("missing", root, || {
                    (
                        Weight::Note,
                        format!("{} is not there yet: it is followed when it comes", shown(root)),
                    )
                });
                return;
            }
            Err(error) => return self.told.unreadable(root, &error),
        };
        if !metadata.is_dir() {
            return self.look_at_file(root, &metadata, true, most, found);
        }
        let mut entries = match fs::read_dir(root) {
            Ok(entries) => entries
                .filter_map(|entry| entry.ok().map(|entry| entry.path()))
                .take(MOST_FILES)
                .collect::<Vec<_>>(),
            Err(error) => return self.told.unreadable(root, &error),
        };
        entries.sort();
        for entry in entries {
            // Links are followed: a directory of links into several nodes' folders is a natural thing to have.
            match fs::metadata(&entry) {
                Ok(metadata) => self.look_at_file(&entry, &metadata, false, most, found),
                // It went away meanwhile, or is a link to what will come.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => self.told.unreadable(&entry, &error),
            }
        }
    }

    fn look_at_file(
        &mut self,
        path: &Path,
        metadata: &Metadata,
        named: bool,
        most: usize,
        found: &mut Vec<Found>,
    ) {
        if !metadata.is_file() {
            if named {
                self.told.once("special", path, || {
                    (
                        Weight::Warning,
                        format!("{} is neither a file nor a folder: it is not read", shown(path)),
                    )
                });
            }
            return;
        }
        let id = FileId {
            device: metadata.dev(),
            inode: metadata.ino(),
        };
        if !self.files.contains_key(&id) {
            if self.files.len() >= MOST_FILES {
                self.told.once("many", Path::new(""), || {
                    (
                        Weight::Warning,
                        format!("more than {MOST_FILES} key files: others are not followed"),
                    )
                });
                return;
            }
            let mode = metadata.mode() & 0o7777;
            if mode & 0o044 != 0 {
                self.told.once("open", path.parent().unwrap_or(path), || {
                    (
                        Weight::Warning,
                        format!(
                            "{} can be read by other users of this machine (mode {mode:04o}); others beside it may be too: whoever \
                             has the secrets can read the sessions; chmod 600 keeps them private",
                            shown(path)
                        ),
                    )
                });
            }
            self.files.insert(id, Tracked::new(path, self.resume.remove(&id)));
        }
        let Some(file) = self.files.get_mut(&id) else {
            return;
        };
        // The same file under two names is read once.
        if file.seen == self.round {
            return;
        }
        file.seen = self.round;
        file.named = self.round;
        if file.path != path {
            file.renamed(path);
        }
        if file.is_changed(metadata) {
            file.read(id, most, &mut self.buffer, &mut self.told, found);
        }
        // At the second look, for half a line may be all there was at the first.
        if named && file.holds_nothing() && metadata.len() > 0 && file.grown < self.round {
            self.told.once("other", path, || {
                (
                    Weight::Warning,
                    format!(
                        "{} holds no session secrets so far: neither lines of a key log (RLPX ...) nor one AES key in hex",
                        shown(path)
                    ),
                )
            });
        }
    }

    /// A file that was renamed or removed: its end is read while it is open, then it is let go.
    fn look_at_nameless(&mut self, id: FileId, most: usize, found: &mut Vec<Found>) {
        let Some(file) = self.files.get_mut(&id) else {
            return;
        };
        file.seen = self.round;
        let Some(metadata) = file.metadata() else {
            self.files.remove(&id);
            return;
        };
        if file.is_changed(&metadata) {
            file.named = self.round;
            file.read(id, most, &mut self.buffer, &mut self.told, found);
        } else if self.round - file.named > PATIENCE {
            file.read_last_line(id, &mut self.buffer, &mut self.told, found);
            self.files.remove(&id);
        }
    }

    /// Closes files that did not grow for longest, if too many are open.
    fn close_some(&mut self) {
        let mut open: Vec<(u64, FileId)> = self
            .files
            .iter()
            .filter(|(_, file)| file.is_open())
            .map(|(id, file)| (file.grown, *id))
            .collect();
        if open.len() <= MOST_OPEN {
            return;
        }
        open.sort_unstable();
        for (_, id) in &open[..open.len() - MOST_OPEN] {
            if let Some(file) = self.files.get_mut(id) {
                file.close();
            }
        }
    }
}

/// What a person was told, so that it is told once.
pub(crate) struct Told {
    tell: Tell,
    once: std::collections::HashSet<u64>,
}

/// Things told once; more of the kind are not told at all.
const MOST_TOLD: usize = 4096;

impl Told {
    fn once(&mut self, what: &str, path: &Path, text: impl FnOnce() -> (Weight, String)) {
        let mut hasher = DefaultHasher::new();
        (what, path).hash(&mut hasher);
        if self.once.len() >= MOST_TOLD || !self.once.insert(hasher.finish()) {
            return;
        }
        let (weight, text) = text();
        (self.tell)(weight, &text);
        if self.once.len() == MOST_TOLD {
            (self.tell)(Weight::Warning, "more such problems with key files are not told");
        }
    }

    fn unreadable(&mut self, path: &Path, error: &io::Error) {
        self.once("unreadable", path, || {
            (
                Weight::Warning,
                format!(
                    "cannot read the session secrets in {}: {error}; it is tried again",
                    shown(path)
                ),
            )
        });
    }

    fn warn(&self, text: &str) {
        (self.tell)(Weight::Warning, text);
    }
}
