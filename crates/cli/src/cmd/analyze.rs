//! `bftap analyze`: captures in, report, JSON and rows out.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use bftap_analysis::facts::{FactSink, HeightFacts, LinkCountFact, RunFacts};
use bftap_pipeline::Progress;
use bftap_store::{NewRun, RunSource, StoreError, StoreUrl, StoreWriter};
use tempfile::NamedTempFile;

use crate::args::{AnalyzeArgs, StoreArgs};
use crate::exit::{Status, Usage};
use crate::inputs::{self, Inputs};
use crate::json::JsonReport;
use crate::progress::Bar;
use crate::report::{Asked, Report, Summary, unread_sessions};
use crate::run_name;
use crate::settings::{self, describe_selection};
use crate::term::{Level, Style, safe, safe_display, tell};

/// Runs the command.
pub(crate) fn run(args: &AnalyzeArgs) -> anyhow::Result<Status> {
    let mut settings = settings::gather(&args.input)?;
    let url = store_url(&args.store)?;
    settings.pipeline.jobs = args.jobs.map_or_else(processors, usize::from);
    settings.pipeline.analysis.tapped = args.tapped.iter().copied().collect();
    settings.pipeline.analysis.deliveries &= url != StoreUrl::None;
    // What is kept names the captures by their content; a report to read once does not have to.
    settings.pipeline.content_hashes = url != StoreUrl::None || args.json.is_some();

    let Inputs {
        inputs,
        opened,
        unopened,
        length,
        read,
    } = inputs::open(&args.input.captures);
    if opened == 0 {
        return Err(anyhow!("there is no capture to read"));
    }
    let incomplete = opened < inputs.len();

    // Whatever cannot be written is found before anything is read.
    let json = args.json.as_deref().map(JsonOut::create).transpose()?;
    let (store, run_name) = open_store(&url, args)?;

    let mut sinks = Sinks {
        summary: Summary::default(),
        json,
        store,
        store_failed: false,
    };
    let secrets = Arc::clone(&settings.pipeline.secrets);
    let progress = Arc::new(Progress::default());
    let bar = Bar::show(length, read, Arc::clone(&progress));
    let analysis = bftap_pipeline::analyze(inputs, settings.into_pipeline(), &progress, &mut sinks);
    drop(bar);
    let analysis = analysis?;

    for problem in &analysis.problems {
        tell(Level::Warning, problem);
    }
    let mut status = if incomplete {
        Status::Incomplete
    } else {
        Status::Complete
    };
    for capture in &analysis.facts.captures {
        if let Some(problem) = &capture.problem {
            status = Status::Incomplete;
            // Those that could not be opened were told when they were to be opened.
            if !unopened.contains(&capture.path) {
                tell(Level::Error, &format!("{}: {problem}", safe(&capture.path)));
            }
        }
    }
    let stored = match sinks.store.take() {
        Some(store) => finish_store(store, &analysis.facts, &url, &run_name),
        None => None,
    };
    if sinks.store_failed || (url != StoreUrl::None && stored.is_none()) {
        status = Status::Incomplete;
    }
    let json_on_stdout = sinks.json.as_ref().is_some_and(JsonOut::is_stdout);
    if let Some(json) = sinks.json.take() {
        json.finish(&analysis.facts)?;
    }
    let counts = secrets.counts();
    let asked = Asked {
        secrets: counts.whole + counts.aes_named + counts.aes_only,
        key_sources: !args.input.keys.keylog.is_empty(),
        selection: describe_selection(&args.input),
        ports: !args.input.ports.is_empty(),
        no_mac: args.input.no_mac,
        no_signatures: args.input.no_signatures,
        stored,
    };
    let report = Report {
        facts: &analysis.facts,
        summary: &sinks.summary,
        asked: &asked,
    };
    // Standard error alone is seen where the report goes to a file, or JSON takes its place.
    for problem in unread_sessions(&report) {
        tell(Level::Warning, &problem);
    }
    if !json_on_stdout {
        let mut out = io::stdout().lock();
        out.write_all(report.render(Style::of_stdout()).as_bytes())
            .context("cannot write the report")?;
        out.flush().context("cannot write the report")?;
    }
    Ok(status)
}

