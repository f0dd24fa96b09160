//! `bftap live`: interfaces in; rows, figures and JSON out, until it is told to stop.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use bftap_capture::source::PacketSource;
use bftap_capture::source::live::{InterfaceNews, Interfaces, LiveCapture, LiveOptions, Stopper, Teller};
use bftap_decrypt::SecretStore;
use bftap_model::Nanos;
use bftap_pipeline::{Journal, Live, Progress};
use bftap_store::{NewRun, RunSource, StoreUrl, StoreWriter};

use crate::admin::AdminSocket;
use crate::args::{GuardQuorumArgs, GuardSwitchArgs, LiveArgs};
use crate::clock::WallClock;
use crate::events_out::EventsOut;
use crate::exit::{Status, Usage};
use crate::guarding::Guarding;
use crate::interrupt;
use crate::json_out::JsonOut;
use crate::live_keys::{LiveKeyOptions, LiveKeys};
use crate::live_view::{Sources, View};
use crate::metrics::Metrics;
use crate::page::{self, PageStore};
use crate::privileges::{self, User};
use crate::raw_out::{Rotation, WriteStatus, Written};
use crate::report::Summary;
use crate::results::{self, Sinks};
use crate::run_name;
use crate::selection::Part;
use crate::settings;
use crate::store_url;
use crate::store_watch::StoreWatch;
use crate::term::{Level, safe, safe_display, tell};

