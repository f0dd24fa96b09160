//! Warnings: what the numbers above do not say, why, and what to do about it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bftap_analysis::facts::{Coverage, SessionFact, SessionState};
use bftap_model::{Endpoint, MacState};

use super::loss::{MIDSTREAM, binary};
use super::page::{Page, count, counted};
use super::sessions::began_unseen;
use super::{Report, bytes};
use crate::inputs::NOT_OPENED;
use crate::term::Ink;

pub(super) fn write(report: &Report<'_>, page: &mut Page) {
    let advice = all(report);
    if advice.is_empty() {
        page.heading("WARNINGS", "");
        page.line("none: everything in the capture was read");
    } else {
        page.heading("WARNINGS", "");
        for piece in &advice {
            page.paragraph(piece.ink, piece.mark, &piece.text);
        }
    }
    if let Some(stored) = &report.asked.stored {
        page.heading("STORED", "");
        page.line(stored);
    }
}

/// One warning.
#[derive(Debug)]
struct Advice {
    ink: Ink,
    mark: &'static str,
    text: String,
}

fn all(report: &Report<'_>) -> Vec<Advice> {
    let mut advice = Advices::default();
    unread_captures(report, &mut advice);
    advice.0.extend(of_unread_sessions(report));
    asked_for(report, &mut advice);
    lost_bytes(report, &mut advice);
    coverage(report, &mut advice);
    authenticity(report, &mut advice);
    not_understood(report, &mut advice);
    limits(report, &mut advice);
    packets(report, &mut advice);
    advice.0
}

#[derive(Default)]
struct Advices(Vec<Advice>);

impl Advices {
    fn bad(&mut self, text: impl Into<String>) {
        self.0.push(Advice {
            ink: Ink::Bad,
            mark: "✗ ",
            text: text.into(),
        });
    }

    fn warning(&mut self, text: impl Into<String>) {
        self.0.push(Advice {
            ink: Ink::Warning,
            mark: "! ",
            text: text.into(),
        });
    }

    fn note(&mut self, text: impl Into<String>) {
        self.0.push(Advice {
            ink: Ink::Faint,
            mark: "· ",
            text: text.into(),
        });
    }
}

fn unread_captures(report: &Report<'_>, advice: &mut Advices) {
    for capture in &report.facts.captures {
        if let Some(problem) = &capture.problem {
            advice.bad(if problem.starts_with(NOT_OPENED) {
                format!("{} {problem}. Nothing of it is in this report.", capture.path)
            } else {
                format!(
                    "{} was not read to its end: {problem}. What came before is in this report.",
                    capture.path
                )
            });
        }
    }
}

/// What could not be opened or read of sessions, what was asked for in vain, and what to do about it: for standard error, where the report
/// may not be seen.
pub(crate) fn unread_sessions(report: &Report<'_>) -> Vec<String> {
    let mut advice = Advices(of_unread_sessions(report));
    asked_for(report, &mut advice);
    let all = advice.0.into_iter();
    all.filter(|advice| advice.ink != Ink::Faint)
        .map(|advice| advice.text)
        .collect()
}

