//! What the capture lacks: how much of the traffic the counts rest on, which sessions lost what, and which were joined without
//! their handshake.

use std::cmp::Reverse;

use bftap_analysis::facts::{RunFacts, SessionFact, SessionState};

use super::capture::clock;
use super::page::{Cell, Page, Table, bytes, count, counted};
use super::{Report, left_out};
use crate::term::Ink;

/// One line each: how much was read, and what was searched for it.
pub(super) fn write_shares(report: &Report<'_>, page: &mut Page) {
    let share = Share::of(report.facts);
    if share.carried > 0 {
        let ink = if share.is_whole() { Ink::Good } else { Ink::Warning };
        page.paragraph(
            ink,
            "",
            &format!(
                "The counts rest on {} of the traffic: of {} that these sessions carried in frames while they were captured, \
                 {} were read.",
                share.percent(),
                bytes(share.carried),
                bytes(share.read)
            ),
        );
    }
    let searched = report.facts.totals.searched_bytes;
    if searched > 0 {
        page.line(&format!(
            "{} of key stream were searched for sessions without a handshake",
            binary(searched)
        ));
    }
}

/// Sessions that were joined in the middle, or whose codes had to be inferred; then those that lost most.
pub(super) fn write_lists(sessions: &[SessionFact], page: &mut Page) {
    joined(sessions, page);
    lossy(sessions, page);
}

/// Bytes of frames that were read, out of those that the sessions carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    read: u64,
    carried: u64,
}

impl Share {
    pub(super) fn of(facts: &RunFacts) -> Self {
        let read = facts
            .codes
            .iter()
            .fold(0u64, |sum, code| sum.saturating_add(code.bytes));
        let unread = facts.sessions.iter().map(|session| match session.state {
            // Bytes that complete no frame because the capture ends are not lost.
            SessionState::Decrypted | SessionState::Lost => session.lost_bytes,
            // Refused, or one of two dials at once: there was no frame.
            SessionState::NoHandshake if session.gaps == 0 => 0,
            SessionState::NoHandshake | SessionState::NoSecret | SessionState::Failed => session
                .stream_bytes
                .iter()
                .fold(session.lost_bytes, |sum, &bytes| sum.saturating_add(bytes)),
        });
        Self {
            read,
            carried: unread.fold(read, u64::saturating_add),
        }
    }

    pub(super) const fn is_whole(self) -> bool {
        self.read == self.carried
    }

    /// Rounded down, so that 100 % is all of it.
    pub(super) fn percent(self) -> String {
        let tenths = u128::from(self.read) * 1000 / u128::from(self.carried.max(1));
        format!("{}.{} %", tenths / 10, tenths % 10)
    }
}

fn joined(sessions: &[SessionFact], page: &mut Page) {
    let mut found: Vec<_> = sessions
        .iter()
        .filter(|session| session.attached == Some(MIDSTREAM) || session.inferred.is_some())
        .collect();
    if found.is_empty() {
        return;
    }
    page.heading(
        "WITHOUT HANDSHAKE OR HELLO",
        "sessions that were joined in the middle, or where no Hello says what message codes mean: the dialect is the one \
         under which messages decode, and so many of those that should do",
    );
    let middle = || found.iter().filter(|session| session.attached == Some(MIDSTREAM));
    if let (Some(first), Some(last)) = (
        middle().map(|session| session.first_seen_ns).min(),
        middle().map(|session| session.first_seen_ns).max(),
    ) {
        let mut text = format!(
            "{} joined in the middle, seen since {}",
            counted(middle().count() as u64, "session was", "sessions were"),
            clock(first)
        );
        if last.since(first).0 > SOON {
            text.push_str(&format!(", the last of them since {}", clock(last)));
        }
        page.paragraph(Ink::Warning, "", &text);
    }
    found.sort_by_key(|session| Reverse(frames(session)));
    let day = |session: &SessionFact| clock(session.first_seen_ns)[..DAY].to_owned();
    let one_day = found.iter().all(|session| day(session) == day(found[0]));
    let mut table = Table::new()
        .long_words("session")
        .words("read from")
        .numbers("frames")
        .long_words("dialect: messages that decode");
    for session in found.iter().take(MOST_SESSIONS) {
        let inferred = session
            .inferred
            .as_deref()
            .unwrap_or(if session.capabilities.is_empty() {
                "no consensus message"
            } else {
                "as Hello says"
            });
        table.row([
            ends(session),
            if session.attached == Some(MIDSTREAM) {
                let clock = clock(session.first_seen_ns);
                if one_day {
                    clock[DAY..].trim_start().to_owned()
                } else {
                    clock
                }
            } else {
                "its handshake".to_owned()
            }
            .into(),
            frames(session).into(),
            inferred.strip_suffix(DECODE).unwrap_or(inferred).into(),
        ]);
    }
    page.table(&table);
    left_out(page, found.len(), MOST_SESSIONS, "sessions");
}

