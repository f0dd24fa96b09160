//! A bundle as a folder.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bftap_evidence::{Source, SourceError};

use crate::exit::Usage;
use crate::term::safe_display;

/// Whether a bundle can be written there.
///
/// # Errors
/// Something else is there: wrong usage.
pub(super) fn check_free(path: &Path) -> Result<(), Usage> {
    let shown = safe_display(path.display());
    match fs::read_dir(path) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(Usage(format!(
                "{shown} is not empty: a bundle needs a folder of its own"
            ))),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Usage(format!("a bundle cannot be written to {shown}: {error}"))),
    }
}

/// Writes the files. Nothing stays if it fails.
pub(super) fn write(path: &Path, files: &BTreeMap<String, Vec<u8>>) -> anyhow::Result<()> {
    let was_there = path.is_dir();
    let written = write_files(path, files);
    if written.is_err() {
        if was_there {
            for name in files.keys() {
                // The error to be told is the one above.
                let _ = fs::remove_file(path.join(name));
            }
            for folder in FOLDERS {
                let _ = fs::remove_dir(path.join(folder));
            }
        } else {
            let _ = fs::remove_dir_all(path);
        }
    }
    written.with_context(|| format!("cannot write {}", safe_display(path.display())))
}

fn write_files(path: &Path, files: &BTreeMap<String, Vec<u8>>) -> io::Result<()> {
    fs::create_dir_all(path)?;
    for (name, bytes) in files {
        let file = path.join(name);
        if let Some(folder) = file.parent()
            && !folder.is_dir()
        {
            fs::create_dir(folder)?;
        }
        // It is to be handed on, and there is no secret in it: as the user's other files.
        let mut file = File::create_new(&file)?;
        file.write_all(bytes)?;
    }
    Ok(())
}

/// A folder that may come from anybody: plain files are read, at the top and in two folders; no link is followed.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }
}

impl Source for Folder {
    fn names(&mut self, limit: usize) -> Result<Vec<String>, SourceError> {
        let mut names = Vec::new();
        list(&self.0, "", limit, &mut names)?;
        Ok(names)
    }

    fn read(&mut self, name: &str, limit: u64) -> Result<Vec<u8>, SourceError> {
        // What is checked here again is asked by callers already: names are theirs.
        let mut parts = name.split('/');
        let (first, second) = (parts.next().unwrap_or_default(), parts.next());
        let is_plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['\\', '\0']);
        if parts.next().is_some()
            || !is_plain(first)
            || !second.is_none_or(|second| FOLDERS.contains(&first) && is_plain(second))
        {
            return Err(SourceError::Missing);
        }
        let mut path = self.0.join(first);
        if let Some(second) = second {
            if !fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir()) {
                return Err(SourceError::Missing);
            }
            path.push(second);
        }
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_file() && metadata.len() <= limit => {}
            Ok(metadata) if metadata.is_file() => return Err(SourceError::TooLong { limit }),
            Ok(_) => return Err(SourceError::Failed("it is no plain file".to_owned())),
            Err(error) => return Err(failed(&error)),
        }
        let mut bytes = Vec::new();
        let file = File::open(&path).map_err(|error| failed(&error))?;
        file.take(limit.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|error| failed(&error))?;
        if bytes.len() as u64 > limit {
            return Err(SourceError::TooLong { limit });
        }
        Ok(bytes)
    }
}

/// Adds the names in a folder; those of folders that no bundle has end in `/`.
fn list(path: &Path, before: &str, limit: usize, names: &mut Vec<String>) -> Result<(), SourceError> {
    for entry in fs::read_dir(path).map_err(|error| failed(&error))? {
        let entry = entry.map_err(|error| failed(&error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // Of links, this is the link's own.
        let kind = entry.file_type().map_err(|error| failed(&error))?;
        if kind.is_dir() && before.is_empty() && FOLDERS.contains(&name.as_str()) {
            list(&entry.path(), &format!("{name}/"), limit, names)?;
        } else {
            let end = if kind.is_dir() { "/" } else { "" };
            names.push(format!("{before}{name}{end}"));
        }
        if names.len() > limit {
            return Err(SourceError::TooMany { limit });
        }
    }
    Ok(())
}

fn failed(error: &io::Error) -> SourceError {
    if error.kind() == io::ErrorKind::NotFound {
        SourceError::Missing
    } else {
        SourceError::Failed(error.to_string())
    }
}

const FOLDERS: [&str; 2] = ["messages", "headers"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_files_of_the_folder_are_read() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), b"secret").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let files = BTreeMap::from([
            ("README.md".to_owned(), b"text".to_vec()),
            ("messages/1.bin".to_owned(), vec![1, 2, 3]),
        ]);
        write(path, &files).unwrap();
        fs::create_dir(path.join("more")).unwrap();
        let mut source = Folder::new(path);
        let mut names = source.names(10).unwrap();
        names.sort();
        assert_eq!(names, ["README.md", "messages/1.bin", "more/"]);
        assert_eq!(source.names(2), Err(SourceError::TooMany { limit: 2 }));
        assert_eq!(source.read("messages/1.bin", 3), Ok(vec![1, 2, 3]));
        assert_eq!(
            source.read("messages/1.bin", 2),
            Err(SourceError::TooLong { limit: 2 })
        );
        let secret = outside.path().join("secret");
        for name in [
            "../secret",
            secret.to_str().unwrap(),
            "messages/../README.md",
            "messages",
            "more/x",
            "",
            "messages/",
            "messages/1.bin/x",
        ] {
            assert!(source.read(name, 100).is_err(), "{name}");
        }
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(&secret, path.join("messages/2.bin")).unwrap();
            assert_eq!(
                source.read("messages/2.bin", 100),
                Err(SourceError::Failed("it is no plain file".to_owned()))
            );
            fs::remove_file(path.join("messages/2.bin")).unwrap();
            fs::rename(path.join("messages"), outside.path().join("messages")).unwrap();
            std::os::unix::fs::symlink(outside.path().join("messages"), path.join("messages")).unwrap();
            assert_eq!(source.read("messages/1.bin", 100), Err(SourceError::Missing));
        }
        assert!(check_free(path).unwrap_err().to_string().contains("not empty"));
        assert!(check_free(&path.join("new")).is_ok());
        assert!(check_free(&path.join("README.md")).is_err());
    }
}
