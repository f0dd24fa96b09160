//! `bftap analyze`: captures in, report, JSON and rows out.

use std::io;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use bftap_pipeline::checkpoint::CheckpointError;
use bftap_pipeline::{Checkpoint, Live, Pace, Progress};
use bftap_store::{NewRun, RunSource, StoreUrl, StoreWriter, WriterOptions};

use crate::args::AnalyzeArgs;
use crate::clock::WallClock;
use crate::events_out::EventsOut;
use crate::exit::{Status, Usage};
use crate::inputs::{self, Inputs};
use crate::json_out::JsonOut;
use crate::metrics::Metrics;
use crate::page::{self, PageStore};
use crate::progress::Bar;
use crate::report::Summary;
use crate::results::{self, Sinks};
use crate::run_name;
use crate::selection::Part;
use crate::settings;
use crate::store_url;
use crate::store_watch::StoreWatch;
use crate::term::{Level, safe, safe_display, tell};

/// Runs the command.
pub(crate) fn run(args: &AnalyzeArgs) -> anyhow::Result<Status> {
    let mut settings = settings::gather(&args.input.read, &args.input.keys.keylog)?;
    let url = store_url::resolve(
        args.results.store.store.as_deref(),
        args.results.store.store_file.as_deref(),
    )?;
    let mut page = PageStore::begin(&args.results.page, &url)?;
    let url = page.url.clone();
    settings.pipeline.jobs = args.results.jobs.map_or_else(processors, usize::from);
    settings.pipeline.analysis.tapped = args.results.tapped.iter().copied().collect();
    settings.take_policy(args.results.policy.as_deref())?;
    settings.pipeline.analysis.deliveries &= url != StoreUrl::None;
    // What is kept names the captures by their content; a report to read once does not have to.
    settings.pipeline.content_hashes = url != StoreUrl::None || args.results.json.is_some();
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
    let part = Part::of(&args.input.read);
    let create = |path| JsonOut::create(path, part.as_ref(), args.results.all_votes);
    let json = args.results.json.as_deref().map(create).transpose()?;
    let events = args.results.events.as_deref().map(EventsOut::open).transpose()?;
    let progress = Arc::new(Progress::default());
    let metrics = args
        .results
        .metrics
        .map(|address| Metrics::serve(address, Arc::clone(&progress)))
        .transpose()?;
    let (store, run_name) = open_store(&url, args, part.as_ref(), &settings.writer)?;
    let watch = store.as_ref().map(|store| StoreWatch::start(store.status()));
    if let (Some(metrics), Some(store)) = (&metrics, &store) {
        metrics.watch_store(store.status());
    }

    let server = args
        .results
        .page
        .web
        .map(|address| page::serve(address, &url, &args.results.page.access))
        .transpose()?;

    let clock = WallClock::start();
    let mut sinks = Sinks {
        cut: Arc::clone(&settings.pipeline.selection.cut),
        summary: Summary::default(),
        json,
        store,
        store_failed: false,
        stored_live: args.pace.is_some(),
        metrics,
        events,
        shown: None,
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
        Some(store) => results::finish_store(store, &analysis.facts, &url, &run_name),
        None => None,
    };
    drop(watch);
    let stored = results::write_page(&mut page, stored, &run_name, &mut status);
    drop(server);
    if sinks.store_failed || (page.is_wanted() && url != StoreUrl::None && stored.is_none()) {
        status = Status::Incomplete;
    }
    let counts = secrets.counts();
    let secrets = counts.whole + counts.aes_named + counts.aes_only;
    let asked = results::asked(
        &args.input.read,
        part.as_ref(),
        &sinks.cut,
        &args.results.tapped,
        !args.input.keys.keylog.is_empty(),
        secrets,
        stored,
    );
    results::report(&mut sinks, &analysis.facts, &asked)?;
    if sinks.events.as_ref().is_some_and(EventsOut::has_failed) {
        status = Status::Incomplete;
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
    let name = match &args.results.store.run {
        Some(name) => {
            if let Some(part) = part {
                results::warn_of_part(name, part);
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
    Ok((results::open_store(url, &run, options, None)?, name))
}
