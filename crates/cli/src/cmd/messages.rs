//! `bftap messages`: one line per consensus message, while captures are read.

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use bftap_analysis::facts::{Label, SessionState};
use bftap_analysis::{Names, Observation, Occurrence, SessionInfo, SessionKey};
use bftap_ibft_decode::{Kind, Validity};
use bftap_model::{Address, CaptureTime, Direction, Hash256};
use serde::Serialize;

use crate::args::{MessagesArgs, NodeFilter, Span};
use crate::exit::{Status, Usage};
use crate::inputs;
use crate::report::{ATTACH_BUDGET, binary, counted, short};
use crate::results;
use crate::settings;
use crate::term::{Ink, Level, Style, safe, tell, width_of};

/// Runs the command.
pub(crate) fn run(args: &MessagesArgs) -> anyhow::Result<Status> {
    let settings = settings::gather(&args.input.read, &args.input.keys.keylog)?;
    let names = Names::new(&settings.nodes);
    for filter in args.sender.iter().chain(&args.receiver).chain(&args.signer) {
        if let NodeFilter::Name(name) = filter
            && !settings.nodes.iter().any(|node| node.name == *name)
        {
            let name = safe(name);
            return Err(Usage(format!(
                "no node is named {name}: names come from --nodes; an address or an IP works too"
            ))
            .into());
        }
    }
    let opened = inputs::open(&args.input.captures)?;
    if opened.opened == 0 {
        return Err(anyhow!("there is no capture to read"));
    }
    let mut status = if opened.opened < opened.inputs.len() {
        Status::Incomplete
    } else {
        Status::Complete
    };
    let mut printer = Printer {
        out: io::stdout().lock(),
        style: Style::of_stdout(),
        json: args.json,
        filters: Filters::new(args),
        names,
        sessions: HashMap::new(),
        copies: CopyCounter::default(),
        printed: 0,
        unread: HashMap::new(),
        failed: None,
    };
    let options = settings.into_pipeline();
    let cut = Arc::clone(&options.selection.cut);
    let (captures, totals, problems) =
        bftap_pipeline::messages(opened.inputs, options, |observation| printer.take(observation));
    let Printer {
        mut out,
        printed,
        unread,
        failed,
        ..
    } = printer;
    if let Some(error) = failed {
        return Err(error).context("cannot write");
    }
    out.flush().context("cannot write")?;
    for problem in problems {
        tell(Level::Warning, &problem);
    }
    for capture in captures {
        if let Some(problem) = capture.problem {
            status = Status::Incomplete;
            if !opened.unopened.contains_key(&capture.path) {
                tell(Level::Error, &format!("{}: {problem}", safe(&capture.path)));
            }
        }
    }
    if printed == 0
        && totals.consensus_messages == 0
        && let Some(left_out) = cut.left_out()
    {
        let text = format!(
            "nothing lies in the part asked for; there are consensus messages of {}",
            results::beside(left_out)
        );
        tell(Level::Warning, &text);
    } else if printed == 0 && totals.consensus_messages > 0 {
        let text = format!(
            "no message passes the filters, out of {}",
            counted(
                totals.consensus_messages,
                "consensus message",
                "consensus messages"
            )
        );
        tell(Level::Warning, &text);
    }
    tell_what_is_missing(&unread, totals.undecodable.values().sum(), printed);
    if totals.limits.contains_key(ATTACH_BUDGET) {
        let text = format!(
            "the time for finding sessions without a handshake was used up after {} of key stream: there may be more \
             messages; --attach-budget allows more (now {} s)",
            binary(totals.searched_bytes),
            args.input.read.attach_budget
        );
        tell(Level::Warning, &text);
    }
    Ok(status)
}

/// Lines that are not there must not look like messages that were not sent.
fn tell_what_is_missing(unread: &HashMap<&'static str, u64>, undecodable: u64, printed: u64) {
    let mut states: Vec<_> = unread.iter().collect();
    states.sort_unstable();
    if let Some(without) = unread.get(SessionState::NoSecret.as_str()) {
        let advice = if printed == 0 {
            " (docs/exporting-secrets.md shows how to export secrets)"
        } else {
            ""
        };
        tell(
            Level::Warning,
            &format!(
                "{} without a secret: their messages are not shown{advice}",
                counted(*without, "session", "sessions")
            ),
        );
    }
    for (state, number) in states {
        if *state == SessionState::Lost.as_str() || *state == SessionState::Failed.as_str() {
            tell(
                Level::Warning,
                &format!(
                    "{} not read to the end: {state}",
                    counted(*number, "session", "sessions")
                ),
            );
        }
    }
    if undecodable > 0 {
        tell(
            Level::Warning,
            &format!(
                "{} could not be decoded",
                counted(
                    undecodable,
                    "message of a consensus code",
                    "messages of consensus codes"
                )
            ),
        );
    }
}

struct Printer<W> {
    out: W,
    style: Style,
    json: bool,
    filters: Filters,
    names: Names,
    sessions: HashMap<SessionKey, Ends>,
    copies: CopyCounter,
    printed: u64,
    unread: HashMap<&'static str, u64>,
    failed: Option<io::Error>,
}

