//! `bftap analyze`: captures in, report, JSON and rows out.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use bftap_analysis::Update;
use bftap_analysis::facts::{FactSink, HeightFacts, LinkCountFact, Outcome, RunFacts};
use bftap_model::CaptureTime;
use bftap_pipeline::checkpoint::CheckpointError;
use bftap_pipeline::{Checkpoint, CutHeights, Live, LiveSink, Moment, Pace, Progress};
use bftap_store::{NewRun, RunSource, StoreError, StoreUrl, StoreWriter, WriterOptions};

use crate::args::AnalyzeArgs;
use crate::clock::WallClock;
use crate::exit::{Status, Usage};
use crate::inputs::{self, Inputs};
use crate::interrupt;
use crate::json_out::JsonOut;
use crate::metrics::Metrics;
use crate::progress::Bar;
use crate::report::{Asked, Report, Summary, unread_sessions};
use crate::run_name;
use crate::selection::Part;
use crate::settings;
use crate::store_url;
use crate::store_watch::StoreWatch;
use crate::term::{Level, Style, safe, safe_display, tell};

/// Runs the command.
pub(crate) fn run(args: &AnalyzeArgs) -> anyhow::Result<Status> {
    let mut settings = settings::gather(&args.input)?;
    let url = store_url::resolve(args.store.store.as_deref(), args.store.store_file.as_deref())?;
    settings.pipeline.jobs = args.jobs.map_or_else(processors, usize::from);
    settings.pipeline.analysis.tapped = args.tapped.iter().copied().collect();
    settings.pipeline.analysis.deliveries &= url != StoreUrl::None;
    // What is kept names the captures by their content; a report to read once does not have to.
    settings.pipeline.content_hashes = url != StoreUrl::None || args.json.is_some();
    settings.pipeline.keep_checkpoint = args.checkpoint.is_some();
    settings.pipeline.checkpoint = args
        .checkpoint
        .as_deref()
        .map(load_checkpoint)
        .transpose()?
        .flatten();

    let Inputs {
        inputs,
        opened,
        unopened,
        length,
        read,
    } = inputs::open(&args.input.captures)?;
    if opened == 0 {
        return Err(anyhow!("there is no capture to read"));
    }
    let incomplete = opened < inputs.len();

    // Whatever cannot be written is found before anything is read.
    let part = Part::of(&args.input);
    let create = |path| JsonOut::create(path, part.as_ref());
    let json = args.json.as_deref().map(create).transpose()?;
    let progress = Arc::new(Progress::default());
    let metrics = args
        .metrics
        .map(|address| Metrics::serve(address, Arc::clone(&progress)))
        .transpose()?;
    let (store, run_name) = open_store(&url, args, part.as_ref(), &settings.writer)?;
    let watch = store.as_ref().map(|store| StoreWatch::start(store.status()));
    if let (Some(metrics), Some(store)) = (&metrics, &store) {
        metrics.watch_store(store.status());
    }

    let clock = WallClock::start();
    let mut sinks = Sinks {
        cut: Arc::clone(&settings.pipeline.selection.cut),
        summary: Summary::default(),
        json,
        store,
        store_failed: false,
        stored_live: args.pace.is_some(),
        metrics,
        clock: &clock,
    };
    let secrets = Arc::clone(&settings.pipeline.secrets);
    let bar = Bar::show(length, read, Arc::clone(&progress));
    let options = settings.into_pipeline();
    let analysis = if args.pace.is_some() || sinks.metrics.is_some() {
        let live = Live {
            clock: &clock,
            pace: args.pace,
        };
        let source = bftap_pipeline::files(inputs, &options);
        bftap_pipeline::analyze_live(source, options, &progress, live, &mut sinks)
    } else {
        bftap_pipeline::analyze(inputs, options, &progress, &mut sinks)
    };
    drop(bar);
    let mut analysis = analysis?;
    inputs::name_unopened(&mut analysis.facts.captures, &unopened);

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
            if !unopened.contains_key(&capture.path) {
                tell(Level::Error, &format!("{}: {problem}", safe(&capture.path)));
            }
        }
    }
    // Also if a file ends early: it says how far was read.
    if let (Some(path), Some(checkpoint)) = (&args.checkpoint, &analysis.checkpoint)
        && let Err(error) = checkpoint.save(path)
    {
        let text = format!("checkpoint {}: {error}", safe_display(path.display()));
        tell(Level::Error, &text);
        status = Status::Incomplete;
    }
    let stored = match sinks.store.take() {
        Some(store) => finish_store(store, &analysis.facts, &url, &run_name),
        None => None,
    };
    drop(watch);
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
        selection: part.as_ref().map(|part| part.words().to_owned()),
        ports: !args.input.ports.is_empty(),
        attach: (args.input.attach_search, args.input.attach_budget),
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