fn of_unread_sessions(report: &Report<'_>) -> Vec<Advice> {
    let mut advice = Advices::default();
    let sessions = &report.facts.sessions;
    let number = |state| sessions.iter().filter(|session| session.state == state).count() as u64;
    let opened = number(SessionState::Decrypted) + number(SessionState::Lost);
    let unseen = sessions.iter().filter(|session| began_unseen(session)).count() as u64;
    let without = number(SessionState::NoSecret) - unseen;
    if sessions.is_empty() {
        if report.facts.totals.tcp_packets == 0 {
            advice.warning(
                "There is no TCP packet in the capture. Was it taken on the interface that the nodes' traffic crosses?",
            );
        } else if report.asked.ports {
            advice.warning(
                "No RLPx session was found on the given ports. Leave out --port to look at every connection.",
            );
        } else {
            advice.warning(format!(
                "No RLPx session was found: no connection begins with a handshake, and {}. Are these the nodes' connections, \
                 and is it their key log? With --port the sessions of the nodes' listening ports are listed all the same.",
                opened_none(report)
            ));
        }
    } else if opened == 0 && without > 0 {
        advice.bad(format!(
            "No session could be decrypted: {}. Let the nodes export their session secrets (docs/exporting-secrets.md \
             shows where and how, for each client; they do so when they connect), capture again, and give the file with \
             --keylog. `bftap keys check` tells which sessions a file opens.",
            opened_none(report)
        ));
    } else if without > 0 {
        advice.warning(format!(
            "{} of {} sessions have no secret; their messages are missing from all counts. Both ends may export it \
             (docs/exporting-secrets.md); `bftap keys check KEYLOG --capture FILE` tells which sessions lack one.",
            count(without),
            count(sessions.len() as u64)
        ));
    }
    let exhausted = report.facts.totals.limits_reached.contains_key(ATTACH_BUDGET);
    if unseen > 0 {
        advice.warning(format!(
            "{} without a handshake in the capture, and {}: messages of such a session are missing from all counts. {}ts secret \
             is not in the key log (was the log begun after the nodes connected?), or it had carried more than is searched \
             (--attach-search), or it is no RLPx session at all.",
            counted(unseen, "session is", "sessions are"),
            opened_none(report),
            if exhausted { "The search for it ended too early, or i" } else { "I" }
        ));
    }
    if exhausted {
        advice.warning(format!(
                "The time for finding sessions without a handshake was used up after {} of key stream: there may be more to \
                 be read. Allow more with --attach-budget (now {} s), or look less far back with --attach-search (now {} \
                 GiB) if the sessions had carried less than that; name the nodes' listening ports with --port, and leave out \
                 key logs of other networks.",
                binary(report.facts.totals.searched_bytes),
                count(report.asked.attach.1.into()),
                count(report.asked.attach.0.into())
            ));
    }
    let failed = number(SessionState::Failed);
    if failed > 0 {
        advice.bad(format!(
            "{} matched a secret, but nothing sensible came out: the secret is wrong, or the capture is damaged.",
            counted(failed, "session", "sessions")
        ));
    }
    let lost = number(SessionState::Lost);
    if lost > 0 {
        advice.warning(format!(
            "{} could not be read to the end: behind missing or changed bytes no frame was found again (events place_lost \
             say where and why). What came before counts, in each direction.",
            counted(lost, "session", "sessions")
        ));
    }
    let of_dials = |cut: bool| {
        let dials = sessions
            .iter()
            .filter(|session| session.state == SessionState::NoHandshake);
        dials.filter(|session| (session.gaps > 0) == cut).count() as u64
    };
    let (cut, refused) = (of_dials(true), of_dials(false));
    if cut > 0 {
        advice.warning(format!(
            "Packets of the handshake of {} are missing, and {}: if it was finished, the messages of such a session are \
             missing from all counts.",
            counted(cut, "connection", "connections"),
            opened_none(report)
        ));
    }
    if refused > 0 {
        advice.note(format!(
            "{} before keys were agreed: refused, or one of two dials at once. No message can be in it.",
            counted(refused, "connection ended", "connections ended")
        ));
    }
    advice.0
}

/// What was asked for and is not there.
fn asked_for(report: &Report<'_>, advice: &mut Advices) {
    let asked = report.asked;
    if let Some(selection) = &asked.selection
        && report.facts.totals.consensus_messages == 0
        && let Some(beside) = &asked.beside
    {
        advice.warning(format!(
            "Nothing lies in the part asked for ({selection}). There are consensus messages of {beside}."
        ));
    }
    let facts = report.facts;
    let occurs = |ip: &IpAddr| {
        let is = |end: Endpoint| end.ip == *ip;
        facts.nodes.iter().any(|node| node.ips.contains(ip))
            || facts
                .sessions
                .iter()
                .any(|session| is(session.initiator) || is(session.recipient))
    };
    let absent: Vec<_> = asked
        .tapped
        .iter()
        .filter(|ip| !occurs(ip))
        .map(ToString::to_string)
        .collect();
    if !absent.is_empty() {
        advice.warning(format!(
            "--tapped {}: no session has such an end, so nothing follows from it. Is the address mistyped, or another one behind NAT?",
            absent.join(" ")
        ));
    }
    few_partners(report, advice);
}

