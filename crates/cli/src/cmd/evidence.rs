//! `bftap evidence`: the signed messages behind an event, for others to check.
//!
//! An analysis keeps no bytes of messages, so the captures are read again: once for the messages of the height and the one before, once for the
//! packets that carried those that were chosen.

mod collect;
mod event;
mod folder;
mod packets;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use bftap_evidence::{
    Bundle, CaptureEntry, ClaimKind, Finding, Manifest, Outcome, SignedBy, SigningKey, Verdict, build,
    choose, verify,
};
use bftap_model::{Address, Endpoint};
use bftap_store::{Access, RunDetails, RunId, StoreUrl, open};
use zeroize::Zeroizing;

use crate::args::{EvidenceArgs, EvidenceCommand, EvidenceKeygenArgs, EvidenceMakeArgs, EvidenceVerifyArgs};
use crate::exit::{Status, Usage};
use crate::report::{Cell, Page, Table, count, counted};
use crate::store_url;
use crate::term::{Ink, Level, Style, safe, safe_display, tell};

use collect::Collected;
use event::StoredEvent;

/// Runs the command.
pub(crate) fn run(args: &EvidenceArgs) -> anyhow::Result<Status> {
    match &args.command {
        Some(EvidenceCommand::Verify(args)) => check(args),
        Some(EvidenceCommand::Keygen(args)) => keygen(args),
        None => match (args.make.event, &args.make.output) {
            (Some(number), Some(output)) => make(&args.make, number, output),
            _ => list(&args.make),
        },
    }
}

/// Lists the events of a run.
fn list(args: &EvidenceMakeArgs) -> anyhow::Result<Status> {
    let details = stored(args)?;
    let mut page = Page::new(Style::of_stdout());
    page.heading("EVENTS", &format!("run {}", safe(&details.run.name)));
    let mut table = Table::new()
        .numbers("event")
        .words("rule")
        .words("severity")
        .words("time")
        .words("height")
        .words("round")
        .words("blamed")
        .words("suspicious")
        .words("evidence");
    for row in &details.events {
        let event = StoredEvent::of(row, &details);
        let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), count);
        table.row([
            count(u64::try_from(event.number).unwrap_or(0)).into(),
            event.rule.as_str().into(),
            event.severity.as_str().into(),
            event.time().into(),
            number(event.sequence).into(),
            number(event.round).into(),
            event.blamed().unwrap_or_else(|| "-".to_owned()).into(),
            Cell::from(if event.suspicious { "yes" } else { "no" }).ink_if(event.suspicious, Ink::Bad),
            match event.accusation() {
                Ok(_) => "yes",
                Err(_) => "no",
            }
            .into(),
        ]);
    }
    page.table(&table);
    if details.events.is_empty() {
        page.line("none");
    } else {
        page.paragraph(
            Ink::Faint,
            "",
            "blamed: who signed, else who handed it over · suspicious: no honest node does that · evidence: whether signed \
             messages can show it; bftap evidence EVENT -o DIR makes a bundle of them.",
        );
    }
    print(&page.into_text())?;
    Ok(Status::Complete)
}

