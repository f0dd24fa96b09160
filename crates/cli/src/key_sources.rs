//! Where session secrets come from: key logs, directories of them, and files in the original tool's layout.
//!
//! The original tool puts the key into a file's name, so no path is shown as it is: see [`shown`].

mod labels;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bftap_decrypt::keylog::{KeyLog, LastLine, parse_key_log};
use bftap_decrypt::secret_store::{AddReport, SecretStore};
use bftap_keyship::recognise::{FileKind, lines_of};
use zeroize::Zeroizing;

use labels::{Labels, is_nearly_ours};

use crate::report::{count, counted};
use crate::term::{Level, safe, tell};

/// What was found under the given paths; the secrets themselves went into the store.
#[derive(Debug, Default)]
pub(crate) struct KeySources {
    /// Files with secrets, in the order of the paths and, within a directory, of the names.
    pub(crate) files: Vec<KeyFile>,
    /// Files in directories that hold nothing of ours, left alone.
    pub(crate) skipped: u64,
    /// Paths that could not be read, for a person.
    pub(crate) unreadable: Vec<String>,
    /// Given paths under which there is no secret, and what was looked for, for a person.
    pub(crate) without: Vec<String>,
}

/// One file with secrets.
#[derive(Debug)]
pub(crate) struct KeyFile {
    /// Path as it may be shown.
    pub(crate) shown: Arc<str>,
    /// What it is.
    pub(crate) format: Format,
    /// Secrets that were new, known already, or too many.
    pub(crate) added: AddReport,
    /// Problems, with line numbers; some may be left out, see `problem_count`.
    pub(crate) problems: Vec<String>,
    /// All problems.
    pub(crate) problem_count: u64,
    /// Lines that are not ours.
    pub(crate) labels: Labels,
    /// Mode bits, if others than the owner may read it.
    pub(crate) open_to_others: Option<u32>,
}

/// How secrets are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// One line a session.
    KeyLog {
        /// Lines read.
        lines: u64,
        /// `RLPX` lines: with what is needed to check MACs.
        whole: u64,
        /// `RLPX-AES` lines that name their session.
        aes_named: u64,
        /// `RLPX-AES` lines to be found by trial.
        aes_only: u64,
    },
    /// One AES key a file, as the original tool wrote them.
    Legacy,
}

impl KeySources {
    /// Problems worth a warning each, and what is the same for many files once.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut warnings = self.unreadable.clone();
        warnings.extend_from_slice(&self.without);
        for file in &self.files {
            for problem in file.problems.iter().take(SHOWN_PROBLEMS) {
                warnings.push(format!("{}: {problem}", file.shown));
            }
            let more = file
                .problem_count
                .saturating_sub(file.problems.len().min(SHOWN_PROBLEMS) as u64);
            if more > 0 {
                warnings.push(format!(
                    "{}: {} like these",
                    file.shown,
                    counted(more, "more problem", "more problems")
                ));
            }
            let unknown = file.labels.warnings();
            warnings.extend(unknown.iter().map(|text| format!("{}: {text}", file.shown)));
            if file.added.dropped > 0 {
                warnings.push(format!(
                    "{}: {} not kept: too many for one session, or in all",
                    file.shown,
                    counted(file.added.dropped, "secret was", "secrets were")
                ));
            }
        }
        let open: Vec<_> = self
            .files
            .iter()
            .filter_map(|file| Some((file, file.open_to_others?)))
            .collect();
        if let Some((first, mode)) = open.first() {
            let others = match open.len() {
                1 => String::new(),
                more => format!(" and {}", counted(more as u64 - 1, "other file", "other files")),
            };
            warnings.push(format!(
                "{}{others} can be read by other users of this machine (mode {mode:04o}): whoever has the secrets can \
                 read the sessions, and forge frames into live ones; chmod 600 keeps them private",
                first.shown
            ));
        }
        if self.skipped > 0 {
            warnings.push(format!(
                "{} in the given directories {} no session secrets and {} skipped",
                counted(self.skipped, "file", "files"),
                if self.skipped == 1 { "holds" } else { "hold" },
                if self.skipped == 1 { "was" } else { "were" }
            ));
        }
        warnings
    }

    /// What is there and of no use, but nothing to worry about.
    pub(crate) fn notes(&self) -> Vec<String> {
        self.files
            .iter()
            .filter_map(|file| Some(format!("{}: {}", file.shown, file.labels.note()?)))
            .collect()
    }

    /// Tells on standard error what is odd.
    pub(crate) fn tell(&self) {
        for warning in self.warnings() {
            tell(Level::Warning, &warning);
        }
        for note in self.notes() {
            tell(Level::Note, &note);
        }
    }

    /// Secrets that were new to the store.
    #[cfg(test)]
    pub(crate) fn new_secrets(&self) -> u64 {
        self.files.iter().map(|file| file.added.new).sum()
    }
}