/// Of a node whose own port was captured all sessions are there. One that is called so and has far fewer than another may be seen
/// only from the other ends, and whoever is judged by what it got is judged wrongly.
fn few_partners(report: &Report<'_>, advice: &mut Advices) {
    let mut partners: BTreeMap<IpAddr, BTreeSet<IpAddr>> = BTreeMap::new();
    for session in &report.facts.sessions {
        let (a, b) = (session.initiator.ip, session.recipient.ip);
        partners.entry(a).or_default().insert(b);
        partners.entry(b).or_default().insert(a);
    }
    let Some((busiest, most)) = partners
        .iter()
        .map(|(ip, partners)| (ip, partners.len()))
        .max_by_key(|(ip, number)| (*number, Reverse(*ip)))
    else {
        return;
    };
    for ip in &report.asked.tapped {
        let own = partners.get(ip).map_or(0, BTreeSet::len);
        if own > 0 && own * 2 < most {
            advice.warning(format!(
                "--tapped {ip}: it has sessions with {} only, and {busiest} with {}. If its own port was not captured, leave it out: \
                 what others sent it elsewhere would count as never sent, and honest nodes would stand out.",
                counted(own as u64, "address", "addresses"),
                count(most as u64)
            ));
        }
    }
}

/// Why no secret opens a session.
fn opened_none(report: &Report<'_>) -> String {
    match report.asked.secrets {
        0 if report.asked.key_sources => "there is no secret in the key sources that were given".to_owned(),
        0 => "no secrets were given".to_owned(),
        1 => "the only secret that is known opens none".to_owned(),
        secrets => format!(
            "none of the {} secrets that are known opens one",
            count(secrets as u64)
        ),
    }
}

fn lost_bytes(report: &Report<'_>, advice: &mut Advices) {
    let totals = &report.facts.totals;
    let sessions = &report.facts.sessions;
    let went_on = sessions
        .iter()
        .all(|session| session.gaps == 0 || session.state == SessionState::Decrypted);
    if totals.gaps > 0 {
        advice.warning(format!(
            "{} in the streams: {} are missing from the capture, or belong to frames that were cut by a gap, {} in all.{} Counts at the receivers concerned are lower bounds (docs/lossy-captures.md); a larger \
             buffer (tcpdump -B) or whole packets (-s 0) may spare the next capture.",
            counted(totals.gaps, "gap", "gaps"),
            bytes(totals.lost_bytes),
            counted(totals.frames_lost, "frame", "frames"),
            if went_on { " Behind each gap reading went on." } else { "" }
        ));
    }
    let one_way = sessions
        .iter()
        .filter(|session| {
            matches!(session.state, SessionState::Decrypted | SessionState::Lost)
                && session.stream_bytes.contains(&0)
                && session.stream_bytes != [0, 0]
        })
        .count() as u64;
    if one_way > 0 {
        advice.warning(format!(
            "Of {} only one direction is in the capture. Nothing is known of the other: its messages are missing from all \
             counts, and from the share of the traffic in SESSIONS. Does the mirror show both directions?",
            counted(one_way, "session", "sessions")
        ));
    }
    let nameless = sessions
        .iter()
        .filter(|session| session.attached == Some(MIDSTREAM) && session.node_ids == [None, None])
        .count() as u64;
    let strangers = report
        .facts
        .nodes
        .iter()
        .filter(|node| node.address.is_none())
        .count() as u64;
    if nameless > 0 && strangers > 0 {
        advice.warning(format!(
            "{} in the middle, where nothing says which nodes are at the ends, so a node's own messages that come back to it \
             cannot be told (echoes), nor whether all of a node's sessions were seen. Give their keys or addresses with \
             --nodes.",
            counted(nameless, "session was joined", "sessions were joined")
        ));
    }
}

