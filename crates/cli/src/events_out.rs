//! `--events`: each event as one line of JSON, as soon as it is known (docs/rules.md).
//!
//! While a run goes on heights are judged again and again, and the list of events comes whole each time. What was told is remembered by
//! what makes an event the same one ([`Identity`]). Lines that stand in the file already count as told, so a monitor that is started again,
//! or an analysis of the same captures, does not tell them twice.
//!
//! Names of nodes and of chains are no part of that: they come late, and a nodes file changes them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, Write};
use std::net::IpAddr;
use std::path::Path;

use anyhow::Context as _;
use bftap_analysis::facts::EventFact;
use bftap_ibft_decode::Kind;
use serde::Deserialize;

use crate::term::{Level, safe_display, tell};

/// See the module's documentation.
pub(crate) struct EventsOut {
    out: Box<dyn Write + Send>,
    /// In words.
    place: String,
    told: Remembered,
    failed: bool,
}

/// What of a line makes the event the same one.
#[derive(Deserialize)]
struct Told<'a> {
    time_ns: i64,
    #[serde(borrow)]
    rule: Cow<'a, str>,
    #[serde(borrow)]
    signer: Option<Cow<'a, str>>,
    #[serde(borrow)]
    sender: Option<Cow<'a, str>>,
    #[serde(borrow)]
    address: Option<Cow<'a, str>>,
    ip: Option<IpAddr>,
    sequence: Option<u64>,
    round: Option<u64>,
    #[serde(borrow)]
    kind: Option<Cow<'a, str>>,
}

impl Told<'_> {
    fn identity(&self) -> u64 {
        Identity {
            time: self.time_ns,
            rule: &self.rule,
            who: Who::of(
                self.signer.as_deref(),
                self.sender.as_deref(),
                self.address.as_deref(),
                self.ip,
            ),
            view: (self.sequence, self.round),
            kind: self.kind.as_deref(),
        }
        .hashed()
    }
}

/// What makes an event the same one, whatever is learnt of it later.
#[derive(Hash)]
struct Identity<'a> {
    time: i64,
    rule: &'a str,
    who: Who<'a>,
    view: (Option<u64>, Option<u64>),
    kind: Option<&'a str>,
}

/// The blamed node by what cannot change. Of a signer the key is known from the first sight on, where it is may be learnt later; of a sender it is
/// the other way round.
#[derive(Hash)]
enum Who<'a> {
    Address(Cow<'a, str>),
    Ip(IpAddr),
    /// Nothing else is known.
    Label(&'a str),
    Nobody,
}

impl<'a> Who<'a> {
    fn of(
        signer: Option<&'a str>,
        sender: Option<&'a str>,
        address: Option<impl Into<Cow<'a, str>>>,
        ip: Option<IpAddr>,
    ) -> Self {
        let address = address.map(|address| Self::Address(address.into()));
        let ip = ip.map(Self::Ip);
        let known = if signer.is_some() {
            address.or(ip)
        } else {
            ip.or(address)
        };
        let label = signer
            .or(sender)
            .map(|label| Self::Label(start(label, MAX_LABEL)));
        known.or(label).unwrap_or(Self::Nobody)
    }
}

impl Identity<'_> {
    fn of(event: &EventFact) -> u64 {
        Identity {
            time: event.time_ns.nanos(),
            rule: event.rule,
            who: Who::of(
                event.signer.as_deref(),
                event.sender.as_deref(),
                event.address.map(|address| address.to_string()),
                event.ip,
            ),
            view: (event.sequence, event.round),
            kind: event.kind.map(Kind::as_str),
        }
        .hashed()
    }

    fn hashed(&self) -> u64 {
        // Keyed with nothing, and so the same in every process.
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

/// Identities of events that were told, and when they were listed last: of more than so many, those that were listed last.
struct Remembered {
    last_listed: HashMap<u64, u64>,
    turn: u64,
    most: usize,
}

impl Remembered {
    fn new(most: usize) -> Self {
        Self {
            last_listed: HashMap::new(),
            turn: 0,
            most,
        }
    }

    /// Notes that an event is listed; true if it was not remembered.
    fn note(&mut self, event: u64) -> bool {
        self.last_listed.insert(event, self.turn).is_none()
    }

    /// What is noted from here on is newer. `listed` have just been noted, and stay.
    fn next_turn(&mut self, listed: usize) {
        let most = self.most.max(listed);
        // Twice as many before they are sorted: so each costs a few steps only.
        if self.last_listed.len() > 2 * most {
            let mut turns: Vec<u64> = self.last_listed.values().copied().collect();
            let (_, oldest, _) = turns.select_nth_unstable_by(most - 1, |a, b| b.cmp(a));
            let oldest = *oldest;
            self.last_listed.retain(|_, turn| *turn >= oldest);
        }
        self.turn += 1;
    }
}

impl EventsOut {
    /// Opens the file to be appended to; `-` is standard error, since standard output is the report's.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::new(Box::new(io::stderr()), "standard error".to_owned()));
        }
        let place = safe_display(path.display());
        let failed = || format!("cannot write events to {place}");
        let mut told = Remembered::new(MOST_TOLD);
        let is_file = path.metadata().map_or(true, |metadata| metadata.is_file());
        if is_file && path.exists() {
            let file = File::open(path).with_context(failed)?;
            already_told(BufReader::new(file), &mut told).with_context(failed)?;
        }
        let cut = is_file && path.exists() && ends_in_a_line(path).with_context(failed)?;
        let file = File::options().append(true).create(is_file).open(path);
        let mut file = file.with_context(failed)?;
        if cut {
            // A kill left half a line; what follows must not be a part of it.
            file.write_all(b"\n").with_context(failed)?;
        }
        let mut out = Self::new(Box::new(file), place.clone());
        out.told = told;
        Ok(out)
    }

    fn new(out: Box<dyn Write + Send>, place: String) -> Self {
        Self {
            out,
            place,
            told: Remembered::new(MOST_TOLD),
            failed: false,
        }
    }

    /// Tells those that were not told yet. A file that cannot be written is told once, and ends nothing.
    pub(crate) fn tell(&mut self, events: &[EventFact]) {
        if self.failed {
            return;
        }
        if let Err(error) = self.write(events) {
            self.failed = true;
            tell(
                Level::Error,
                &format!("{}: no more events are written: {error}", self.place),
            );
        }
    }

    /// Something could not be written.
    pub(crate) const fn has_failed(&self) -> bool {
        self.failed
    }

    fn write(&mut self, events: &[EventFact]) -> io::Result<()> {
        let mut lines = Vec::new();
        for event in events {
            if self.told.note(Identity::of(event)) {
                put_line(&mut lines, event)?;
            }
        }
        self.told.next_turn(events.len());
        if lines.is_empty() {
            return Ok(());
        }
        // Whole lines at once, so that whoever reads along never sees half of one.
        self.out.write_all(&lines)?;
        self.out.flush()
    }
}