/// Why a path given for secrets is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeySourceError {
    /// It is not there, or may not be read.
    #[error("cannot read the session secrets in {shown}: {source}")]
    Read { shown: String, source: io::Error },
    /// A file that was named holds none.
    #[error(
        "{shown} holds no session secrets: neither lines of a key log (RLPX ...) nor one AES key in hex \
         (docs/exporting-secrets.md shows how nodes write them)"
    )]
    NoSecrets { shown: String },
}

/// Reads all secrets under `paths` into `store`.
///
/// # Errors
/// When a path that was named is not there, may not be read, or is a file without secrets. What cannot be read inside a
/// directory is told in [`KeySources::unreadable`].
pub(crate) fn load(paths: &[PathBuf], store: &SecretStore) -> Result<KeySources, KeySourceError> {
    let mut sources = KeySources::default();
    for path in paths {
        let failed = |source| KeySourceError::Read {
            shown: shown(path),
            source,
        };
        let (files, skipped) = (sources.files.len(), sources.skipped);
        let is_folder = fs::metadata(path).map_err(failed)?.is_dir();
        if is_folder {
            load_directory(path, store, &mut sources).map_err(failed)?;
        } else {
            match load_file(path, store).map_err(failed)? {
                Some(file) => sources.files.push(file),
                None => return Err(KeySourceError::NoSecrets { shown: shown(path) }),
            }
        }
        let files = &sources.files[files..];
        if files.iter().all(|file| file.added == AddReport::default()) {
            let looked_at = files.len() as u64 + (sources.skipped - skipped);
            sources.without.push(without(path, is_folder, looked_at));
        }
    }
    Ok(sources)
}

/// Says that there is no secret under a path, and what one looks like.
fn without(path: &Path, is_folder: bool, looked_at: u64) -> String {
    let shown = shown(path);
    if is_folder {
        let held = match looked_at {
            0 => "the folder is empty".to_owned(),
            number => format!("of its {} none holds any", counted(number, "entry", "entries")),
        };
        format!(
            "no session secret in {shown}: {held}. Looked for key logs (lines that begin with RLPX or RLPX-AES) and for files \
             with one AES key in hex; folders in it are not searched. docs/exporting-secrets.md shows how nodes write them"
        )
    } else {
        format!(
            "no session secret in {shown}: looked for lines that begin with RLPX or RLPX-AES \
             (docs/exporting-secrets.md shows how nodes write them)"
        )
    }
}

fn load_directory(path: &Path, store: &SecretStore, sources: &mut KeySources) -> io::Result<()> {
    let mut entries = fs::read_dir(path)?
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<Vec<_>>>()?;
    entries.sort();
    for entry in entries {
        // Links are followed: a directory of links into several nodes' folders is a natural thing to have.
        match fs::metadata(&entry) {
            Ok(metadata) if metadata.is_file() => match load_file(&entry, store) {
                Ok(Some(file)) => sources.files.push(file),
                Ok(None) => sources.skipped += 1,
                Err(error) => sources
                    .unreadable
                    .push(format!("cannot read {}: {error}", shown(&entry))),
            },
            Ok(_) => sources.skipped += 1,
            Err(error) => sources
                .unreadable
                .push(format!("cannot read {}: {error}", shown(&entry))),
        }
    }
    Ok(())
}