fn lossy(sessions: &[SessionFact], page: &mut Page) {
    let mut found: Vec<_> = sessions
        .iter()
        .filter(|session| session.gaps > 0 || session.lost_bytes > 0 || lost(session) > 0)
        .collect();
    if found.is_empty() {
        return;
    }
    page.heading(
        "LOST",
        "gaps: holes in the streams · bytes: missing, or of frames that a gap cut · frames cut or swallowed by gaps, from \
         the initiator (→) and the recipient (←); ≥ where the place behind a gap was not found again",
    );
    // What hides most comes first.
    found.sort_by_key(|session| Reverse((session.lost_bytes, session.gaps)));
    let mut table = Table::new()
        .long_words("session")
        .numbers("gaps")
        .numbers("bytes")
        .numbers("frames lost →")
        .numbers("←")
        .numbers("frames read");
    for session in found.iter().take(MOST_SESSIONS) {
        let [there, back] = session.frames_lost.map(|frames| match session.state {
            SessionState::Decrypted => count(frames),
            SessionState::Lost => format!("≥{}", count(frames)),
            // Nothing of it was read, so nobody knows.
            SessionState::NoHandshake | SessionState::NoSecret | SessionState::Failed => "?".to_owned(),
        });
        table.row([
            ends(session),
            session.gaps.into(),
            bytes(session.lost_bytes).into(),
            there.into(),
            back.into(),
            frames(session).into(),
        ]);
    }
    page.table(&table);
    left_out(page, found.len(), MOST_SESSIONS, "sessions with losses");
}

fn ends(session: &SessionFact) -> Cell {
    format!("{} → {}", session.initiator, session.recipient).into()
}

const fn frames(session: &SessionFact) -> u64 {
    session
        .frames_from_initiator
        .saturating_add(session.frames_from_recipient)
}

const fn lost(session: &SessionFact) -> u64 {
    session.frames_lost[0].saturating_add(session.frames_lost[1])
}

/// Bytes of key stream in the units of `--attach-search`.
pub(crate) fn binary(bytes: u64) -> String {
    let gib = bytes as f64 / (1u64 << 30) as f64;
    if gib >= 99.5 {
        format!("{} GiB", count(gib.round() as u64))
    } else if gib >= 0.95 {
        format!("{gib:.1} GiB")
    } else {
        format!("{:.0} MiB", (gib * 1024.0).ceil())
    }
}

/// [`SessionFact::attached`] of sessions joined in the middle.
pub(super) const MIDSTREAM: &str = "midstream";

/// What [`SessionFact::inferred`] ends in; the column's title says it.
const DECODE: &str = " consensus messages decode";

const MOST_SESSIONS: usize = 10;

/// Characters of the day in a time, `2026-11-21`.
const DAY: usize = 10;

/// Sessions that are there when a capture begins show themselves within a second or so; in nanoseconds.
const SOON: i64 = 5_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn shares_are_of_frames_and_rounded_down() {
        let mut facts = sample::run();
        let whole = Share::of(&facts);
        assert_eq!((whole.read, whole.carried), (3_003_840, 3_003_840));
        assert_eq!((whole.is_whole(), whole.percent().as_str()), (true, "100.0 %"));
        facts.sessions[0].lost_bytes = 1;
        let less = Share::of(&facts);
        assert_eq!((less.is_whole(), less.percent().as_str()), (false, "99.9 %"));
        // Without a secret all of its bytes are unread; a refused dial had none that matter, unless some are missing.
        facts.sessions[1].state = SessionState::NoSecret;
        facts.sessions[1].lost_bytes = 100;
        assert_eq!(Share::of(&facts).carried, 3_003_841 + 800_100);
        facts.sessions[6].gaps = 1;
        assert_eq!(Share::of(&facts).carried, 3_003_841 + 800_100 + 400);
        let none = Share::of(&RunFacts::default());
        assert_eq!((none.is_whole(), none.carried), (true, 0));
    }

    #[test]
    fn key_stream_is_told_in_binary_units() {
        assert_eq!(binary(1), "1 MiB");
        assert_eq!(binary(6 << 20), "6 MiB");
        assert_eq!(binary(1536 << 20), "1.5 GiB");
        assert_eq!(binary(1200 << 30), "1,200 GiB");
    }
}