/// One line, of at most [`MAX_LINE`] bytes: texts that are too long for it are cut, and end in `…`.
fn put_line(lines: &mut Vec<u8>, event: &EventFact) -> io::Result<()> {
    let start_of_line = lines.len();
    serde_json::to_writer(&mut *lines, event)?;
    if lines.len() - start_of_line >= MAX_LINE {
        lines.truncate(start_of_line);
        let cut = |text: &str, most: usize| match start(text, most) {
            whole if whole.len() == text.len() => whole.to_owned(),
            part => format!("{part}…"),
        };
        let mut event = event.clone();
        event.detail = cut(&event.detail, MAX_DETAIL);
        event.signer = event.signer.map(|label| cut(&label, MAX_LABEL).into());
        event.sender = event.sender.map(|label| cut(&label, MAX_LABEL).into());
        event.payloads.truncate(MAX_PAYLOADS);
        serde_json::to_writer(&mut *lines, &event)?;
    }
    lines.push(b'\n');
    Ok(())
}

/// As much of a text as fits into so many bytes.
fn start(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Events that are remembered as told, the latest of them; 9 MB.
const MOST_TOLD: usize = 1 << 18;

/// Bytes of a line with its end.
const MAX_LINE: usize = 16 << 10;

/// Bytes of `detail` in a line that is too long otherwise. JSON makes six of a control character at most.
const MAX_DETAIL: usize = 1000;

/// Bytes of a node in text, in such a line.
const MAX_LABEL: usize = 255;

/// Hashes in such a line.
const MAX_PAYLOADS: usize = 16;

/// Whether a file ends before its last line does.
fn ends_in_a_line(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    if file.seek(io::SeekFrom::End(0))? == 0 {
        return Ok(false);
    }
    file.seek(io::SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

/// The events in lines that are there; lines that are something else, or longer than ours are, are left alone.
fn already_told(mut file: impl io::BufRead, told: &mut Remembered) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = (&mut file)
            .take(MAX_LINE as u64 + 1)
            .read_until(b'\n', &mut line)?;
        if length == 0 {
            return Ok(());
        }
        if length > MAX_LINE && line.last() != Some(&b'\n') {
            skip_line(&mut file)?;
            continue;
        }
        if let Ok(event) = serde_json::from_slice::<Told<'_>>(&line) {
            told.note(event.identity());
            told.next_turn(1);
        }
    }
}