/// What the run before this one left; `None` if there was none.
fn load_checkpoint(path: &Path) -> anyhow::Result<Option<Arc<Checkpoint>>> {
    let shown = safe_display(path.display());
    match Checkpoint::load(path) {
        Ok(loaded) => {
            if loaded.exposed {
                let text = format!(
                    "checkpoint {shown}: others can read it; it names all nodes, so make it your own with chmod 600"
                );
                tell(Level::Warning, &text);
            }
            Ok(Some(Arc::new(loaded.checkpoint)))
        }
        Err(CheckpointError::Read(error)) if error.kind() == io::ErrorKind::NotFound => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            match folder {
                Some(folder) if !folder.is_dir() => Err(Usage(format!(
                    "--checkpoint {shown}: the folder {} is not there",
                    safe_display(folder.display())
                ))
                .into()),
                _ => Ok(None),
            }
        }
        Err(error) => Err(Usage(format!("--checkpoint {shown}: {error}")).into()),
    }
}

/// Worker threads for this machine.
pub(super) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Everything that heights and minutes go to.
struct Sinks<'c> {
    cut: Arc<CutHeights>,
    summary: Summary,
    json: Option<JsonOut>,
    store: Option<StoreWriter>,
    store_failed: bool,
    /// What changed is stored while the captures play.
    stored_live: bool,
    metrics: Option<Metrics>,
    clock: &'c WallClock,
}

/// Only the JSON report ends an analysis: a store that fails is told, and the report is written all the same.
impl FactSink for Sinks<'_> {
    type Error = io::Error;

    fn height(&mut self, height: &HeightFacts) -> io::Result<()> {
        let marked = self.is_cut(height).then(|| cut_height(height.clone()));
        let height = marked.as_ref().unwrap_or(height);
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

impl LiveSink for Sinks<'_> {
    fn update(&mut self, mut update: Update, at: Moment) -> io::Result<()> {
        let age = self.clock.age(at.dealt);
        if let Some(metrics) = &self.metrics {
            metrics.update(&update, age);
        }
        if self.stored_live {
            for height in &mut update.heights {
                if self.is_cut(height) {
                    *height = cut_height(std::mem::take(height));
                }
            }
            self.store_rows(|store| store.update(update, at.seen.map(CaptureTime::nanos), age));
        }
        Ok(())
    }
}

fn sequence_of(height: &HeightFacts) -> Option<u64> {
    let counted = height.counts.first().map(|count| count.sequence);
    counted.or_else(|| height.rounds.first().map(|round| round.sequence))
}

/// A height at the edge of the span of time that was asked for: more of it was seen than is counted.
fn cut_height(mut height: HeightFacts) -> HeightFacts {
    for count in &mut height.counts {
        count.lower_bound = true;
    }
    for round in &mut height.rounds {
        if round.outcome == Outcome::Open {
            round.outcome = Outcome::Unknown;
        }
    }
    height
}

impl Sinks<'_> {
    fn is_cut(&self, height: &HeightFacts) -> bool {
        sequence_of(height).is_some_and(|sequence| self.cut.contains(sequence))
    }

    fn store_rows(&mut self, write: impl FnOnce(&mut StoreWriter) -> Result<(), StoreError>) {
        let Some(store) = &mut self.store else { return };
        if let Err(error) = write(store) {
            store_failure(error);
            self.store = None;
            self.store_failed = true;
        }
    }
}

/// How long an interrupted program waits for its database.
const INTERRUPTED_WAIT: Duration = Duration::from_secs(3);

fn store_failure(error: StoreError) {
    // The run was given up on purpose; the program ends at any moment.
    if interrupt::has_come() {
        return;
    }
    tell(
        Level::Error,
        &format!("nothing is stored: {:#}", anyhow::Error::new(error)),
    );
}

/// The store, ready to be written, and the name of the run in it.
fn open_store(
    url: &StoreUrl,
    args: &AnalyzeArgs,
    part: Option<&Part>,
    options: &WriterOptions,
) -> anyhow::Result<(Option<StoreWriter>, String)> {
    if *url == StoreUrl::None {
        return Ok((None, String::new()));
    }
    let name = match &args.store.run {
        Some(name) => {
            if let Some(part) = part {
                let text = format!(
                    "the run {} will hold a part only ({}), also in place of a whole run of that name; without --run a part has \
                     a name of its own",
                    safe(name),
                    part.words()
                );
                tell(Level::Warning, &text);
            }
            name.clone()
        }
        None => run_name::of_captures(&args.input.captures, part)
            .context("cannot name the run by its captures")?,
    };
    let run = NewRun {
        name: name.clone(),
        source: RunSource::Analyze,
        program_version: env!("CARGO_PKG_VERSION").to_owned(),
        selection: part.map(Part::json),
        live: args.pace.is_some(),
        pace_milli: args.pace.map(Pace::milli),
    };
    let writer = StoreWriter::open(url, &run, options).with_context(|| {
        format!("cannot store into {url}; choose another place with --store sqlite://FILE, or --store none")
    })?;
    let stopper = writer.stopper();
    interrupt::then(move || stopper.stop("interrupted", INTERRUPTED_WAIT))
        .context("cannot watch for Ctrl-C")?;
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