fn stored(args: &EvidenceMakeArgs) -> anyhow::Result<RunDetails> {
    let url = store_url::resolve(args.store.as_deref(), args.store_file.as_deref())?;
    if url == StoreUrl::None {
        return Err(Usage("there is no store: name one with --store".to_owned()).into());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    runtime.block_on(async {
        let mut store = open(&url, Access::Read).await?;
        let run = store.find_run(args.run.as_deref()).await?;
        let details = store.details(RunId(run.run_id)).await?;
        store.close().await?;
        Ok(details)
    })
}

/// Makes a bundle.
fn make(args: &EvidenceMakeArgs, number: u32, output: &Path) -> anyhow::Result<Status> {
    folder::check_free(output)?;
    let key = args.sign_key.as_deref().map(read_key).transpose()?;
    let details = stored(args)?;
    let row = details
        .events
        .iter()
        .find(|row| row.event_number == i64::from(number));
    let row = row.ok_or_else(|| {
        Usage(format!(
            "the run {} has no event {number}; bftap evidence lists them",
            safe(&details.run.name)
        ))
    })?;
    let event = StoredEvent::of(row, &details);
    let accusation = event
        .accusation()
        .map_err(|why| Usage(format!("no evidence can be made for event {number}: {why}")))?;

    let paths = capture_paths(args, &details)?;
    let Collected {
        collector,
        captures,
        nodes,
    } = collect::read(args, &paths, &event.chain, accusation.sequence)?;
    let of_the_run = check_captures(args, &details, &captures)?;
    let mut limits = BTreeMap::new();
    if collector.left_out() > 0 {
        limits.insert("collected_messages".to_owned(), collector.left_out());
    }
    let chosen = choose(&collector, &accusation)
        .with_context(|| format!("no evidence can be made for event {number}"))?;
    for payload in &chosen.missing {
        tell(
            Level::Warning,
            &format!("the event names payload {payload}, and the captures do not hold it"),
        );
    }

    let found = packets::find(&paths, &chosen, &collector)?;
    for (before, now) in captures.iter().zip(&found.captures) {
        if before.sha256 != now.sha256 {
            return Err(anyhow!("{} was changed while it was read", safe(&before.path)));
        }
    }
    // Numbers of captures are those of their sorted names, wherever the files lie.
    let mut entries: Vec<(CaptureEntry, usize)> = captures
        .iter()
        .enumerate()
        .map(|(index, capture)| {
            let entry = CaptureEntry {
                name: packets::file_name(&capture.path),
                sha256: capture.sha256.clone(),
                of_the_run: of_the_run[index],
            };
            (entry, index)
        })
        .collect();
    entries.sort();
    let mut place = vec![0; entries.len()];
    for (now, (_, before)) in entries.iter().enumerate() {
        place[*before] = now;
    }
    let mut packets = found.packets;
    for packet in packets.of.values_mut().flatten() {
        packet.capture = place.get(packet.capture).copied().unwrap_or(usize::MAX);
    }

    let names = event::Names::new(&nodes, &details);
    let built = build(Bundle {
        tool: format!("bftap {}", env!("CARGO_PKG_VERSION")),
        event: event.entry(&details.run.name),
        chosen: &chosen,
        collector: &collector,
        name: &|end: Endpoint, address: Option<Address>| names.of(end, address),
        captures: entries.into_iter().map(|(entry, _)| entry).collect(),
        packets: Some(packets),
        limits,
        key: key.as_ref(),
    })?;
    folder::write(output, &built.files)?;

    // What was written is read again, as a stranger would.
    let verdict = verify(&mut folder::Folder::new(output), None);
    if let Some(problem) = verdict.problems.first() {
        return Err(anyhow!(
            "{}: the bundle does not hold: {problem}",
            safe_display(output.display())
        ));
    }
    let manifest = verdict.manifest.as_ref();
    let mut text = format!(
        "{}: {}, {}\n",
        safe_display(output.display()),
        counted(
            manifest.map_or(0, |manifest| manifest.messages.len() as u64),
            "message",
            "messages"
        ),
        counted(
            manifest
                .and_then(|manifest| manifest.packets.as_ref())
                .map_or(0, |packets| packets.count),
            "packet",
            "packets"
        )
    );
    let style = Style::of_stdout();
    write_findings(&mut text, &built.findings, style);
    text.push_str(&conclusion(&verdict));
    text.push('\n');
    print(&text)?;
    Ok(Status::Complete)
}

/// The captures that the run names, or those that the user names instead.
fn capture_paths(args: &EvidenceMakeArgs, details: &RunDetails) -> anyhow::Result<Vec<PathBuf>> {
    if !args.capture.is_empty() {
        return Ok(args.capture.clone());
    }
    let mut paths = Vec::with_capacity(details.captures.len());
    for capture in &details.captures {
        let path = PathBuf::from(&capture.path);
        if capture.path == "-" || capture.sha256.is_empty() {
            return Err(Usage(format!(
                "the run was not made from files alone ({}): name captures of the same traffic with --capture",
                safe(&capture.path)
            ))
            .into());
        }
        if !path.is_file() {
            return Err(anyhow!(
                "the run's capture {} is not there: name it with --capture, or run this in the folder where the run was made",
                safe(&capture.path)
            ));
        }
        paths.push(path);
    }
    if paths.is_empty() {
        return Err(Usage("the run names no captures: name them with --capture".to_owned()).into());
    }
    Ok(paths)
}

/// Whether each capture is one that the run was made from, by its content.
fn check_captures(
    args: &EvidenceMakeArgs,
    details: &RunDetails,
    captures: &[bftap_analysis::facts::CaptureFact],
) -> anyhow::Result<Vec<bool>> {
    let mut of_the_run = Vec::with_capacity(captures.len());
    for capture in captures {
        let known = !capture.sha256.is_empty()
            && details
                .captures
                .iter()
                .any(|row| row.sha256.eq_ignore_ascii_case(&capture.sha256));
        if !known && args.capture.is_empty() {
            return Err(anyhow!(
                "the run's capture {} has changed since: name the right one with --capture",
                safe(&capture.path)
            ));
        }
        if !known {
            tell(
                Level::Warning,
                &format!(
                    "{} is none of the captures that the run was made from; the bundle says so",
                    safe(&capture.path)
                ),
            );
        }
        of_the_run.push(known);
    }
    Ok(of_the_run)
}

fn read_key(path: &Path) -> anyhow::Result<SigningKey> {
    let shown = safe_display(path.display());
    let mut text = Zeroizing::new(String::new());
    let file = File::open(path).map_err(|error| Usage(format!("cannot read --sign-key {shown}: {error}")))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        if file
            .metadata()
            .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o077 != 0)
        {
            tell(
                Level::Warning,
                &format!("--sign-key {shown}: others can read it; make it your own with chmod 600"),
            );
        }
    }
    file.take(MAX_KEY)
        .read_to_string(&mut text)
        .map_err(|error| Usage(format!("cannot read --sign-key {shown}: {error}")))?;
    SigningKey::from_text(&text).map_err(|error| Usage(format!("--sign-key {shown}: {error}")).into())
}

