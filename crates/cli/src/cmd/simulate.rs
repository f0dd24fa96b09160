//! `bftap simulate`: a capture of a simulated network, with its truth and its secrets beside it.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bftap_simnet::{CaptureLayout, SimulateError, SimulateOptions, Sinks, simulate};

use crate::args::SimulateArgs;
use crate::exit::{Status, Usage};
use crate::report::{bytes, count, duration};
use crate::term::safe_display;

/// Runs the command.
pub(crate) fn run(args: &SimulateArgs) -> anyhow::Result<Status> {
    let options = args.options();
    if let Some(conflict) = args.conflict() {
        return Err(Usage(conflict).into());
    }
    options.check().map_err(|error| Usage(error.to_string()))?;
    let paths = Paths::new(&args.output, &options);
    let captures = paths
        .captures
        .iter()
        .map(|path| create(path))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let sinks = Sinks {
        captures,
        key_log: create_private(&paths.key_log)?,
        nodes: create(&paths.nodes)?,
        truth: create(&paths.truth)?,
    };
    let summary = match simulate(&options, sinks) {
        Ok(summary) => summary,
        Err(SimulateError::Options(error)) => return Err(Usage(error.to_string()).into()),
        Err(error @ SimulateError::Write(_)) => return Err(error.into()),
    };
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

    fn listed(&self) -> impl Iterator<Item = (&'static str, &PathBuf)> {
        let captures = self.captures.iter().map(|path| ("capture", path));
        captures.chain([
            ("key log", &self.key_log),
            ("nodes", &self.nodes),
            ("truth", &self.truth),
        ])
    }
}

fn create(path: &Path) -> anyhow::Result<Box<dyn Write>> {
    let file =
        File::create(path).with_context(|| format!("cannot write {}", safe_display(path.display())))?;
    Ok(Box::new(BufWriter::with_capacity(BUFFER, file)))
}

/// The key log opens simulated sessions only, but scripts copy what they see: it is private like a real one.
fn create_private(path: &Path) -> anyhow::Result<Box<dyn Write>> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let file = options
        .open(path)
        .with_context(|| format!("cannot write {}", safe_display(path.display())))?;
    Ok(Box::new(BufWriter::new(file)))
}

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
