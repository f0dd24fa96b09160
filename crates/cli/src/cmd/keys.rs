//! `bftap keys check`: what is in key sources, and which sessions of captures they open.

use std::io::{self, Write};
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use bftap_analysis::facts::{FactSink, HeightFacts, LinkCountFact, RunFacts, SessionFact, SessionState};
use bftap_decrypt::SecretStore;
use bftap_ibft_decode::SignatureCheck;
use bftap_pipeline::{AttachOptions, PipelineOptions, Progress};

use super::analyze::processors;
use crate::args::KeysCheckArgs;
use crate::exit::{Status, Usage};
use crate::inputs::{self, Inputs};
use crate::key_sources::{self, KeySources, describe};
use crate::progress::Bar;
use crate::report::{ATTACH_BUDGET, began_unseen, count, counted};
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
    sources.tell();
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
    } = inputs::open(&args.capture)?;
    if opened == 0 {
        return Err(anyhow!("there is no capture to read"));
    }
    let mut complete = opened == inputs.len();
    let mut options = PipelineOptions {
        jobs: processors(),
        ports: args.ports.iter().copied().collect(),
        signatures: SignatureCheck::Claimed,
        secrets: Arc::new(secrets),
        attach: AttachOptions::new(ATTACH_SEARCH_GIB, ATTACH_BUDGET_SECONDS),
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
            if !unopened.contains_key(&capture.path) {
                tell(Level::Error, &format!("{}: {problem}", safe(&capture.path)));
            }
        }
    }
    Ok((analysis.facts, complete))
}

fn write_sessions(facts: &RunFacts, style: Style, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "\n{}", style.paint(Ink::Heading, "SESSIONS IN THE CAPTURES"))?;
    let sessions = &facts.sessions;
    let findings: Vec<_> = Finding::ALL
        .into_iter()
        .map(|finding| {
            (
                finding,
                sessions
                    .iter()
                    .filter(|session| Finding::of(session) == finding)
                    .count(),
            )
        })
        .filter(|(finding, number)| *number > 0 || matches!(finding, Finding::Opened | Finding::NoSecret))
        .map(|(finding, number)| format!("{} {}", count(number as u64), finding.words(number)))
        .collect();
    writeln!(out, "  {}", findings.join(", "))?;
    if facts.totals.limits_reached.contains_key(ATTACH_BUDGET) {
        writeln!(
            out,
            "  more sessions from before the capture may be found by `bftap analyze`: a minute of processor time is all that \
             this check takes for them"
        )?;
    }
    // What lacks a key is what the user came for.
    for finding in Finding::ALL
        .into_iter()
        .rev()
        .filter(|finding| *finding != Finding::NoHandshake)
    {
        for session in sessions.iter().filter(|session| Finding::of(session) == finding) {
            write_session(session, finding, style, out)?;
        }
    }
    Ok(())
}

fn write_session(
    session: &SessionFact,
    finding: Finding,
    style: Style,
    out: &mut impl Write,
) -> io::Result<()> {
    let ink = if finding == Finding::Opened {
        Ink::Good
    } else {
        Ink::Bad
    };
    let mac = session
        .mac
        .map_or_else(String::new, |mac| format!(", MACs {}", mac.as_str()));
    let source = session
        .opened_by
        .as_deref()
        .map_or_else(String::new, |source| format!(", opened by {}", safe(source)));
    let detail = session
        .detail
        .as_deref()
        .map_or_else(String::new, |detail| format!(": {}", safe(detail)));
    writeln!(
        out,
        "  {} {} → {}  {}{mac}{source}{detail}",
        style.paint(ink, &format!("{:<12}", session.state.as_str())),
        session.initiator,
        session.recipient,
        counted(
            session.frames_from_initiator + session.frames_from_recipient,
            "frame",
            "frames"
        )
    )
}

/// What secrets did for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finding {
    Opened,
    NoSecret,
    Failed,
    Unseen,
    NoHandshake,
}

impl Finding {
    /// What is listed last comes first.
    const ALL: [Self; 5] = [
        Self::Opened,
        Self::NoSecret,
        Self::Failed,
        Self::Unseen,
        Self::NoHandshake,
    ];

    fn of(session: &SessionFact) -> Self {
        match session.state {
            SessionState::Decrypted | SessionState::Lost => Self::Opened,
            SessionState::NoSecret if began_unseen(session) => Self::Unseen,
            SessionState::NoSecret => Self::NoSecret,
            SessionState::Failed => Self::Failed,
            SessionState::NoHandshake => Self::NoHandshake,
        }
    }

    const fn words(self, number: usize) -> &'static str {
        match self {
            Self::Opened if number == 1 => "session opened",
            Self::Opened => "sessions opened",
            Self::NoSecret => "without a secret",
            Self::Failed => "with a secret that does not open it",
            Self::Unseen => "from before the capture, and no secret opens it at a place within the first GiB",
            Self::NoHandshake => "that ended before keys were agreed",
        }
    }
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

/// How far, and how long, sessions joined in the middle are looked for: enough for most, and no wait that a check is not worth.
const ATTACH_SEARCH_GIB: u64 = 1;
const ATTACH_BUDGET_SECONDS: u64 = 60;

/// Files listed one by one; the original tool's layout has one a session.
const MOST_FILES: usize = 50;
