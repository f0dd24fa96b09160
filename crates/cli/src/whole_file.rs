//! Files that are there as a whole or not at all.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::interrupt::Unfinished;

/// A file that is written beside its place and moved there when it is whole.
#[derive(Debug)]
pub(crate) struct WholeFile {
    file: NamedTempFile,
    unfinished: Unfinished,
    path: PathBuf,
}

impl WholeFile {
    /// Begins a file; whatever cannot be written is found here.
    ///
    /// # Errors
    /// The folder is not there or takes no files, or what is at the place may not be written or is no file.
    pub(crate) fn begin(path: &Path) -> io::Result<Self> {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => return Err(io::Error::other("it is a directory")),
            // A file that may not be written must not be replaced behind its owner's back.
            Ok(_) => drop(File::options().append(true).open(path)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let mut builder = tempfile::Builder::new();
        builder.prefix(".bftap-").suffix(".part");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            // As for any new file, less what the user's mask takes away.
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        let (file, unfinished) = Unfinished::make(|| builder.tempfile_in(folder)).map_err(|error| {
            // The user knows the file by its own name, not by the temporary one.
            io::Error::new(error.kind(), plain(&error))
        })?;
        Ok(Self {
            file,
            unfinished,
            path: path.to_owned(),
        })
    }

    /// Writes all of it, and puts it in its place.
    ///
    /// # Errors
    /// The disk is full, for example.
    pub(crate) fn write(mut self, text: &[u8]) -> io::Result<()> {
        io::Write::write_all(&mut self.file, text)?;
        self.file.persist(&self.path).map_err(|error| error.error)?;
        drop(self.unfinished);
        Ok(())
    }
}

fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split_once(" at path ")
        .map_or(text.clone(), |(text, _)| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_there_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("page.html");
        let file = WholeFile::begin(&path).unwrap();
        assert!(!path.exists());
        file.write(b"whole").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        drop(WholeFile::begin(&path).unwrap());
        assert_eq!(
            fs::read(&path).unwrap(),
            b"whole",
            "what is given up leaves the old file"
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(WholeFile::begin(folder.path()).is_err());
        let nowhere = WholeFile::begin(&folder.path().join("no/page.html")).unwrap_err();
        assert!(!nowhere.to_string().contains(".part"), "{nowhere}");
    }
}