/// The ends of a session in text, the initiator first.
#[derive(Debug)]
struct Ends {
    nodes: [Node; 2],
    chain: String,
}

#[derive(Clone, Debug)]
struct Node {
    ip: IpAddr,
    address: Option<Address>,
    label: Label,
}

/// One consensus message as it is shown.
#[derive(Debug, Serialize)]
struct Line<'a> {
    time_ns: i64,
    chain: &'a str,
    sender_ip: IpAddr,
    sender: &'a str,
    receiver_ip: IpAddr,
    receiver: &'a str,
    signer: Option<&'a str>,
    kind: &'static str,
    sequence: u64,
    round: u64,
    digest: Option<String>,
    /// Which copy of its payload at its receiver, from 1.
    copy: u64,
    signature: &'static str,
    payload: String,
    bytes: u32,
}

impl<W: Write> Printer<W> {
    /// Takes one observation; false when nobody reads on.
    fn take(&mut self, observation: Observation) -> bool {
        match observation {
            Observation::Session(key, info) => {
                for (at, end) in info.ends.iter().enumerate() {
                    if let Some(id) = info.node_ids[at].filter(|_| info.accepted[at]) {
                        self.names.saw(end.ip, id.address());
                    }
                }
                let ends = self.ends(&info);
                self.sessions.insert(key, ends);
                true
            }
            Observation::End(key, end) => {
                self.sessions.remove(&key);
                if end.state != SessionState::Decrypted && !end.candidate {
                    *self.unread.entry(end.state.as_str()).or_default() += 1;
                }
                true
            }
            Observation::Message(occurrence) => match self.print(&occurrence) {
                Ok(()) => true,
                Err(error) => {
                    self.failed = Some(error);
                    false
                }
            },
            Observation::Event(_) | Observation::Refused(_) => true,
        }
    }

    fn ends(&self, info: &SessionInfo) -> Ends {
        let node = |end: usize| {
            let ip = info.ends[end].ip;
            let address = info.node_ids[end]
                .filter(|_| info.accepted[end])
                .map(|id| id.address())
                .or_else(|| self.names.address_at(ip));
            Node {
                ip,
                address,
                label: self.names.label(ip, address),
            }
        };
        let chain = info
            .chain
            .as_ref()
            .map_or_else(|| "unknown".to_owned(), ToString::to_string);
        Ends {
            nodes: [node(0), node(1)],
            chain,
        }
    }

    fn print(&mut self, occurrence: &Occurrence) -> io::Result<()> {
        let Some(ends) = self.sessions.get(&occurrence.session) else {
            return Ok(());
        };
        let [initiator, recipient] = &ends.nodes;
        let (sender, receiver) = match occurrence.direction {
            Direction::FromInitiator => (initiator, recipient),
            Direction::FromRecipient => (recipient, initiator),
        };
        let message = &occurrence.payload.message;
        // Copies are counted whether they are shown or not.
        let copy = self.copies.next(receiver.ip, occurrence.payload.hash);
        let author = message.author();
        let view = message.view;
        if !self
            .filters
            .pass(sender, receiver, author, &self.names, message.kind, view.round)
        {
            return Ok(());
        }
        let signer = author.map(|address| self.names.label_of(address));
        let line = Line {
            time_ns: occurrence.seen.nanos(),
            chain: &ends.chain,
            sender_ip: sender.ip,
            sender: &sender.label,
            receiver_ip: receiver.ip,
            receiver: &receiver.label,
            signer: signer.as_deref(),
            kind: message.kind.as_str(),
            sequence: view.sequence,
            round: view.round,
            digest: message.digest.map(|digest| digest.to_string()),
            copy,
            signature: message.validity.as_str(),
            payload: occurrence.payload.hash.to_string(),
            bytes: occurrence.wire_len,
        };
        self.printed += 1;
        if self.json {
            serde_json::to_writer(&mut self.out, &line)?;
            self.out.write_all(b"\n")
        } else {
            write_text(&mut self.out, &line, message.validity, self.style)
        }
    }
}

fn write_text(out: &mut impl Write, line: &Line<'_>, validity: Validity, style: Style) -> io::Result<()> {
    let time = CaptureTime::from_nanos(line.time_ns);
    let digest = line
        .digest
        .as_deref()
        .map_or("-", |digest| digest.get(..10).unwrap_or(digest));
    let copy = match line.copy {
        1 => "copy 1".to_owned(),
        copy => style.paint(Ink::Warning, &format!("copy {copy}")),
    };
    let trouble = if validity.is_invalid() {
        format!(
            "  {}",
            style.paint(Ink::Bad, &format!("signature {}", validity.as_str()))
        )
    } else {
        String::new()
    };
    writeln!(
        out,
        "{time}  {} → {}  {:<11}  seq {:<8} round {:<2}  signer {}  digest {digest}  {copy}{trouble}",
        padded(line.sender, NAME_COLUMNS),
        padded(line.receiver, NAME_COLUMNS),
        line.kind,
        line.sequence,
        line.round,
        padded(line.signer.unwrap_or("-"), NAME_COLUMNS),
    )
}

