//! `bftap simulate`: a capture of a simulated network, with its truth and its secrets beside it.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bftap_simnet::{CaptureFormat, CaptureLayout, SimulateError, SimulateOptions, Sinks, simulate};

use crate::args::SimulateArgs;
use crate::exit::{Status, Usage};
use crate::report::{bytes, count, duration};
use crate::term::{Level, safe_display, tell};

/// Runs the command.
pub(crate) fn run(args: &SimulateArgs) -> anyhow::Result<Status> {
    let options = args.options().map_err(Usage)?;
    options.check().map_err(|error| Usage(error.to_string()))?;
    let paths = Paths::new(&args.output, &options);
    paths.check(args.force)?;
    let taps = options.tapped().len();
    if options.format != CaptureFormat::Pcapng && options.layout == CaptureLayout::Together && taps > 1 {
        tell(
            Level::Note,
            &format!(
                "a pcap file does not say at which node a packet was seen: those of {taps} taps are told apart in pcapng, \
                 or with --per-tap"
            ),
        );
    }
    let create = |path: &Path, private| create(path, private, args.force);
    let captures = paths
        .captures
        .iter()
        .map(|path| create(path, false))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let sinks = Sinks {
        captures,
        // It opens simulated sessions only, but scripts copy what they see: it is private like a real one.
        key_log: create(&paths.key_log, true)?,
        nodes: create(&paths.nodes, false)?,
        truth: create(&paths.truth, false)?,
    };
    let summary = match simulate(&options, sinks) {
        Ok(summary) => summary,
        Err(SimulateError::Options(error)) => return Err(Usage(error.to_string()).into()),
        Err(error @ SimulateError::Write(_)) => return Err(error.into()),
    };
    if summary.stalled {
        tell(
            Level::Warning,
            &format!(
                "the network stood still for ten minutes at height {}, before the height that was wanted: too many nodes \
                 failed, or they decided on different blocks. The capture ends there",
                summary.height
            ),
        );
    }
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{} packets, {}, {} consensus messages, up to height {}, {} of simulated time",
        count(summary.packets),
        bytes(summary.bytes),
        count(summary.messages),
        count(summary.height),
        duration(i64::try_from(summary.nanos).unwrap_or(i64::MAX))
    )?;
    for (what, path) in paths.listed() {
        writeln!(out, "{what:<8}  {}", safe_display(path.display()))?;
    }
    out.flush()?;
    Ok(Status::Complete)
}

/// Files that a simulation writes.
#[derive(Debug, PartialEq, Eq)]
struct Paths {
    captures: Vec<PathBuf>,
    key_log: PathBuf,
    nodes: PathBuf,
    truth: PathBuf,
}

impl Paths {
    fn new(output: &Path, options: &SimulateOptions) -> Self {
        let captures = match options.layout {
            CaptureLayout::Together => vec![output.to_owned()],
            CaptureLayout::PerTap => {
                let extension = output.extension().map_or_else(
                    || options.format.extension().to_owned(),
                    |extension| extension.to_string_lossy().into_owned(),
                );
                let name = |node: &String| output.with_extension(format!("{node}.{extension}"));
                options.capture_names().iter().map(name).collect()
            }
        };
        Self {
            captures,
            key_log: output.with_extension("keylog"),
            nodes: output.with_extension("nodes.json"),
            truth: output.with_extension("truth.json"),
        }
    }

    /// Refuses to write over files, among them those that belong to another capture of the same name.
    fn check(&self, force: bool) -> Result<(), Usage> {
        let all: Vec<&PathBuf> = self.listed().map(|(_, path)| path).collect();
        for (index, path) in all.iter().enumerate() {
            if all[..index].contains(path) {
                return Err(Usage(format!(
                    "two of the files would be {}: choose another name for the capture",
                    safe_display(path.display())
                )));
            }
        }
        // A link that leads nowhere is there, too.
        let there = all.into_iter().filter(|path| path.symlink_metadata().is_ok());
        let there: Vec<String> = there.map(|path| safe_display(path.display())).collect();
        if force || there.is_empty() {
            return Ok(());
        }
        let (is, them) = if there.len() == 1 {
            ("is", "it")
        } else {
            ("are", "them")
        };
        Err(Usage(format!(
            "{} {is} there already: choose another name, or write over {them} with --force",
            there.join(", ")
        )))
    }

    fn listed(&self) -> impl Iterator<Item = (&'static str, &PathBuf)> {
        let captures = self.captures.iter().map(|path| ("capture", path));
        captures.chain([
            ("key log", &self.key_log),
            ("nodes", &self.nodes),
            ("truth", &self.truth),
        ])
    }
}

fn create(path: &Path, private: bool, force: bool) -> anyhow::Result<Box<dyn Write>> {
    let mut options = File::options();
    options.write(true);
    // What came into being since the check is nobody's to destroy, either.
    if force {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    #[cfg(unix)]
    if private {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(PRIVATE);
    }
    let open = || -> io::Result<File> {
        let file = options.open(path)?;
        // The mode above is for new files only.
        #[cfg(unix)]
        if private && force {
            use std::os::unix::fs::PermissionsExt as _;
            file.set_permissions(std::fs::Permissions::from_mode(PRIVATE))?;
        }
        Ok(file)
    };
    let file = open().with_context(|| format!("cannot write {}", safe_display(path.display())))?;
    Ok(Box::new(BufWriter::with_capacity(BUFFER, file)))
}

#[cfg(unix)]
const PRIVATE: u32 = 0o600;
const BUFFER: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_stand_beside_the_capture() {
        let mut options = SimulateOptions {
            nodes: 4,
            ..SimulateOptions::default()
        };
        let paths = Paths::new(Path::new("out/net.pcapng"), &options);
        assert_eq!(paths.captures, [Path::new("out/net.pcapng")]);
        assert_eq!(paths.key_log, Path::new("out/net.keylog"));
        assert_eq!(paths.truth, Path::new("out/net.truth.json"));
        options.layout = CaptureLayout::PerTap;
        let paths = Paths::new(Path::new("net.pcapng"), &options);
        assert_eq!(paths.captures[3], Path::new("net.cn4.pcapng"));
        assert_eq!(
            Paths::new(Path::new("net"), &options).captures[0],
            Path::new("net.cn1.pcapng")
        );
    }
}