/// Worker threads for this machine.
pub(super) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Everything that heights and minutes go to.
struct Sinks {
    summary: Summary,
    json: Option<JsonOut>,
    store: Option<StoreWriter>,
    store_failed: bool,
}

/// Only the JSON report ends an analysis: a store that fails is told, and the report is written all the same.
impl FactSink for Sinks {
    type Error = io::Error;

    fn height(&mut self, height: &HeightFacts) -> io::Result<()> {
        self.summary.add(height);
        if let Some(json) = &mut self.json {
            json.report().height(height)?;
        }
        self.store_rows(|store| store.height(height.clone()));
        Ok(())
    }

    fn minute(&mut self, links: &[LinkCountFact]) -> io::Result<()> {
        self.store_rows(|store| store.minute(links));
        Ok(())
    }
}

impl Sinks {
    fn store_rows(&mut self, write: impl FnOnce(&mut StoreWriter) -> Result<(), StoreError>) {
        let Some(store) = &mut self.store else { return };
        if let Err(error) = write(store) {
            store_failure(error);
            self.store = None;
            self.store_failed = true;
        }
    }
}

fn store_failure(error: StoreError) {
    tell(
        Level::Error,
        &format!("nothing is stored: {:#}", anyhow::Error::new(error)),
    );
}

/// Where rows go: the option, else the file, else the environment, else a file in the current folder.
fn store_url(args: &StoreArgs) -> anyhow::Result<StoreUrl> {
    let text = if let Some(url) = &args.store {
        url.clone()
    } else if let Some(path) = &args.store_file {
        first_line(path)?
    } else if let Some(url) = std::env::var_os("BFTAP_STORE").filter(|url| !url.is_empty()) {
        url.into_string()
            .map_err(|_| Usage("BFTAP_STORE is not valid UTF-8".to_owned()))?
    } else {
        DEFAULT_STORE.to_owned()
    };
    text.parse()
        .map_err(|error: bftap_store::ParseStoreUrlError| Usage(format!("--store: {error}")).into())
}

const DEFAULT_STORE: &str = "sqlite://bftap.db";

fn first_line(path: &Path) -> anyhow::Result<String> {
    let shown = safe_display(path.display());
    let text = fs::read_to_string(path)
        .map_err(|error| Usage(format!("cannot read --store-file {shown}: {error}")))?;
    match text.lines().next().map(str::trim).filter(|line| !line.is_empty()) {
        Some(line) => Ok(line.to_owned()),
        None => Err(Usage(format!(
            "the first line of --store-file {shown} is empty; the store's URL belongs there"
        ))
        .into()),
    }
}