fn coverage(report: &Report<'_>, advice: &mut Advices) {
    let nodes = &report.facts.nodes;
    if report.summary.total().messages == 0 {
        return;
    }
    let number = |coverage| nodes.iter().filter(|node| node.coverage == coverage).count() as u64;
    let (full, lossy, partial) = (
        number(Coverage::Full),
        number(Coverage::Lossy),
        number(Coverage::Partial),
    );
    if full + lossy == 0 {
        advice.warning(
            "Of no node all sessions were captured, so no number of messages per round is complete. Capture at a node's own \
             port; if one was captured, name it with --tapped IP.",
        );
    } else if partial > 0 {
        advice.note(format!(
            "{} seen in part only: their counts are lower bounds, and few repeats there do not mean that few were sent. \
             Capture at their own ports too (and name them with --tapped IP if that is not recognised).",
            counted(partial, "node was", "nodes were")
        ));
    }
    if lossy > 0 {
        advice.warning(format!(
            "{} been seen in full but for losses: a session of it was not read in full, or has gaps. Numbers with ≥ are lower \
             bounds.",
            counted(lossy, "node would have", "nodes would have")
        ));
    }
    if report.asked.cuts_heights {
        advice.note(
            "Of the height before a part nothing is known, so of the first one (behind each gap in the heights) it is not known whose \
             turn it was to propose, nor its block time.",
        );
    }
    let unknown = report.summary.rounds_without_quorum();
    if unknown > 0 {
        advice.warning(format!(
            "For {} the validators, and with them the quorum, are not known: no proposal was seen that names them. Give \
             them in the configuration (validators, docs/config.md).",
            counted(unknown, "round", "rounds")
        ));
    }
}

fn authenticity(report: &Report<'_>, advice: &mut Advices) {
    let sessions = &report.facts.sessions;
    let failed: Vec<&SessionFact> = sessions
        .iter()
        .filter(|session| session.mac == Some(MacState::Failed))
        .collect();
    if let Some(first) = failed.first() {
        advice.bad(format!(
            "Wrong MACs in {}, the first {} to {}: bytes were altered on the way or in the capture, or the mac-secret or a \
             nonce in the key log is wrong. The messages are counted as far as they can be read.",
            counted(failed.len() as u64, "session", "sessions"),
            first.initiator,
            first.recipient
        ));
    }
    let unverifiable = sessions
        .iter()
        .filter(|session| session.mac == Some(MacState::Unverifiable))
        .count() as u64;
    if unverifiable > 0 {
        advice.note(format!(
            "In {} MACs could not be checked, or not of all frames: the key log has no mac-secret for it, bytes are missing, or \
             it was joined in the middle. What its consensus messages say rests on their signatures alone.",
            counted(unverifiable, "session", "sessions")
        ));
    }
    if report.asked.no_mac {
        advice.note("MACs were not checked (--no-mac).");
    }
    let invalid = report.summary.total().invalid;
    if report.asked.no_signatures {
        advice.note("Signatures were not checked (--no-signatures): signers are the claimed addresses.");
    } else if invalid > 0 {
        advice.bad(format!(
            "{} with a wrong signature, or signed by another key than the claimed address: a faulty or hostile node. `bftap \
             messages` shows them one by one.",
            counted(invalid, "consensus message came", "consensus messages came")
        ));
    }
}

