//! One file that is followed: how far it was read, and reading on.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bftap_decrypt::keylog::{KeyLogEntry, LastLine, MAX_LINE, parse_key_log};
use bftap_decrypt::legacy::parse_legacy;
use bftap_decrypt::secrets::SessionSecrets;
use sha2::{Digest as _, Sha256};

use super::{FileId, Found, Position, Told};
use crate::recognise::{FileKind, recognise, shown, shown_legacy};

/// Bytes read at a time; longer than any line.
pub(super) const CHUNK: usize = 64 << 10;

/// Bytes before a place that must be what they were: a line and more, and each line is unlike all others.
const MARKED: usize = 512;

/// Damaged lines of one file that are told one by one.
const TOLD_LINES: u32 = 5;

/// A file and how far it was read.
pub(super) struct Tracked {
    pub(super) path: PathBuf,
    source: Arc<str>,
    open: Option<File>,
    kind: Option<FileKind>,
    position: Position,
    /// Size and time of change when it was last read to its end.
    state: Option<(u64, i64, i64)>,
    /// The rest of a line that is too long is skipped.
    skipping: bool,
    problems: u32,
    /// Look at which it was last seen, under a name or open.
    pub(super) seen: u64,
    /// Look at which it last had a name, or grew.
    pub(super) named: u64,
    /// Look at which it last grew.
    pub(super) grown: u64,
}

impl Tracked {
    pub(super) fn new(path: &Path, resume: Option<Position>) -> Self {
        Self {
            path: path.to_owned(),
            source: shown(path).into(),
            open: None,
            kind: None,
            position: resume.unwrap_or_default(),
            state: None,
            skipping: false,
            problems: 0,
            seen: 0,
            named: 0,
            grown: 0,
        }
    }

    pub(super) fn rewind(&mut self) {
        self.position = Position::default();
        self.state = None;
        self.skipping = false;
    }

    pub(super) fn renamed(&mut self, path: &Path) {
        self.path = path.to_owned();
        self.source = self.shown().into();
    }

    fn shown(&self) -> String {
        match self.kind {
            Some(FileKind::Legacy) => shown_legacy(&self.path),
            _ => shown(&self.path),
        }
    }

    pub(super) fn is_changed(&self, metadata: &Metadata) -> bool {
        self.state != Some(state_of(metadata))
    }

    pub(super) fn holds_nothing(&self) -> bool {
        self.kind.is_none()
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    pub(super) fn close(&mut self) {
        self.open = None;
    }

    /// Of the open file, whatever its name; `None` if it is not open.
    pub(super) fn metadata(&self) -> Option<Metadata> {
        self.open.as_ref()?.metadata().ok()
    }

    /// Reads on to the end, or until `found` holds `most`.
    pub(super) fn read(
        &mut self,
        id: FileId,
        most: usize,
        buffer: &mut [u8],
        told: &mut Told,
        found: &mut Vec<Found>,
    ) {
        if found.len() >= most {
            return;
        }
        self.grown = self.seen;
        match self.try_read(id, most, buffer, told, found) {
            Ok(()) => {}
            // It went away meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                self.open = None;
                told.unreadable(&self.path, &error);
            }
        }
    }

    fn try_read(
        &mut self,
        id: FileId,
        most: usize,
        buffer: &mut [u8],
        told: &mut Told,
        found: &mut Vec<Found>,
    ) -> io::Result<()> {
        let file = match self.open.take() {
            Some(file) => file,
            None => File::open(&self.path)?,
        };
        // Before the content: what is written while it is read is a change.
        let metadata = file.metadata()?;
        if (metadata.dev(), metadata.ino()) != (id.device, id.inode) {
            return Ok(());
        }
        let state = state_of(&metadata);
        self.start_over_if_other(&file, metadata.len(), buffer)?;
        if self.kind.is_none() || self.position.offset == 0 {
            let head = read_at(&file, &mut buffer[..HEAD], 0)?;
            self.kind = recognise(&buffer[..head]);
            self.source = self.shown().into();
        }
        match self.kind {
            None => self.state = Some(state),
            Some(FileKind::Legacy) => {
                self.read_legacy(id, &file, state, buffer, told, found)?;
            }
            Some(FileKind::KeyLog) => {
                if self.read_lines(id, &file, most, buffer, told, found)? {
                    self.state = Some(state);
                }
                self.open = Some(file);
            }
        }
        Ok(())
    }

    /// Whether the bytes before the place are those that were read there; else reading starts at the beginning.
    fn start_over_if_other(&mut self, file: &File, len: u64, buffer: &mut [u8]) -> io::Result<()> {
        if self.position.offset == 0 {
            return Ok(());
        }
        let marked = usize::from(self.position.marked).min(MARKED);
        let same = len >= self.position.offset && {
            let at = self.position.offset.saturating_sub(marked as u64);
            let read = read_at(file, &mut buffer[..marked], at)?;
            read == marked && mark_of(&buffer[..marked]) == self.position.mark
        };
        if !same {
            self.rewind();
            self.problems = 0;
        }
        Ok(())
    }

