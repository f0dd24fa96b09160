//! What facts become, whichever command found them: rows, JSON, metrics, and the report of the end.

use std::io::{self, Write as _};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bftap_analysis::Update;
use bftap_analysis::facts::{
    DelayBound, FactSink, HeightFacts, LinkCountFact, Outcome, RoundCause, RunFacts, VoteState,
};
use bftap_model::CaptureTime;
use bftap_pipeline::{CutHeights, LeftOut, LiveSink, Moment};
use bftap_store::{NewRun, StoreError, StoreUrl, StoreWriter, WriterOptions};

use crate::args::ReadArgs;
use crate::clock::WallClock;
use crate::events_out::EventsOut;
use crate::exit::Status;
use crate::interrupt;
use crate::json_out::JsonOut;
use crate::metrics::Metrics;
use crate::page::PageStore;
use crate::report::{Asked, Report, Summary, unread_sessions};
use crate::selection::Part;
use crate::term::{Level, Style, safe, tell};

/// Takes what changed, of which moment, and how long ago its newest packet came.
pub(crate) type Shown = Box<dyn FnMut(&Update, Moment, Duration) + Send>;

/// Everything that heights and minutes go to.
pub(crate) struct Sinks<'c> {
    pub(crate) cut: Arc<CutHeights>,
    pub(crate) summary: Summary,
    pub(crate) json: Option<JsonOut>,
    pub(crate) store: Option<StoreWriter>,
    pub(crate) store_failed: bool,
    /// What changed is stored while it goes on.
    pub(crate) stored_live: bool,
    pub(crate) metrics: Option<Metrics>,
    /// Events are told as they are found.
    pub(crate) events: Option<EventsOut>,
    /// Who else is told what changed.
    pub(crate) shown: Option<Shown>,
    pub(crate) clock: &'c WallClock,
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
        if let Some(events) = &mut self.events {
            events.tell(&update.facts.events);
        }
        if let Some(shown) = &mut self.shown {
            shown(&update, at, age);
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
        if round.cause.is_some() {
            round.cause = Some(RoundCause::Unknown);
        }
    }
    for lived in &mut height.node_rounds {
        lived.lower_bound = true;
    }
    for vote in &mut height.votes {
        if matches!(
            vote.state,
            VoteState::Missing | VoteState::Partial | VoteState::Late
        ) {
            vote.state = VoteState::Unknown;
        }
        for received in &mut vote.received {
            received.bound = DelayBound::Unknown;
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

/// The store, ready to be written; `None` if nothing is to be stored. `kept`: the state of the run is kept elsewhere, and whether it is one to go
/// on with.
pub(crate) fn open_store(
    url: &StoreUrl,
    run: &NewRun,
    options: &WriterOptions,
    kept: Option<bool>,
) -> anyhow::Result<Option<StoreWriter>> {
    if *url == StoreUrl::None {
        return Ok(None);
    }
    let writer = match kept {
        None => StoreWriter::open(url, run, options),
        Some(resume) => StoreWriter::open_kept(url, run, options, resume),
    };
    let writer = writer.with_context(|| {
        format!("cannot store into {url}; choose another place with --store sqlite://FILE, or --store none")
    })?;
    let stopper = writer.stopper();
    interrupt::then(move || stopper.stop("interrupted", INTERRUPTED_WAIT))
        .context("cannot watch for Ctrl-C")?;
    Ok(Some(writer))
}

/// A name that the user chose for a run of a part only: it may have been the name of a whole one.
pub(crate) fn warn_of_part(name: &str, part: &Part) {
    let text = format!(
        "the run {} will hold a part only ({}), also in place of a whole run of that name; without --run a part has \
         a name of its own",
        safe(name),
        part.words()
    );
    tell(Level::Warning, &text);
}

/// Everything was found: the last rows, and in words where they are; `None` if not all is stored, or nothing was to be.
pub(crate) fn finish_store(
    store: StoreWriter,
    facts: &RunFacts,
    url: &StoreUrl,
    run: &str,
) -> Option<String> {
    match store.finish(facts.clone()) {
        Ok(_) => Some(format!("run {run} in {url}")),
        Err(error) => {
            store_failure(error);
            None
        }
    }
}

/// Writes the page, if one was asked for and the run is stored; a page that cannot be written is told. Gives back where the run is stored, if that
/// is a place that the user wanted.
pub(crate) fn write_page(
    page: &mut PageStore,
    stored: Option<String>,
    run: &str,
    status: &mut Status,
) -> Option<String> {
    let written = match &stored {
        Some(_) => page.finish(run),
        None if page.is_open() => Err(anyhow::anyhow!(
            "there is no page: nothing is stored that it could show"
        )),
        None => Ok(()),
    };
    if let Err(error) = written {
        tell(Level::Error, &format!("{error:#}"));
        *status = Status::Incomplete;
    }
    stored.filter(|_| page.is_wanted())
}

/// Writes the JSON report and the report for people. What could not be read is told on standard error, too.
pub(crate) fn report(sinks: &mut Sinks<'_>, facts: &RunFacts, asked: &Asked) -> anyhow::Result<()> {
    if let Some(events) = &mut sinks.events {
        events.tell(&facts.events);
    }
    let json_on_stdout = sinks.json.as_ref().is_some_and(JsonOut::is_stdout);
    if let Some(json) = sinks.json.take() {
        json.finish(facts)?;
    }
    let report = Report {
        facts,
        summary: &sinks.summary,
        asked,
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
    Ok(())
}

/// What was asked for, as the report has to know it.
pub(crate) fn asked(
    read: &ReadArgs,
    part: Option<&Part>,
    cut: &CutHeights,
    tapped: &[IpAddr],
    key_sources: bool,
    secrets: usize,
    stored: Option<String>,
) -> Asked {
    Asked {
        secrets,
        key_sources,
        selection: part.map(|part| part.words().to_owned()),
        cuts_heights: part.is_some_and(Part::cuts_heights),
        beside: cut.left_out().map(beside),
        tapped: tapped.to_vec(),
        ports: !read.ports.is_empty(),
        attach: (read.attach_search, read.attach_budget),
        no_mac: read.no_mac,
        no_signatures: read.no_signatures,
        stored,
    }
}

/// What lies outside of the part that was asked for, in words.
pub(crate) fn beside(left_out: LeftOut) -> String {
    let (first, last) = left_out.sequences;
    let (from, to) = left_out.seen;
    let heights = if first == last {
        format!("height {first}")
    } else {
        format!("heights {first} to {last}")
    };
    format!("{heights}, from {from} to {to}")
}