/// Makes a key.
fn keygen(args: &EvidenceKeygenArgs) -> anyhow::Result<Status> {
    let shown = safe_display(args.file.display());
    let mut random = File::open("/dev/urandom").context("there is no source of random numbers")?;
    let (digits, key) = loop {
        let mut bytes = Zeroizing::new([0; 32]);
        random
            .read_exact(&mut *bytes)
            .context("there is no source of random numbers")?;
        // A draw that is no key comes once in 2^128.
        if let Ok(key) = SigningKey::from_bytes(*bytes) {
            break (Zeroizing::new(hex::encode(*bytes) + "\n"), key);
        }
    };
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options
        .open(&args.file)
        .and_then(|mut file| file.write_all(digits.as_bytes()))
        .with_context(|| format!("cannot write {shown}"))?;
    print(&format!(
        "{shown}: a new key; keep it to yourself. Its public half, for whoever checks your bundles:\n{}\n",
        key.public_key()
    ))?;
    Ok(Status::Complete)
}

/// Checks a bundle.
fn check(args: &EvidenceVerifyArgs) -> anyhow::Result<Status> {
    if !args.dir.is_dir() {
        return Err(Usage(format!("{} is no folder", safe_display(args.dir.display()))).into());
    }
    let verdict = verify(&mut folder::Folder::new(&args.dir), args.public_key.as_ref());
    print(&shown(&verdict, Style::of_stdout()))?;
    for problem in &verdict.problems {
        tell(Level::Error, &safe(problem));
    }
    Ok(match verdict.outcome() {
        Outcome::Proven => Status::Complete,
        Outcome::NotProven | Outcome::Broken => Status::Incomplete,
    })
}

fn shown(verdict: &Verdict, style: Style) -> String {
    let mut text = String::new();
    if verdict.outcome() != Outcome::Broken
        && let Some(manifest) = &verdict.manifest
    {
        text.push_str(&style.paint(Ink::Heading, &claim(manifest)));
        text.push('\n');
        write_findings(&mut text, &verdict.findings, style);
    }
    match verdict.signed {
        SignedBy::Nobody => {}
        SignedBy::TheKey(key) => text.push_str(&format!("signed by the key that was asked for, {key}\n")),
        SignedBy::Someone(key) => text.push_str(&format!(
            "signed by {key}: whose key that is must be known from elsewhere\n"
        )),
    }
    text.push_str(&conclusion(verdict));
    text.push('\n');
    text
}

fn claim(manifest: &Manifest) -> String {
    let claim = &manifest.claim;
    let round = claim
        .round
        .map(|round| format!(", round {round}"))
        .unwrap_or_default();
    let accused = claim
        .accused
        .map(|address| format!(", by {address}"))
        .unwrap_or_default();
    format!(
        "{} at height {}{round}{accused}",
        claim.what.as_str(),
        claim.sequence
    )
}

fn write_findings(text: &mut String, findings: &[Finding], style: Style) {
    for finding in findings {
        let (mark, ink) = match (finding.proven, finding.needed) {
            (true, _) => ("proven      ", Ink::Good),
            (false, true) => ("NOT PROVEN  ", Ink::Bad),
            (false, false) => ("not proven  ", Ink::Faint),
        };
        text.push_str(&format!("  {}{}\n", style.paint(ink, mark), safe(&finding.text)));
    }
}

fn conclusion(verdict: &Verdict) -> String {
    match verdict.outcome() {
        Outcome::Proven => {
            let rest = "Compare the hash of the sealed block with your own chain: README.md says what no bundle can prove.";
            let signed_only = verdict
                .manifest
                .as_ref()
                .filter(|manifest| manifest.claim.what == ClaimKind::Signed);
            match signed_only {
                Some(manifest) => format!(
                    "Proven is who signed these messages, and no more: what {} says beyond that no signature shows. {rest}",
                    safe(&manifest.event.rule)
                ),
                None => format!("The claim is proven. {rest}"),
            }
        }
        Outcome::NotProven => "The bundle is whole, but the claim is not fully proven.".to_owned(),
        Outcome::Broken => "The bundle is not whole, or not what it says: nothing in it counts.".to_owned(),
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .context("cannot write")
}

/// 64 digits and a few line ends.
const MAX_KEY: u64 = 256;