/// The store, ready to be written, and the name of the run in it.
fn open_store(url: &StoreUrl, args: &AnalyzeArgs) -> anyhow::Result<(Option<StoreWriter>, String)> {
    if *url == StoreUrl::None {
        return Ok((None, String::new()));
    }
    let name = match &args.store.run {
        Some(name) => name.clone(),
        None => run_name::of_captures(&args.input.captures).context("cannot name the run by its captures")?,
    };
    let run = NewRun {
        name: name.clone(),
        source: RunSource::Analyze,
        program_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let writer = StoreWriter::open(url, &run).with_context(|| {
        format!("cannot store into {url}; choose another place with --store sqlite://FILE, or --store none")
    })?;
    Ok((Some(writer), name))
}

fn finish_store(store: StoreWriter, facts: &RunFacts, url: &StoreUrl, run: &str) -> Option<String> {
    match store.finish(facts.clone()) {
        Ok(_) => Some(format!("run {run} in {url}")),
        Err(error) => {
            store_failure(error);
            None
        }
    }
}

/// Where the JSON report goes.
enum JsonOut {
    Stdout(JsonReport<BufWriter<io::Stdout>>),
    /// Written beside its place and moved there when it is whole, so that nobody reads half a report.
    File {
        report: JsonReport<BufWriter<NamedTempFile>>,
        path: PathBuf,
    },
    /// A pipe or a device: there is nothing to move.
    Device {
        report: JsonReport<BufWriter<File>>,
        path: PathBuf,
    },
}

impl JsonOut {
    fn create(path: &Path) -> anyhow::Result<Self> {
        let out = Self::begin(path);
        out.with_context(|| format!("cannot write the JSON report {}", safe_display(path.display())))
    }

    fn begin(path: &Path) -> io::Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::Stdout(JsonReport::begin(BufWriter::new(io::stdout()))?));
        }
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => return Err(io::Error::other("it is a directory")),
            Ok(metadata) if !metadata.is_file() => {
                let file = File::options().write(true).open(path)?;
                return Ok(Self::Device {
                    report: JsonReport::begin(BufWriter::new(file))?,
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
        builder.prefix(".bftap-").suffix(".json.part");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            // As for any new file, less what the user's mask takes away.
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        let file = builder.tempfile_in(folder)?;
        Ok(Self::File {
            report: JsonReport::begin(BufWriter::new(file))?,
            path: path.to_owned(),
        })
    }

    const fn is_stdout(&self) -> bool {
        matches!(self, Self::Stdout(_))
    }

    fn report(&mut self) -> &mut dyn TakesHeights {
        match self {
            Self::Stdout(report) => report,
            Self::File { report, .. } => report,
            Self::Device { report, .. } => report,
        }
    }

    fn finish(self, facts: &RunFacts) -> anyhow::Result<()> {
        let failed = |path: &Path| format!("cannot write the JSON report {}", safe_display(path.display()));
        match self {
            Self::Stdout(report) => {
                report.finish(facts).context("cannot write the JSON report")?;
            }
            Self::Device { report, path } => {
                report.finish(facts).with_context(|| failed(&path))?;
            }
            Self::File { report, path } => {
                let file = report
                    .finish(facts)
                    .and_then(|out| out.into_inner().map_err(io::IntoInnerError::into_error));
                let file = file.with_context(|| failed(&path))?;
                file.persist(&path)
                    .map_err(|error| error.error)
                    .with_context(|| failed(&path))?;
            }
        }
        Ok(())
    }
}

/// A JSON report, whatever it is written to.
trait TakesHeights {
    fn height(&mut self, height: &HeightFacts) -> io::Result<()>;
}

impl<W: Write> TakesHeights for JsonReport<W> {
    fn height(&mut self, height: &HeightFacts) -> io::Result<()> {
        Self::height(self, height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(store: Option<&str>, store_file: Option<PathBuf>) -> anyhow::Result<StoreUrl> {
        store_url(&StoreArgs {
            store: store.map(str::to_owned),
            store_file,
            run: None,
        })
    }

    #[test]
    fn a_store_file_keeps_passwords_off_the_command_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("url");
        fs::write(&path, " sqlite://here.db \n# comment\n").unwrap();
        assert_eq!(
            store(None, Some(path.clone())).unwrap().to_string(),
            "sqlite://here.db"
        );
        fs::write(&path, "\nsqlite://here.db\n").unwrap();
        let error = store(None, Some(path)).unwrap_err();
        assert!(
            error.is::<Usage>() && error.to_string().contains("is empty"),
            "{error}"
        );
        assert!(
            store(None, Some(folder.path().join("no")))
                .unwrap_err()
                .is::<Usage>()
        );
    }

    #[test]
    fn wrong_stores_are_wrong_usage_and_not_repeated() {
        let error = store(Some("oracle://u:hunter2@h/d"), None).unwrap_err();
        assert!(
            error.is::<Usage>() && !error.to_string().contains("hunter2"),
            "{error}"
        );
        assert_eq!(store(Some("none"), None).unwrap(), StoreUrl::None);
    }

    #[test]
    fn json_reports_replace_old_ones_only_when_they_are_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.json");
        fs::write(&path, "old").unwrap();
        let out = JsonOut::create(&path).unwrap();
        drop(out);
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        JsonOut::create(&path)
            .unwrap()
            .finish(&RunFacts::default())
            .unwrap();
        assert!(fs::read_to_string(&path).unwrap().starts_with("{\n\"version\""));
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "nothing is left lying about"
        );
        assert!(JsonOut::create(folder.path()).is_err());
        assert!(JsonOut::create(&folder.path().join("no/such/folder.json")).is_err());
    }
}
