//! Where the JSON report is written to.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bftap_analysis::facts::{HeightFacts, RunFacts};
use tempfile::NamedTempFile;

use crate::interrupt::Unfinished;
use crate::json::JsonReport;
use crate::selection::Part;
use crate::term::safe_display;

/// Where the JSON report goes.
pub(crate) enum JsonOut {
    Stdout(JsonReport<BufWriter<io::Stdout>>),
    /// Written beside its place and moved there when it is whole, so that nobody reads half a report.
    File {
        report: JsonReport<BufWriter<NamedTempFile>>,
        path: PathBuf,
        unfinished: Unfinished,
    },
    /// A pipe or a device: there is nothing to move.
    Device {
        report: JsonReport<BufWriter<File>>,
        path: PathBuf,
    },
}

impl JsonOut {
    /// Begins the report of this part of the captures; whatever cannot be written is found here.
    pub(crate) fn create(path: &Path, part: Option<&Part>, all_votes: bool) -> anyhow::Result<Self> {
        let out = Self::begin(path, part, all_votes).map_err(without_place);
        out.with_context(|| format!("cannot write the JSON report {}", safe_display(path.display())))
    }

    fn begin(path: &Path, part: Option<&Part>, all_votes: bool) -> io::Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::Stdout(JsonReport::begin(
                BufWriter::new(io::stdout()),
                part,
                all_votes,
            )?));
        }
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => return Err(io::Error::other("it is a directory")),
            Ok(metadata) if !metadata.is_file() => {
                let file = File::options().write(true).open(path)?;
                return Ok(Self::Device {
                    report: JsonReport::begin(BufWriter::new(file), part, all_votes)?,
                    path: path.to_owned(),
                });
            }
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
        builder.prefix(".bftap-").suffix(SUFFIX);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            // As for any new file, less what the user's mask takes away.
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        let (file, unfinished) = Unfinished::make(|| builder.tempfile_in(folder))?;
        Ok(Self::File {
            unfinished,
            report: JsonReport::begin(BufWriter::new(file), part, all_votes)?,
            path: path.to_owned(),
        })
    }

    /// Whether standard output is taken.
    pub(crate) const fn is_stdout(&self) -> bool {
        matches!(self, Self::Stdout(_))
    }

    /// The report, to be given heights.
    pub(crate) fn report(&mut self) -> &mut dyn TakesHeights {
        match self {
            Self::Stdout(report) => report,
            Self::File { report, .. } => report,
            Self::Device { report, .. } => report,
        }
    }

    /// Writes the rest, and puts the report in its place.
    pub(crate) fn finish(self, facts: &RunFacts) -> anyhow::Result<()> {
        let failed = |path: &Path| format!("cannot write the JSON report {}", safe_display(path.display()));
        match self {
            Self::Stdout(report) => {
                report.finish(facts).context("cannot write the JSON report")?;
            }
            Self::Device { report, path } => {
                report.finish(facts).with_context(|| failed(&path))?;
            }
            Self::File {
                report,
                path,
                unfinished,
            } => {
                let file = report
                    .finish(facts)
                    .and_then(|out| out.into_inner().map_err(io::IntoInnerError::into_error))
                    .map_err(without_place);
                let file = file.with_context(|| failed(&path))?;
                file.persist(&path)
                    .map_err(|error| error.error)
                    .with_context(|| failed(&path))?;
                drop(unfinished);
            }
        }
        Ok(())
    }
}

/// A JSON report, whatever it is written to.
pub(crate) trait TakesHeights {
    /// Takes one height.
    fn height(&mut self, height: &HeightFacts) -> io::Result<()>;
}

impl<W: Write> TakesHeights for JsonReport<W> {
    fn height(&mut self, height: &HeightFacts) -> io::Result<()> {
        Self::height(self, height)
    }
}

/// The error without the temporary file's name behind it: the user knows the report by its own.
fn without_place(error: io::Error) -> io::Error {
    match error.to_string().split_once(" at path ") {
        Some((text, place)) if place.contains(SUFFIX) => io::Error::new(error.kind(), text),
        _ => error,
    }
}

/// How the names of temporary files end.
const SUFFIX: &str = ".json.part";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_reports_replace_old_ones_only_when_they_are_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.json");
        fs::write(&path, "old").unwrap();
        let out = JsonOut::create(&path, None, false).unwrap();
        drop(out);
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        JsonOut::create(&path, None, false)
            .unwrap()
            .finish(&RunFacts::default())
            .unwrap();
        assert!(fs::read_to_string(&path).unwrap().starts_with("{\n\"version\""));
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "nothing is left lying about"
        );
        assert!(JsonOut::create(folder.path(), None, false).is_err());
        let error = JsonOut::create(&folder.path().join("no/such/folder.json"), None, false)
            .err()
            .unwrap();
        let error = format!("{error:#}");
        assert!(
            error.contains("folder.json: No such file") && !error.contains(".part"),
            "{error}"
        );
    }
}