/// Runs the command.
pub(crate) fn run(args: &LiveArgs) -> anyhow::Result<Status> {
    let mut settings = settings::gather(&args.read, &[])?;
    let store = &args.results.store;
    let url = store_url::resolve(store.store.as_deref(), store.store_file.as_deref())?;
    let mut page = PageStore::begin(&args.results.page, &url)?;
    let url = page.url.clone();
    settings.pipeline.jobs = args
        .results
        .jobs
        .map_or_else(super::analyze::processors, usize::from);
    settings.pipeline.analysis.tapped = args.results.tapped.iter().copied().collect();
    settings.take_policy(args.results.policy.as_deref())?;
    settings.pipeline.analysis.deliveries &= url != StoreUrl::None;
    let user = User::choose(args.user.as_deref())?;

    // With all rights, and before there is a second thread.
    let interfaces = open(args)?;
    privileges::keep_capture_only(user.as_ref())?;
    let capture = interfaces.start(&teller())?;
    privileges::give_up()?;
    // From here on packets wait in the kernel; what cannot be written is found before they are read.
    let end = Ending {
        stopper: capture.stopper(),
        keys: Arc::default(),
    };
    let gentle = end.clone();
    interrupt::gently(move || gentle.come()).context("cannot watch for Ctrl-C")?;

    let part = Part::of(&args.read);
    let create = |path| JsonOut::create(path, part.as_ref(), args.results.all_votes);
    // The state first: it is one monitor's, and so is what shippers sent.
    let mut new_run = new_run(args, part.as_ref());
    let mut journal = open_journal(args, &new_run.name)?;
    if let Some(journal) = &journal {
        journal.run().clone_into(&mut new_run.name);
    }
    let kept_keys = args.state.as_ref().map(|folder| folder.join("keys"));
    let keys = LiveKeyOptions::from_args(&args.keys, kept_keys)?;
    let key_sources = !args.keys.keylog.is_empty() || args.keys.keys_listen.is_some();
    let keys = LiveKeys::start(keys, &settings.pipeline.secrets, key_teller())?;
    if let Some(address) = keys.address() {
        tell(Level::Note, &format!("taking session secrets at {address}"));
    }
    end.also(keys);
    let json = args.results.json.as_deref().map(create).transpose()?;
    let events = args.results.events.as_deref().map(EventsOut::open).transpose()?;
    let progress = Arc::new(Progress::default());
    let metrics = args
        .results
        .metrics
        .map(|address| Metrics::serve(address, Arc::clone(&progress)))
        .transpose()?;
    let interfaces = capture.watch();
    if let Some(metrics) = &metrics {
        metrics.watch_interfaces(interfaces.clone());
    }
    let (source, written) = source(args, capture, &settings.pipeline.secrets)?;
    let kept = journal.as_ref().map(Journal::resumes);
    let store = results::open_store(&url, &new_run, &settings.writer, kept)?;
    if let (Some(journal), Some(store)) = (&mut journal, &store) {
        if !store.resumed() {
            journal.nothing_arrived();
        }
        let status = store.status();
        journal.set_arrived(Box::new(move || status.committed_update.load(Ordering::Acquire)));
    }
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
    let _admin = admin(args, &url)?;
    if let Some(duration) = args.duration {
        end.after(duration)?;
    }

    let names: Vec<_> = args.interfaces.iter().map(|name| safe(name)).collect();
    tell(Level::Note, &format!("reading {}", names.join(", ")));
    let clock = WallClock::start();
    let mut sinks = Sinks {
        cut: Arc::clone(&settings.pipeline.selection.cut),
        summary: Summary::default(),
        json,
        store,
        store_failed: false,
        stored_live: true,
        metrics,
        events,
        shown: None,
        clock: &clock,
    };
    let secrets = Arc::clone(&settings.pipeline.secrets);
    let view = View::start(
        Sources {
            run: new_run.name.clone(),
            store_url: url.to_string(),
            interfaces,
            progress: Arc::clone(&progress),
            secrets: Arc::clone(&secrets),
            store: sinks.store.as_ref().map(StoreWriter::status),
            written: written.clone(),
        },
        args.log_every,
    )
    .context("cannot start a thread")?;
    sinks.shown = Some(Box::new(view.taker()));
    let live = Live {
        clock: &clock,
        pace: None,
    };
    let options = settings.into_pipeline();
    let analysis =
        bftap_pipeline::analyze_kept(source, options, &progress, live, journal.as_mut(), &mut sinks);
    drop(view);
    let analysis = analysis?;

    for problem in &analysis.problems {
        tell(Level::Warning, problem);
    }
    let mut status = Status::Complete;
    for capture in &analysis.facts.captures {
        if let Some(problem) = &capture.problem {
            status = Status::Incomplete;
            tell(Level::Error, &format!("{}: {problem}", safe(&capture.path)));
        }
    }
    if let Some(problem) = written.as_ref().and_then(|written| written.problem()) {
        status = Status::Incomplete;
        tell(Level::Warning, &problem);
    }
    let stored = match sinks.store.take() {
        Some(store) => results::finish_store(store, &analysis.facts, &url, &new_run.name),
        None => None,
    };
    drop(watch);
    let stored = results::write_page(&mut page, stored, &new_run.name, &mut status);
    drop(server);
    if sinks.store_failed || (page.is_wanted() && url != StoreUrl::None && stored.is_none()) {
        status = Status::Incomplete;
    }
    let counts = secrets.counts();
    let secrets = counts.whole + counts.aes_named + counts.aes_only;
    let asked = results::asked(
        &args.read,
        part.as_ref(),
        &sinks.cut,
        &args.results.tapped,
        key_sources,
        secrets,
        stored,
    );
    results::report(&mut sinks, &analysis.facts, &asked)?;
    if sinks.events.as_ref().is_some_and(EventsOut::has_failed) {
        status = Status::Incomplete;
    }
    Ok(status)
}

/// Takes orders for the switch, if that was asked for.
fn admin(args: &LiveArgs, url: &StoreUrl) -> anyhow::Result<Option<AdminSocket>> {
    let Some(path) = &args.admin_socket else {
        return Ok(None);
    };
    let switch = GuardSwitchArgs {
        bridge: args.guard_bridge.clone(),
        db: args.guard_db.clone(),
        ofp: args.guard_ofp.clone(),
        nodes: args.read.nodes.clone(),
    };
    let quorum = GuardQuorumArgs {
        validators: args.guard_validators.clone(),
        quorum_rule: args.guard_quorum_rule,
        silent: Vec::new(),
        silent_from_store: false,
        store_age: args.guard_store_age,
    };
    let guarding = Guarding::new(&switch, Some(&quorum))?;
    let socket = AdminSocket::start(path, guarding, url.clone(), args.guard_store_age)?;
    tell(
        Level::Note,
        &format!(
            "taking orders for the switch at {}",
            safe(&path.to_string_lossy())
        ),
    );
    Ok(Some(socket))
}