/// Reads one file; `None` if it is something else.
fn load_file(path: &Path, store: &SecretStore) -> io::Result<Option<KeyFile>> {
    let mut file = File::open(path)?;
    let open_to_others = open_to_others(&file)?;
    let mut buffer = Zeroizing::new(vec![0; CHUNK]);
    let mut filled = fill(&mut file, &mut buffer)?;
    let Some(kind) = recognise(&buffer[..filled]) else {
        return Ok(None);
    };
    let mut found = KeyFile {
        shown: shown(path).into(),
        format: Format::Legacy,
        added: AddReport::default(),
        problems: Vec::new(),
        problem_count: 0,
        labels: Labels::default(),
        open_to_others,
    };
    if kind == FileKind::Legacy {
        found.shown = shown_legacy(path).into();
        match store.add_legacy(&buffer[..filled], &found.shown) {
            Ok(added) => found.added.count(added),
            Err(error) => {
                found.problems.push(error.to_string());
                found.problem_count = 1;
            }
        }
        return Ok(Some(found));
    }
    let (mut whole, mut aes_named, mut aes_only, mut lines) = (0, 0, 0, 0);
    loop {
        let at_end = filled < buffer.len();
        let last = if at_end {
            LastLine::Whole
        } else {
            LastLine::MayGrow
        };
        let mut log = parse_key_log(&buffer[..filled], lines + 1, last);
        if log.consumed == 0 && !at_end {
            // One line as long as the whole buffer: told as a line that is too long.
            log = parse_key_log(&buffer[..filled], lines + 1, LastLine::Whole);
        }
        for entry in log.entries.drain(..) {
            match (&entry.secrets.mac, entry.session) {
                (Some(_), _) => whole += 1,
                (None, Some(_)) => aes_named += 1,
                (None, None) => aes_only += 1,
            }
            found.added.count(store.add(entry, &found.shown));
        }
        if log.unknown_labels > 0 {
            found.labels.scan(&buffer[..log.consumed], lines + 1);
        }
        lines += log.lines;
        take_problems(&mut found, &log);
        if at_end {
            break;
        }
        buffer.copy_within(log.consumed..filled, 0);
        let kept = filled - log.consumed;
        filled = kept + fill(&mut file, &mut buffer[kept..])?;
    }
    found.format = Format::KeyLog {
        lines,
        whole,
        aes_named,
        aes_only,
    };
    Ok(Some(found))
}

fn take_problems(found: &mut KeyFile, log: &KeyLog) {
    found.problem_count += log.problem_count;
    let room = KEPT_PROBLEMS.saturating_sub(found.problems.len());
    found
        .problems
        .extend(log.problems.iter().take(room).map(ToString::to_string));
}

/// What a file is, by its first bytes; lines whose label is nearly ours make it a log too, for they are worth a word.
fn recognise(head: &[u8]) -> Option<FileKind> {
    bftap_keyship::recognise::recognise(head)
        .or_else(|| lines_of(head).any(is_nearly_ours).then_some(FileKind::KeyLog))
}