fn padded(label: &str, columns: usize) -> String {
    let text = short(label);
    let text = safe(&text);
    format!("{text}{}", " ".repeat(columns.saturating_sub(width_of(&text))))
}

/// Columns for a name: IPv4 addresses and shortened addresses line up.
const NAME_COLUMNS: usize = 13;

struct Filters {
    sender: Vec<NodeFilter>,
    receiver: Vec<NodeFilter>,
    signer: Vec<NodeFilter>,
    kind: Vec<Kind>,
    round: Option<Span>,
}

impl Filters {
    fn new(args: &MessagesArgs) -> Self {
        Self {
            sender: args.sender.clone(),
            receiver: args.receiver.clone(),
            signer: args.signer.clone(),
            kind: args.kind.clone(),
            round: args.round,
        }
    }

    fn pass(
        &self,
        sender: &Node,
        receiver: &Node,
        signer: Option<Address>,
        names: &Names,
        kind: Kind,
        round: u64,
    ) -> bool {
        let node = |filters: &[NodeFilter], node: &Node| {
            filters.is_empty()
                || filters.iter().any(|filter| match filter {
                    NodeFilter::Ip(ip) => *ip == node.ip,
                    NodeFilter::Address(address) => Some(*address) == node.address,
                    NodeFilter::Name(name) => **name == *node.label,
                })
        };
        let signed = self.signer.is_empty()
            || self.signer.iter().any(|filter| match filter {
                NodeFilter::Ip(ip) => signer.is_some() && names.address_at(*ip) == signer,
                NodeFilter::Address(address) => Some(*address) == signer,
                NodeFilter::Name(name) => signer
                    .and_then(|signer| names.name(signer))
                    .is_some_and(|known| **known == **name),
            });
        signed
            && node(&self.sender, sender)
            && node(&self.receiver, receiver)
            && (self.kind.is_empty() || self.kind.contains(&kind))
            && self.round.is_none_or(|span| span.contains(round))
    }
}

/// Counts copies of payloads at receivers, in bounded memory: what was not seen again for long is forgotten.
#[derive(Default)]
struct CopyCounter {
    recent: HashMap<(IpAddr, Hash256), u64>,
    older: HashMap<(IpAddr, Hash256), u64>,
}

impl CopyCounter {
    /// Number of this copy, from 1.
    fn next(&mut self, receiver: IpAddr, payload: Hash256) -> u64 {
        if self.recent.len() >= GENERATION {
            self.older = std::mem::take(&mut self.recent);
        }
        let key = (receiver, payload);
        let older = &self.older;
        let copies = self
            .recent
            .entry(key)
            .or_insert_with(|| older.get(&key).copied().unwrap_or(0));
        *copies += 1;
        *copies
    }
}

/// Payloads of one generation: minutes of a large network, some 15 MiB.
const GENERATION: usize = 1 << 17;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_counted_by_receiver_and_forgotten_in_time() {
        let mut counter = CopyCounter::default();
        let hash = |number: u32| {
            let mut bytes = [0; 32];
            bytes[..4].copy_from_slice(&number.to_be_bytes());
            Hash256(bytes)
        };
        let (a, b) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        assert_eq!(
            [
                counter.next(a, hash(0)),
                counter.next(a, hash(0)),
                counter.next(b, hash(0))
            ],
            [1, 2, 1]
        );
        for number in 1..GENERATION as u32 + 10 {
            counter.next(a, hash(number));
        }
        assert_eq!(counter.next(a, hash(0)), 3, "one generation back is still known");
        for number in 1..3 * GENERATION as u32 {
            counter.next(b, hash(number));
        }
        assert!(counter.recent.len() + counter.older.len() <= 2 * GENERATION);
        assert_eq!(counter.next(a, hash(0)), 1);
    }

    #[test]
    fn lines_are_harmless_and_line_up() {
        let line = Line {
            time_ns: 0,
            chain: "unknown",
            sender_ip: [10, 0, 0, 1].into(),
            sender: "cn1",
            receiver_ip: [10, 0, 0, 2].into(),
            receiver: "cn\x1b[2J",
            signer: None,
            kind: "prepare",
            sequence: 12,
            round: 0,
            digest: Some(format!("0x{}", "ab".repeat(32))),
            copy: 2,
            signature: "unrecoverable",
            payload: String::new(),
            bytes: 288,
        };
        let mut out = Vec::new();
        write_text(
            &mut out,
            &line,
            Validity::Unrecoverable,
            Style {
                width: 100,
                colour: false,
            },
        )
        .unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "1970-01-01T00:00:00.000000000Z  cn1           → cn\\u{1b}[2J    prepare      seq 12       round 0   signer -  \
             \x20           digest 0xabababab  copy 2  signature unrecoverable\n"
        );
    }
}
