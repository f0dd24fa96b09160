//! `--events`: each event as one line of JSON, as soon as it is known (docs/rules.md).
//!
//! While a run goes on heights are judged again and again, and the list of events comes whole each time. What was told is remembered by
//! what makes an event the same one: rule, time, place in the chain, and who is named. Lines that stand in the file already count as told,
//! so a monitor that is started again, or an analysis of the same captures, does not tell them twice.

use std::collections::HashSet;
use std::fs::File;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, BufReader, Read as _, Seek as _, Write};
use std::net::IpAddr;
use std::path::Path;

use anyhow::Context as _;
use bftap_analysis::facts::EventFact;
use serde::Deserialize;

use crate::term::{Level, safe_display, tell};

/// See the module's documentation.
pub(crate) struct EventsOut {
    out: Box<dyn Write + Send>,
    /// In words.
    place: String,
    told: HashSet<u64>,
    failed: bool,
}

/// What of a line makes the event the same one.
#[derive(Deserialize)]
struct Told {
    time_ns: i64,
    rule: String,
    chain: String,
    signer: Option<String>,
    sender: Option<String>,
    ip: Option<IpAddr>,
    sequence: Option<u64>,
    round: Option<u64>,
}

impl EventsOut {
    /// Opens the file to be appended to; `-` is standard error, since standard output is the report's.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::new(Box::new(io::stderr()), "standard error".to_owned()));
        }
        let place = safe_display(path.display());
        let failed = || format!("cannot write events to {place}");
        let mut told = HashSet::new();
        let is_file = path.metadata().map_or(true, |metadata| metadata.is_file());
        if is_file && path.exists() {
            let file = File::open(path).with_context(failed)?;
            told = already_told(BufReader::new(file)).with_context(failed)?;
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
            told: HashSet::new(),
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
            let key = identity(
                (event.time_ns.nanos(), event.rule, &event.chain),
                [event.signer.as_deref(), event.sender.as_deref()],
                event.ip,
                [event.sequence, event.round],
            );
            if self.told.insert(key) {
                serde_json::to_writer(&mut lines, event)?;
                lines.push(b'\n');
            }
        }
        if self.told.len() > MOST_TOLD.max(2 * events.len()) {
            // Those that are listed no more do not come again.
            self.told.clear();
            self.told.extend(events.iter().map(|event| {
                identity(
                    (event.time_ns.nanos(), event.rule, &event.chain),
                    [event.signer.as_deref(), event.sender.as_deref()],
                    event.ip,
                    [event.sequence, event.round],
                )
            }));
        }
        if lines.is_empty() {
            return Ok(());
        }
        // Whole lines at once, so that whoever reads along never sees half of one.
        self.out.write_all(&lines)?;
        self.out.flush()
    }
}

/// Events that are remembered as told.
const MOST_TOLD: usize = 1 << 18;

fn identity(
    what: (i64, &str, &str),
    who: [Option<&str>; 2],
    ip: Option<IpAddr>,
    view: [Option<u64>; 2],
) -> u64 {
    // Keyed with nothing, and so the same in every process.
    let mut hasher = DefaultHasher::new();
    (what, who, ip, view).hash(&mut hasher);
    hasher.finish()
}

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

/// The events in lines that are there; lines that are something else are left alone.
fn already_told(file: impl io::BufRead) -> io::Result<HashSet<u64>> {
    let mut told = HashSet::new();
    for line in file.split(b'\n') {
        let Ok(event) = serde_json::from_slice::<Told>(&line?) else {
            continue;
        };
        told.insert(identity(
            (event.time_ns, &event.rule, &event.chain),
            [event.signer.as_deref(), event.sender.as_deref()],
            event.ip,
            [event.sequence, event.round],
        ));
        if told.len() >= MOST_TOLD {
            break;
        }
    }
    Ok(told)
}

#[cfg(test)]
mod tests {
    use bftap_model::CaptureTime;

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
}