fn not_understood(report: &Report<'_>, advice: &mut Advices) {
    let totals = &report.facts.totals;
    if totals.undecodable > 0 {
        let reasons: Vec<_> = totals
            .undecodable_reasons
            .iter()
            .take(MOST_REASONS)
            .map(|(reason, number)| format!("{reason} ({})", count(*number)))
            .collect();
        let more = totals.undecodable_reasons.len().saturating_sub(MOST_REASONS);
        let more = if more > 0 {
            format!(", and {more} more reasons")
        } else {
            String::new()
        };
        advice.warning(format!(
            "{} of a consensus code could not be decoded: {}{more}.",
            counted(totals.undecodable, "message", "messages"),
            reasons.join(", ")
        ));
    }
    let opened = report
        .facts
        .sessions
        .iter()
        .any(|session| session.state == SessionState::Decrypted);
    if opened && totals.consensus_messages == 0 && totals.undecodable == 0 && report.asked.beside.is_none() {
        advice.warning(
            "Sessions were decrypted, but there is no consensus message in them. Are the nodes validators, and is their \
             protocol one that is read (Klaytn, Kaia, GoQuorum IBFT)? See FRAMES BY MESSAGE.",
        );
    }
    let mut unknown: Vec<&str> = report
        .facts
        .nodes
        .iter()
        .filter_map(|node| node.client.as_deref())
        .filter(|client| !is_known_client(client))
        .collect();
    unknown.sort_unstable();
    unknown.dedup();
    if let Some(first) = unknown.first() {
        let others = match unknown.len() {
            1 => String::new(),
            more => format!(" and {} other names", more - 1),
        };
        advice.warning(format!(
            "Unknown client: {first}{others}. Messages are counted as long as they decode; the quorum rule of its dialect's \
             older clients is assumed (set quorum in the configuration if it differs).",
        ));
    }
}

/// The clients that bftap's knowledge was read from, by the first part of their Hello name. Clients that are
/// built under another name can be told apart only by their users.
fn is_known_client(client: &str) -> bool {
    let name = client.split('/').next().unwrap_or_default().to_ascii_lowercase();
    ["klaytn", "kaia", "geth", "goquorum", "quorum", "besu"].contains(&name.as_str())
}

fn limits(report: &Report<'_>, advice: &mut Advices) {
    for (limit, times) in &report.facts.totals.limits_reached {
        // What was not found for it is told with the sessions.
        if limit == ATTACH_BUDGET {
            continue;
        }
        if limit == UNPROVEN_KEYS {
            advice.note(format!(
                "{} a key in Hello that the other end did not accept: it is shown by its IP address, and whose key it is was not \
                 believed (docs/network.md).",
                counted(*times, "end of a session showed", "ends of sessions showed")
            ));
            continue;
        }
        if limit == CLAIMED_ROUNDS {
            advice.note(format!(
                "{} named by no more validators than may be faulty: without a row, and counted nowhere (docs/rounds.md).",
                counted(*times, "round is", "rounds are")
            ));
            continue;
        }
        advice.warning(format!(
            "The limit {limit} was reached {}; what did not fit is counted as lost. It can be raised in the \
             configuration (docs/config.md).",
            counted(*times, "time", "times")
        ));
    }
}

fn packets(report: &Report<'_>, advice: &mut Advices) {
    let totals = &report.facts.totals;
    if !totals.skipped_packets.is_empty() {
        let reasons: Vec<_> = totals
            .skipped_packets
            .iter()
            .take(MOST_REASONS)
            .map(|(reason, number)| format!("{reason} ({})", count(*number)))
            .collect();
        let more = totals.skipped_packets.len().saturating_sub(MOST_REASONS);
        let more = if more > 0 {
            format!(", and {more} more reasons")
        } else {
            String::new()
        };
        advice.note(format!(
            "Packets without a readable TCP segment: {}{more}.",
            reasons.join(", ")
        ));
    }
    if totals.bad_checksums > 0 {
        advice.note(format!(
            "{} a wrong TCP checksum and {} used all the same: usual where the sender's network card computes it.",
            counted(totals.bad_checksums, "packet has", "packets have"),
            if totals.bad_checksums == 1 { "is" } else { "are" }
        ));
    }
}

/// The name under which a used up `--attach-budget` is counted.
pub(crate) const ATTACH_BUDGET: &str = "attach_budget";

/// Ends of sessions whose key in Hello nobody accepted.
pub(super) const UNPROVEN_KEYS: &str = "unproven_keys";

/// Rounds without a row that only a liar names.
const CLAIMED_ROUNDS: &str = "claimed_rounds";

const MOST_REASONS: usize = 8;