/// Reads to the end of a line without keeping it.
fn skip_line(file: &mut impl io::BufRead) -> io::Result<()> {
    loop {
        let buffer = file.fill_buf()?;
        if buffer.is_empty() {
            return Ok(());
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let used = end.map_or(buffer.len(), |end| end + 1);
        file.consume(used);
        if end.is_some() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use bftap_ibft_decode::Kind;
    use bftap_model::{Address, CaptureTime};

    use super::*;

    fn event(rule: &'static str, sequence: u64) -> EventFact {
        let mut event = EventFact::new(rule, CaptureTime::from_nanos(7), "why\n".to_owned());
        event.sequence = Some(sequence);
        event.signer = Some("cn1".into());
        event.ip = Some([10, 0, 0, 1].into());
        event.suspicious = true;
        event
    }

    fn lines(path: &Path) -> Vec<serde_json::Value> {
        let text = std::fs::read(path).unwrap();
        text.split(|byte| *byte == b'\n')
            .filter_map(|line| serde_json::from_slice(line).ok())
            .collect()
    }

    #[test]
    fn each_event_is_told_once_whatever_comes_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let mut out = EventsOut::open(&path).unwrap();
        out.tell(&[event("equivocation", 1)]);
        assert_eq!(lines(&path).len(), 1, "it is there at once");
        out.tell(&[event("equivocation", 1), event("equivocation", 2)]);
        drop(out);
        // A line that is none of ours, and half of one, as a kill leaves it.
        std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(b"{\"hello\": 1}\n\xff\n{\"rule\":\"equi")
            .unwrap();
        let mut out = EventsOut::open(&path).unwrap();
        out.tell(&[event("equivocation", 2), event("volume", 2)]);
        let lines = lines(&path);
        let rules: Vec<_> = lines.iter().map(|line| line["rule"].as_str()).collect();
        assert_eq!(
            rules,
            [Some("equivocation"), Some("equivocation"), None, Some("volume")]
        );
        assert_eq!(lines[0]["suspicious"], true);
        assert_eq!(lines[0]["ip"], "10.0.0.1");
        assert_eq!(lines[0]["sequence"], 1);
        assert!(!out.has_failed());
        assert!(EventsOut::open(folder.path()).is_err());
    }

    fn identity(event: &EventFact) -> u64 {
        let mut line = Vec::new();
        put_line(&mut line, event).unwrap();
        let told: Told<'_> = serde_json::from_slice(&line).unwrap();
        assert_eq!(told.identity(), Identity::of(event), "a line is told from itself");
        told.identity()
    }

    #[test]
    fn what_is_learnt_later_makes_no_other_event() {
        let mut signed = event("equivocation", 1);
        signed.address = Some(Address([1; 20]));
        signed.ip = None;
        let first = identity(&signed);
        signed.signer = Some("a name".into());
        signed.ip = Some([10, 0, 0, 3].into());
        signed.chain = "1000/0x01".into();
        assert_eq!(identity(&signed), first, "a signer is its key");
        signed.address = Some(Address([2; 20]));
        assert_ne!(identity(&signed), first);

        let mut sent = event("volume", 1);
        sent.signer = None;
        sent.sender = Some("10.0.0.1".into());
        let first = identity(&sent);
        sent.sender = Some("cn1".into());
        sent.address = Some(Address([1; 20]));
        assert_eq!(identity(&sent), first, "a sender is where it is");
        sent.ip = Some([10, 0, 0, 2].into());
        assert_ne!(identity(&sent), first);
    }

    #[test]
    fn everything_else_does() {
        let one = event("equivocation", 1);
        let mut others = vec![one.clone(); 5];
        others[0].kind = Some(Kind::Commit);
        others[1].kind = Some(Kind::Prepare);
        others[2].round = Some(0);
        others[3].sequence = None;
        others[4].rule = "volume";
        let mut all: Vec<u64> = others.iter().chain([&one]).map(identity).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 6);
    }

    #[test]
    fn lines_have_a_limit_and_longer_ones_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        // Somebody else's line without an end in sight, and one of ours behind it.
        let mut before = vec![b'x'; 3 * MAX_LINE];
        before.push(b'\n');
        put_line(&mut before, &event("volume", 9)).unwrap();
        std::fs::write(&path, before).unwrap();
        let mut long = event("equivocation", 1);
        long.detail = "\u{1}é".repeat(MAX_LINE);
        long.signer = Some("n".repeat(MAX_LINE).into());
        long.ip = None;
        let mut out = EventsOut::open(&path).unwrap();
        out.tell(&[event("volume", 9), long.clone()]);
        drop(out);
        EventsOut::open(&path).unwrap().tell(&[long]);
        let text = std::fs::read(&path).unwrap();
        let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
        assert_eq!(lines.len(), 3, "the long one is told once");
        assert!(lines[2].len() <= MAX_LINE, "{}", lines[2].len());
        let line: serde_json::Value = serde_json::from_slice(lines[2]).unwrap();
        assert!(line["detail"].as_str().unwrap().ends_with('…'));
        assert_eq!(line["sequence"], 1);
    }

    #[test]
    fn the_newest_are_remembered_and_whatever_is_listed() {
        let mut told = Remembered::new(4);
        for event in 0..100 {
            assert!(told.note(event), "{event}");
            // One that is listed from the start on, and never told again.
            assert_eq!(told.note(1000), event == 0);
            told.next_turn(2);
            assert!(told.last_listed.len() <= 9);
        }
        for event in 97..100 {
            assert!(!told.note(event), "{event}");
        }
        assert!(told.note(3), "the oldest are forgotten");
    }
}