    /// Reads whole lines; whether it got to the end.
    fn read_lines(
        &mut self,
        id: FileId,
        file: &File,
        most: usize,
        buffer: &mut [u8],
        told: &mut Told,
        found: &mut Vec<Found>,
    ) -> io::Result<bool> {
        loop {
            let before = MARKED.min(usize::try_from(self.position.offset).unwrap_or(MARKED));
            let read = read_at(file, buffer, self.position.offset - before as u64)?;
            if read <= before {
                return Ok(true);
            }
            let mut at = before;
            while let Some(len) = buffer[at..read].iter().position(|&byte| byte == b'\n') {
                let (start, end) = (at, at + len + 1);
                at = end;
                self.move_to(&buffer[..end], end - start);
                if !std::mem::take(&mut self.skipping) {
                    self.take_line(&buffer[start..end], id, told, found);
                }
                if found.len() >= most {
                    return Ok(false);
                }
            }
            if read < buffer.len() {
                // What is left has no newline yet: it waits, and is read again from its beginning.
                return Ok(true);
            }
            if at == before {
                // As long as the whole buffer.
                if !std::mem::replace(&mut self.skipping, true) {
                    self.position.lines += 1;
                    self.problem(
                        told,
                        &format!(
                            "line {}: longer than the {MAX_LINE} bytes that a line may have",
                            self.position.lines
                        ),
                    );
                    self.position.lines -= 1;
                }
                let skipped = read - before;
                self.move_by(&buffer[..read], skipped);
            }
        }
    }

    /// Takes what has no newline behind it.
    pub(super) fn read_last_line(
        &mut self,
        id: FileId,
        buffer: &mut [u8],
        told: &mut Told,
        found: &mut Vec<Found>,
    ) {
        let Some(file) = self.open.take() else { return };
        if self.kind == Some(FileKind::KeyLog) {
            let before = MARKED.min(usize::try_from(self.position.offset).unwrap_or(MARKED));
            let read = read_at(&file, buffer, self.position.offset - before as u64).unwrap_or(0);
            let is_line = read > before && !self.skipping && !buffer[before..read].contains(&b'\n');
            if is_line {
                // Its writer may still add to it, so that the place stays where it is: should it be read once more, it is known.
                self.take_line(&buffer[before..read], id, told, found);
            }
        }
        self.open = Some(file);
    }

    fn take_line(&mut self, line: &[u8], id: FileId, told: &mut Told, found: &mut Vec<Found>) {
        let mut log = parse_key_log(line, self.position.lines.max(1), LastLine::Whole);
        for entry in log.entries.drain(..) {
            found.push(self.found(entry, id));
        }
        if let Some(problem) = log.problems.first() {
            self.problem(told, &problem.to_string());
        } else if log.unknown_labels > 0 {
            let number = self.position.lines;
            self.problem(told, &format!("line {number}: unknown label, skipped"));
        }
    }

    fn found(&self, entry: KeyLogEntry, file: FileId) -> Found {
        Found {
            entry,
            source: Arc::clone(&self.source),
            file,
            behind: self.position,
        }
    }

    /// A key of the original tool's, when it is written to its end: with a newline, or as it was at the last look.
    fn read_legacy(
        &mut self,
        id: FileId,
        file: &File,
        state: (u64, i64, i64),
        buffer: &mut [u8],
        told: &mut Told,
        found: &mut Vec<Found>,
    ) -> io::Result<()> {
        let read = read_at(file, &mut buffer[..HEAD], 0)?;
        let content = &buffer[..read];
        let waited = self.position.marked > 0 && mark_of(content) == self.position.mark;
        if !content.contains(&b'\n') && !waited {
            // `state` is left alone, so that it is looked at once more.
            self.position.marked = 1;
            self.position.mark = mark_of(content);
            return Ok(());
        }
        match parse_legacy(content) {
            Ok(aes) => {
                let secrets = SessionSecrets { aes, mac: None };
                let entry = KeyLogEntry {
                    session: None,
                    secrets,
                    role: None,
                };
                found.push(self.found(entry, id));
            }
            Err(error) => self.problem(told, &error.to_string()),
        }
        self.position = Position::default();
        self.state = Some(state);
        Ok(())
    }

    fn problem(&mut self, told: &mut Told, text: &str) {
        self.problems = self.problems.saturating_add(1);
        if self.problems <= TOLD_LINES {
            told.warn(&format!("{}: {text}", self.source));
        } else if self.problems == TOLD_LINES + 1 {
            told.warn(&format!("{}: more problems like these are not told", self.source));
        }
    }

    /// Moves the place behind a line of so many bytes that ends `read`.
    fn move_to(&mut self, read: &[u8], len: usize) {
        self.position.lines += 1;
        self.move_by(read, len);
    }

    fn move_by(&mut self, read: &[u8], len: usize) {
        self.position.offset += len as u64;
        let marked = read.len().min(MARKED);
        self.position.marked = marked as u16;
        self.position.mark = mark_of(&read[read.len() - marked..]);
    }
}

/// Bytes by which a file is recognised.
const HEAD: usize = 4 << 10;

fn state_of(metadata: &Metadata) -> (u64, i64, i64) {
    (metadata.len(), metadata.mtime(), metadata.mtime_nsec())
}

fn mark_of(bytes: &[u8]) -> [u8; 16] {
    let mut mark = [0; 16];
    mark.copy_from_slice(&Sha256::digest(bytes)[..16]);
    mark
}

fn read_at(file: &File, buffer: &mut [u8], mut offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset) {
            Ok(0) => break,
            Ok(len) => {
                filled += len;
                offset += len as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
