//! `bftap keys check`: what is in key sources, and which sessions of captures they open.

use std::io::{self, Write};
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use bftap_analysis::facts::{FactSink, HeightFacts, LinkCountFact, RunFacts, SessionFact, SessionState};
use bftap_decrypt::SecretStore;
use bftap_ibft_decode::SignatureCheck;
use bftap_pipeline::{PipelineOptions, Progress};

use super::analyze::processors;
use crate::args::KeysCheckArgs;
use crate::exit::{Status, Usage};
use crate::inputs::{self, Inputs};
use crate::key_sources::{self, KeySources, describe};
use crate::progress::Bar;
use crate::report::{count, counted};
use crate::term::{Ink, Level, Style, safe, tell};

/// Runs the command.
///
/// [`Status::Incomplete`] when a line or a capture cannot be read. A session without a secret is a finding, not a failure.
pub(crate) fn check(args: &KeysCheckArgs) -> anyhow::Result<Status> {
    let secrets = SecretStore::new();
    let sources = key_sources::load(&args.paths, &secrets).map_err(|error| Usage(error.to_string()))?;
    let style = Style::of_stdout();
    let mut out = io::stdout().lock();
    write_sources(&sources, &secrets, style, &mut out).context("cannot write")?;
    for warning in sources.warnings() {
        tell(Level::Warning, &warning);
    }
    let damaged = !sources.unreadable.is_empty() || sources.files.iter().any(|file| file.problem_count > 0);
    let mut status = if damaged {
        Status::Incomplete
    } else {
        Status::Complete
    };
    if !args.capture.is_empty() {
        let (facts, complete) = sessions(args, secrets)?;
        if !complete {
            status = Status::Incomplete;
        }
        write_sessions(&facts, style, &mut out).context("cannot write")?;
    }
    out.flush().context("cannot write")?;
    Ok(status)
}

fn write_sources(
    sources: &KeySources,
    secrets: &SecretStore,
    style: Style,
    out: &mut impl Write,
) -> io::Result<()> {
    writeln!(out, "{}", style.paint(Ink::Heading, "KEY SOURCES"))?;
    for file in sources.files.iter().take(MOST_FILES) {
        let mut line = format!("  {}: {}", file.shown, describe(file));
        if file.added.known > 0 {
            line.push_str(&format!(
                ", {} known already (the other end's line, or a copy)",
                count(file.added.known)
            ));
        }
        if file.problem_count > 0 {
            line.push_str(&format!(
                ", {}",
                counted(file.problem_count, "damaged line", "damaged lines")
            ));
        }
        writeln!(out, "{line}")?;
    }
    if sources.files.len() > MOST_FILES {
        writeln!(
            out,
            "  and {} more files",
            count((sources.files.len() - MOST_FILES) as u64)
        )?;
    }
    let counts = secrets.counts();
    writeln!(
        out,
        "  in all {}: {} with MAC keys, {} without; {} named, {} to be found by trial",
        counted(
            (counts.whole + counts.aes_named + counts.aes_only) as u64,
            "secret",
            "secrets"
        ),
        count(counts.whole as u64),
        count((counts.aes_named + counts.aes_only) as u64),
        counted(counts.sessions as u64, "session", "sessions"),
        count(counts.aes_only as u64)
    )
}

/// Reads the captures with these secrets, for their sessions only.
fn sessions(args: &KeysCheckArgs, secrets: SecretStore) -> anyhow::Result<(RunFacts, bool)> {
    let Inputs {
        inputs,
        opened,
        unopened,
        length,
        read,
    } = inputs::open(&args.capture);
    if opened == 0 {
        return Err(anyhow!("there is no capture to read"));
    }
    let mut complete = opened == inputs.len();
    let mut options = PipelineOptions {
        jobs: processors(),
        ports: args.ports.iter().copied().collect(),
        signatures: SignatureCheck::Claimed,
        secrets: Arc::new(secrets),
        ..PipelineOptions::default()
    };
    options.analysis.ports = options.ports.clone();
    options.analysis.deliveries = false;
    let progress = Arc::new(Progress::default());
    let bar = Bar::show(length, read, Arc::clone(&progress));
    let analysis = bftap_pipeline::analyze(inputs, Arc::new(options), &progress, &mut Nowhere);
    drop(bar);
    let analysis = analysis?;
    for problem in &analysis.problems {
        tell(Level::Warning, problem);
    }
    for capture in &analysis.facts.captures {
        if let Some(problem) = &capture.problem {
            complete = false;
            if !unopened.contains(&capture.path) {
                tell(Level::Error, &format!("{}: {problem}", safe(&capture.path)));
            }
        }
    }
    Ok((analysis.facts, complete))
}

fn write_sessions(facts: &RunFacts, style: Style, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "\n{}", style.paint(Ink::Heading, "SESSIONS IN THE CAPTURES"))?;
    let (opened, closed): (Vec<_>, Vec<_>) = facts.sessions.iter().partition(|session| is_open(session));
    writeln!(
        out,
        "  {} opened, {} without a secret, {} that ended before keys were agreed",
        counted(opened.len() as u64, "session", "sessions"),
        count(
            closed
                .iter()
                .filter(|session| session.state != SessionState::NoHandshake)
                .count() as u64
        ),
        count(
            closed
                .iter()
                .filter(|session| session.state == SessionState::NoHandshake)
                .count() as u64
        )
    )?;
    // What lacks a key is what the user came for.
    let lacking = closed
        .iter()
        .filter(|session| session.state != SessionState::NoHandshake);
    for (session, ink) in lacking
        .map(|session| (*session, Ink::Bad))
        .chain(opened.iter().map(|session| (*session, Ink::Good)))
    {
        let mac = session
            .mac
            .map_or_else(String::new, |mac| format!(", MACs {}", mac.as_str()));
        let detail = session
            .detail
            .as_deref()
            .map_or_else(String::new, |detail| format!(": {}", safe(detail)));
        writeln!(
            out,
            "  {} {} → {}  {}{mac}{detail}",
            style.paint(ink, &format!("{:<12}", session.state.as_str())),
            session.initiator,
            session.recipient,
            counted(
                session.frames_from_initiator + session.frames_from_recipient,
                "frame",
                "frames"
            )
        )?;
    }
    Ok(())
}

fn is_open(session: &SessionFact) -> bool {
    matches!(session.state, SessionState::Decrypted | SessionState::Lost)
}

/// Takes heights and forgets them.
struct Nowhere;

impl FactSink for Nowhere {
    type Error = std::convert::Infallible;

    fn height(&mut self, _: &HeightFacts) -> Result<(), Self::Error> {
        Ok(())
    }

    fn minute(&mut self, _: &[LinkCountFact]) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// Files listed one by one; the original tool's layout has one a session.
const MOST_FILES: usize = 50;
