//! Sessions, and what of them could not be read.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use bftap_analysis::facts::{SessionFact, SessionState};
use bftap_model::MacState;

use super::page::{Cell, Page, Table, bar, bytes, count, counted};
use super::{Report, left_out, loss};
use crate::term::Ink;

pub(super) fn write(report: &Report<'_>, page: &mut Page) {
    let sessions = &report.facts.sessions;
    page.heading("SESSIONS", "");
    if sessions.is_empty() {
        page.line("none");
        return;
    }
    states(sessions, page);
    macs(sessions, page);
    loss::write_shares(report, page);
    unread(sessions, page);
    loss::write_lists(sessions, page);
}

const STATES: [SessionState; 5] = [
    SessionState::Decrypted,
    SessionState::Lost,
    SessionState::Failed,
    SessionState::NoSecret,
    SessionState::NoHandshake,
];

fn states(sessions: &[SessionFact], page: &mut Page) {
    let mut table = Table::new()
        .words("state")
        .numbers("sessions")
        .words("")
        .numbers("frames")
        .numbers("stream bytes")
        .numbers("gaps")
        .numbers("lost")
        .numbers("incomplete");
    for state in STATES {
        let of_state = || sessions.iter().filter(move |session| session.state == state);
        let number = of_state().count() as u64;
        if number == 0 {
            continue;
        }
        let sum = |value: fn(&SessionFact) -> u64| of_state().map(value).sum::<u64>();
        let (gaps, lost) = (sum(|session| session.gaps), sum(|session| session.lost_bytes));
        table.row([
            Cell::from(state.as_str()).ink(ink_of(state)),
            number.into(),
            Cell::from(bar(number as f64, sessions.len() as f64, 12)).ink(Ink::Bar),
            sum(|session| session.frames_from_initiator + session.frames_from_recipient).into(),
            bytes(sum(|session| session.stream_bytes[0] + session.stream_bytes[1])).into(),
            Cell::from(gaps).ink_if(gaps > 0, Ink::Warning),
            Cell::from(bytes(lost)).ink_if(lost > 0, Ink::Warning),
            bytes(sum(|session| session.incomplete_bytes)).into(),
        ]);
    }
    page.table(&table);
}

fn macs(sessions: &[SessionFact], page: &mut Page) {
    let words: Vec<_> = [
        MacState::Verified,
        MacState::Skipped,
        MacState::Unverifiable,
        MacState::Failed,
    ]
    .into_iter()
    .filter_map(|mac| {
        let number = sessions.iter().filter(|session| session.mac == Some(mac)).count();
        (number > 0).then(|| format!("{} {}", count(number as u64), mac.as_str()))
    })
    .collect();
    if !words.is_empty() {
        page.line(&format!("MACs, by the worst of a session: {}", words.join(", ")));
    }
}

/// Sessions that share state and reason, as one: a hundred refused dials are one thing to know.
fn unread(sessions: &[SessionFact], page: &mut Page) {
    let mut groups: BTreeMap<(u8, &str), Vec<&SessionFact>> = BTreeMap::new();
    for session in sessions
        .iter()
        .filter(|session| session.state != SessionState::Decrypted)
    {
        let detail = session.detail.as_deref().unwrap_or_default();
        groups
            .entry((session.state as u8, detail))
            .or_default()
            .push(session);
    }
    if groups.is_empty() {
        return;
    }
    let mut groups: Vec<_> = groups
        .into_iter()
        .map(|((_, detail), sessions)| (detail, sessions))
        .collect();
    // What hides most comes first; the order of states and reasons breaks ties.
    groups.sort_by_key(|(_, sessions)| Reverse(sessions.iter().map(|session| payload(session)).sum::<u64>()));
    page.heading(
        "NOT READ",
        "sessions that are not decrypted to the end of what was captured",
    );
    for (detail, sessions) in groups.iter().take(MOST_GROUPS) {
        let state = sessions[0].state;
        let mut text = counted(sessions.len() as u64, "session", "sessions");
        for part in [*detail, what_to_do(sessions[0])] {
            if !part.is_empty() {
                text.push_str(": ");
                text.push_str(part);
            }
        }
        page.paragraph(ink_of(state), &format!("{}  ", state.as_str()), &text);
        let mut largest = sessions.clone();
        largest.sort_by_key(|session| Reverse(payload(session)));
        for session in largest.iter().take(MOST_OF_GROUP) {
            let [there, back] = session.stream_bytes;
            page.line(&format!(
                "    {} → {}  {} + {} bytes",
                session.initiator,
                session.recipient,
                count(there),
                count(back)
            ));
        }
        if largest.len() > MOST_OF_GROUP {
            page.line(&format!(
                "    and {} more",
                count((largest.len() - MOST_OF_GROUP) as u64)
            ));
        }
    }
    left_out(page, groups.len(), MOST_GROUPS, "reasons");
}

fn payload(session: &SessionFact) -> u64 {
    session.stream_bytes[0].saturating_add(session.stream_bytes[1])
}

/// Whether a session was there before the capture, or looks so, and no secret that is known opens it.
pub(crate) fn began_unseen(session: &SessionFact) -> bool {
    session.state == SessionState::NoSecret
        && session
            .detail
            .as_deref()
            .is_some_and(|detail| NO_HANDSHAKE_SEEN.contains(&detail))
}

/// The decoder's words for it; the second of connections of which no more than a byte or two were seen.
const NO_HANDSHAKE_SEEN: [&str; 2] = [
    "does not begin with an RLPx handshake",
    "auth and ack are not both complete",
];

fn what_to_do(session: &SessionFact) -> &'static str {
    match session.state {
        _ if began_unseen(session) => "no secret that was tried opens it; see WARNINGS",
        SessionState::NoHandshake if session.gaps > 0 => "no secret that was tried opens it",
        SessionState::NoHandshake => "refused, or one of two dials at once; no message can be in it",
        SessionState::NoSecret => "let one of its ends export the secret",
        SessionState::Lost => "what came before it, and the other direction, is read",
        SessionState::Failed => "check where its secret comes from",
        SessionState::Decrypted => "",
    }
}

const fn ink_of(state: SessionState) -> Ink {
    match state {
        SessionState::Decrypted => Ink::Good,
        SessionState::NoHandshake => Ink::Faint,
        SessionState::NoSecret | SessionState::Lost => Ink::Warning,
        SessionState::Failed => Ink::Bad,
    }
}

const MOST_GROUPS: usize = 8;
const MOST_OF_GROUP: usize = 4;