/// The state of the monitor, if it is kept.
fn open_journal(args: &LiveArgs, new_run: &str) -> anyhow::Result<Option<Journal>> {
    let Some(folder) = &args.state else {
        return Ok(None);
    };
    let run = args.results.store.run.as_deref();
    let mut journal = Journal::open(folder, run, new_run)
        .map_err(|error| Usage(format!("--state {}: {error}", safe_display(folder.display()))))?;
    journal.set_teller(Box::new(|problem| tell(Level::Error, &safe(problem))));
    if journal.resumes() {
        tell(
            Level::Note,
            &format!("going on with the run {}", safe(journal.run())),
        );
    }
    Ok(Some(journal))
}

/// Opens the interfaces, as far as they are there.
fn open(args: &LiveArgs) -> anyhow::Result<Interfaces> {
    if let Some(file) = args
        .interfaces
        .iter()
        .find(|name| name.contains('/') || name.contains(".pcap"))
    {
        let text = format!(
            "{} is no interface; capture files are read by `bftap analyze`",
            safe(file)
        );
        return Err(Usage(text).into());
    }
    let options = LiveOptions {
        ports: args.read.ports.clone(),
        filter: args.filter.clone(),
        snap_length: args.snaplen,
        buffer: args.buffer << 20,
    };
    let interfaces = Interfaces::open(&args.interfaces, &options)?;
    for name in interfaces.awaited() {
        let text = format!("the interface {} is not there; it is waited for", safe(&name));
        tell(Level::Warning, &text);
    }
    Ok(interfaces)
}

/// How keeping raw packets goes; `None` where they are not kept.
type Kept = Option<Arc<WriteStatus>>;

/// The interfaces as they are analysed, and kept if that was asked for.
fn source(
    args: &LiveArgs,
    capture: LiveCapture,
    secrets: &Arc<SecretStore>,
) -> anyhow::Result<(Box<dyn PacketSource>, Kept)> {
    let capture = Box::new(capture);
    let Some(path) = &args.write else {
        return Ok((capture, None));
    };
    // A monitor that is started again must not meet its own file.
    let rotation = Rotation {
        numbered: args.state.is_some(),
        size: args.write_size.map(|size| size << 20),
        every: args.write_every,
        keep: args.write_keep.map(|keep| keep as usize),
    };
    let secrets = args.write_secrets.then(|| Arc::clone(secrets));
    let (written, status) = Written::begin(capture, path, rotation, args.snaplen, secrets)?;
    Ok((Box::new(written), Some(status)))
}

/// Says when interfaces go and come.
fn teller() -> Teller {
    Arc::new(|news| match news {
        InterfaceNews::Away { interface, why } => {
            let text = format!(
                "the interface {} is away ({}); it is waited for",
                safe(&interface),
                safe(&why)
            );
            tell(Level::Warning, &text);
        }
        InterfaceNews::There { interface } => {
            tell(
                Level::Note,
                &format!("the interface {} is there", safe(&interface)),
            );
        }
    })
}

fn new_run(args: &LiveArgs, part: Option<&Part>) -> NewRun {
    let named = args.results.store.run.clone();
    NewRun {
        name: named.unwrap_or_else(run_name::of_interfaces),
        source: RunSource::Live,
        program_version: env!("CARGO_PKG_VERSION").to_owned(),
        selection: part.map(Part::json),
        live: true,
        pace_milli: None,
    }
}

/// Says how it goes with key files and shippers.
fn key_teller() -> bftap_keyship::Tell {
    Arc::new(|weight, text| {
        let level = match weight {
            bftap_keyship::Weight::Note => Level::Note,
            bftap_keyship::Weight::Warning => Level::Warning,
        };
        tell(level, text);
    })
}

/// How it comes to its end.
#[derive(Clone)]
struct Ending {
    stopper: Stopper,
    keys: Arc<Mutex<Option<LiveKeys>>>,
}

impl Ending {
    /// No more packets; secrets that are there by now are still learned, while the last packets come.
    fn come(&self) {
        self.stopper.stop();
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(keys) = keys {
            keys.finish();
        }
    }

    /// Also ends this.
    fn also(&self, keys: LiveKeys) {
        *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = Some(keys);
    }

    /// It comes by itself.
    fn after(&self, duration: Nanos) -> anyhow::Result<()> {
        let duration = Duration::from_nanos(duration.0.unsigned_abs());
        let end = self.clone();
        std::thread::Builder::new()
            .name("duration".to_owned())
            .spawn(move || {
                std::thread::sleep(duration);
                end.come();
            })
            .context("cannot start a thread")?;
        Ok(())
    }
}