fn fill(file: &mut File, space: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < space.len() {
        match file.read(&mut space[filled..]) {
            Ok(0) => break,
            Ok(len) => filled += len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(unix)]
fn open_to_others(file: &File) -> io::Result<Option<u32>> {
    use std::os::unix::fs::MetadataExt as _;
    let mode = file.metadata()?.mode() & 0o7777;
    Ok((mode & 0o044 != 0).then_some(mode))
}

#[cfg(not(unix))]
fn open_to_others(_: &File) -> io::Result<Option<u32>> {
    Ok(None)
}

/// A path as it may be printed: runs of hexadecimal digits that might be part of a key are left out.
pub(crate) fn shown(path: &Path) -> String {
    safe(&bftap_keyship::recognise::shown(path)).into_owned()
}

/// The path of a file in the original tool's layout, of whose name only the nodes may be shown.
fn shown_legacy(path: &Path) -> String {
    safe(&bftap_keyship::recognise::shown_legacy(path)).into_owned()
}

/// Words for what a file holds.
pub(crate) fn describe(file: &KeyFile) -> String {
    match file.format {
        Format::Legacy => "one AES key in the original tool's layout".to_owned(),
        Format::KeyLog {
            lines,
            whole,
            aes_named,
            aes_only,
        } => {
            let mut parts = vec![counted(lines, "line", "lines")];
            for (number, what) in [
                (whole, "RLPX"),
                (aes_named, "RLPX-AES with a session"),
                (aes_only, "RLPX-AES to be tried"),
            ] {
                if number > 0 {
                    parts.push(format!("{} {what}", count(number)));
                }
            }
            parts.extend(file.labels.describe());
            parts.join(", ")
        }
    }
}

/// Bytes read at a time; a line of a key log is at most 4 KiB.
const CHUNK: usize = 1 << 20;

/// Problems kept of one file.
const KEPT_PROBLEMS: usize = 100;

/// Problems of one file that are shown where they are not asked for.
const SHOWN_PROBLEMS: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "75dc80aa51640d9f25d691e570b1de87a8fa89cb5e5065e2859f31c25be11f75";

    fn line(session: u8) -> String {
        let field = |byte: u8| format!("{byte:02x}").repeat(32);
        format!(
            "RLPX {} {} {} {} {}\n",
            field(session),
            field(1),
            field(2),
            field(3),
            field(4)
        )
    }

    fn write(directory: &Path, name: &str, content: &[u8]) -> PathBuf {
        let path = directory.join(name);
        fs::write(&path, content).unwrap();
        path
    }

    #[test]
    fn a_directory_may_hold_everything() {
        let folder = tempfile::tempdir().unwrap();
        write(
            folder.path(),
            "a.keylog",
            format!("# log\n{}{}{}", line(1), line(1), line(2)).as_bytes(),
        );
        write(folder.path(), &format!("cn1_cn2_{KEY}.txt"), KEY.as_bytes());
        write(
            folder.path(),
            "README.md",
            b"# not a log, but it begins like one\n",
        );
        write(folder.path(), "picture.png", b"\x89PNG\r\n\x1a\n\0\0");
        fs::create_dir(folder.path().join("sub")).unwrap();
        let store = SecretStore::new();
        let sources = load(&[folder.path().to_owned()], &store).unwrap();
        assert_eq!(sources.skipped, 2, "the picture and the folder");
        assert_eq!(sources.new_secrets(), 3);
        let log = sources
            .files
            .iter()
            .find(|file| file.shown.ends_with("a.keylog"))
            .unwrap();
        assert_eq!(
            log.added,
            AddReport {
                new: 2,
                known: 1,
                dropped: 0
            }
        );
        assert_eq!(describe(log), "4 lines, 3 RLPX");
        assert_eq!(store.counts().aes_only, 1);
        assert!(sources.files.iter().all(|file| !file.shown.contains(&KEY[..16])));
        assert!(
            sources
                .files
                .iter()
                .any(|file| file.shown.ends_with("/cn1_cn2_…"))
        );
    }

    #[test]
    fn damaged_lines_are_told_with_their_number_and_the_rest_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = write(
            folder.path(),
            "k",
            format!("{}RLPX 12 34\n\nNEW thing\n{}", line(1), line(2)).as_bytes(),
        );
        let store = SecretStore::new();
        let sources = load(&[path], &store).unwrap();
        let file = &sources.files[0];
        assert_eq!(file.added.new, 2);
        assert_eq!(file.problem_count, 1);
        assert!(file.problems[0].starts_with("line 2: "), "{:?}", file.problems);
        assert_eq!(describe(file), "5 lines, 2 RLPX, 1 with unknown labels");
        assert!(
            sources
                .warnings()
                .iter()
                .any(|warning| warning.contains("k: line 4: unknown label NEW")),
            "{:?}",
            sources.warnings()
        );
        assert!(
            sources
                .warnings()
                .iter()
                .any(|warning| warning.contains("line 2: "))
        );
    }

    #[test]
    fn logs_longer_than_a_chunk_are_read_whole() {
        let folder = tempfile::tempdir().unwrap();
        let comment = format!("# {}\n", "x".repeat(1000));
        let mut text = line(1);
        while text.len() < 2 * CHUNK {
            text.push_str(&comment);
        }
        text.push_str("RLPX bad\n");
        text.push_str(&line(2));
        let lines = text.lines().count();
        let path = write(folder.path(), "k", text.as_bytes());
        let store = SecretStore::new();
        let sources = load(&[path], &store).unwrap();
        assert_eq!(sources.new_secrets(), 2);
        assert!(sources.files[0].problems[0].starts_with(&format!("line {}: ", lines - 1)));
    }

    #[test]
    fn one_endless_line_ends() {
        let folder = tempfile::tempdir().unwrap();
        let mut text = b"RLPX ".to_vec();
        text.resize(3 * CHUNK + 5, b'a');
        let path = write(folder.path(), "k", &text);
        let sources = load(&[path], &SecretStore::new()).unwrap();
        assert_eq!(sources.new_secrets(), 0);
        assert!(sources.files[0].problem_count > 0);
    }

    #[test]
    fn named_files_must_hold_secrets() {
        let folder = tempfile::tempdir().unwrap();
        let store = SecretStore::new();
        let other = write(folder.path(), "notes.txt", b"hello\n");
        assert!(matches!(
            load(&[other], &store),
            Err(KeySourceError::NoSecrets { .. })
        ));
        let missing = folder.path().join("missing.keylog");
        assert!(matches!(
            load(&[missing], &store),
            Err(KeySourceError::Read { .. })
        ));
    }

    #[test]
    fn a_source_without_a_secret_is_told_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let store = SecretStore::new();
        let told = |path: &Path| load(&[path.to_owned()], &store).unwrap().warnings().join("\n");
        let logs = folder.path().join("logs");
        fs::create_dir(&logs).unwrap();
        let text = told(&logs);
        assert!(
            text.starts_with("no session secret in ") && text.contains("logs: the folder is empty"),
            "{text}"
        );
        assert!(
            text.contains("RLPX-AES") && text.contains("AES key in hex"),
            "{text}"
        );
        write(&logs, "notes.txt", b"hello\n");
        write(&logs, "new.keylog", b"");
        let text = told(&logs);
        assert!(text.contains("of its 2 entries none holds any"), "{text}");
        for content in ["", "# nothing yet\n", "RLXP 1 2 3\n", "RLPX 12\n"] {
            let path = write(folder.path(), "one.keylog", content.as_bytes());
            let text = told(&path);
            assert!(
                text.contains("one.keylog: looked for lines that begin with RLPX"),
                "{content}: {text}"
            );
        }
        // The other end's line, or a secret that stands in another source too, is a secret.
        let path = write(folder.path(), "full.keylog", line(1).as_bytes());
        load(std::slice::from_ref(&path), &store).unwrap();
        assert!(!told(&path).contains("no session secret"));
    }

    #[test]
    fn keys_in_names_are_never_shown() {
        for name in [
            format!("cn1_cn2_{KEY}.txt"),
            format!("{KEY}.txt"),
            format!("x{KEY}"),
            format!("dir-{KEY}/a.txt"),
        ] {
            let text = shown(Path::new(&name));
            assert!(!text.contains(&KEY[..12]), "{text}");
        }
        assert_eq!(
            shown(Path::new("captures/night 1/sessions.keylog")),
            "captures/night 1/sessions.keylog"
        );
        assert_eq!(shown(Path::new("a\x1b[1m.log")), "a\\u{1b}[1m.log");
        assert_eq!(shown(Path::new("케이/deadbeef.log")), "케이/deadbeef.log");
    }

    #[cfg(unix)]
    #[test]
    fn secrets_that_others_can_read_are_warned_about_once() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        for (name, mode) in [("a", 0o644), ("b", 0o640), ("c", 0o600)] {
            let path = write(folder.path(), name, line(1).as_bytes());
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let sources = load(&[folder.path().to_owned()], &SecretStore::new()).unwrap();
        let warnings = sources.warnings();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(
            warnings[0].contains("and 1 other file can be read"),
            "{warnings:?}"
        );
        assert!(warnings[0].contains("mode 0644"));
    }
}
