//! Facts as rows: units in names, ids for long texts, numbers and texts that every database can hold.

mod network;
mod story;

use std::collections::BTreeMap;

use bftap_analysis::facts::{
    CaptureFact, CodeFact, CopiesFact, CountFact, DeliveryFact, EventFact, LinkCountFact, NodeFact,
    RoundFact, RunFacts, SessionFact, SessionState, Totals,
};
use bftap_model::CaptureTime;

use crate::names::Names;
use crate::rows::{
    CaptureRow, CodeRow, CopiesRow, CountRow, CounterRow, DeliveryRow, EventRow, LinkCountRow, NodeIpRow,
    NodeRow, ProgressRow, RoundRow, SessionRow,
};
use crate::store::{LiveState, RunId};

pub(crate) use network::{census_row, dial_row, peer_disconnect_rows, peer_row, score_row, tcp_link_row};
pub(crate) use story::{
    delay_row, node_round_row, participation_row, phase_row, vote_rows, waste_row, what_if_row,
};

/// Most characters of a text that is or may become part of a key.
///
/// MySQL allows 3072 bytes in a key, at four bytes a character.
const KEY_TEXT: usize = 255;

/// Most characters of a text for people.
const LONG_TEXT: usize = 4000;

/// A number as the store holds it: databases have no unsigned 64-bit integers.
pub(crate) fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A text that may be part of a key: at most 255 characters, without NUL, which PostgreSQL cannot hold.
///
/// What does not fit ends in a hash of the whole, so that two such texts stay two.
pub(crate) fn key_text(text: &str) -> String {
    bounded(text, KEY_TEXT)
}

/// A text for people: at most 4000 characters.
pub(crate) fn long_text(text: &str) -> String {
    bounded(text, LONG_TEXT)
}

/// Texts as a JSON array of at most 4000 characters; `None` for no texts. Where some do not fit, the last one is `…`.
pub(crate) fn json_texts(texts: impl IntoIterator<Item = String>) -> Option<String> {
    const MORE: &str = "\"…\"]";
    let mut array = String::new();
    let mut written = 0;
    for text in texts {
        // NUL comes out as \u0000, which no database minds.
        let text = serde_json::Value::String(key_text(&text)).to_string();
        let so_far = text.chars().count() + 1;
        if written + so_far + MORE.chars().count() > LONG_TEXT {
            array.push_str(if array.is_empty() { "[" } else { "," });
            array.push_str(MORE);
            return Some(array);
        }
        array.push(if array.is_empty() { '[' } else { ',' });
        array.push_str(&text);
        written += so_far;
    }
    (!array.is_empty()).then(|| array + "]")
}

/// Numbers by name as a JSON object; `None` for no numbers. Names are those of rules, few and short.
fn json_numbers(numbers: &BTreeMap<&'static str, i64>) -> Option<String> {
    (!numbers.is_empty()).then(|| serde_json::json!(numbers).to_string())
}

fn bounded(text: &str, limit: usize) -> String {
    let fits = text.len() <= limit || text.chars().count() <= limit;
    if fits && !text.contains('\0') {
        return text.to_owned();
    }
    let mark = format!("…#{:016x}", fnv1a(text.as_bytes()));
    let kept = limit - mark.chars().count();
    text.chars()
        .take(kept)
        .map(|c| if c == '\0' { '\u{2400}' } else { c })
        .chain(mark.chars())
        .collect()
}

/// FNV-1a, 64 bits: tells cut texts apart; nothing secret hangs on it.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn optional_key_text(text: Option<&str>) -> Option<String> {
    text.map(key_text)
}

fn optional_nanos(time: Option<CaptureTime>) -> Option<i64> {
    time.map(CaptureTime::nanos)
}

pub(crate) fn count_row(run: RunId, names: &Names, fact: &CountFact) -> CountRow {
    CountRow {
        run_id: run.0,
        chain_id: names.chain(&fact.chain),
        receiver_ip: fact.receiver_ip.to_string(),
        receiver: key_text(&fact.receiver),
        sequence: stored(fact.sequence),
        round: stored(fact.round),
        kind: fact.kind.as_str().to_owned(),
        messages: stored(fact.messages),
        useful: stored(fact.useful),
        repeats: stored(fact.repeats),
        echoes: stored(fact.echoes),
        invalid: stored(fact.invalid),
        bytes: stored(fact.bytes),
        lower_bound: fact.lower_bound,
        first_seen_ns: fact.first_seen.nanos(),
        last_seen_ns: fact.last_seen.nanos(),
        resent: Some(stored(fact.resent)),
        echo_source: Some(stored(fact.echo_source)),
        crossing: Some(stored(fact.crossing)),
        regossip: Some(stored(fact.regossip)),
    }
}

pub(crate) fn delivery_row(run: RunId, names: &Names, fact: &DeliveryFact) -> DeliveryRow {
    DeliveryRow {
        run_id: run.0,
        chain_id: names.chain(&fact.chain),
        receiver_id: names.ip(fact.receiver_ip),
        sender_id: names.label(&fact.sender),
        signer_id: names.label(&fact.signer),
        sequence: stored(fact.sequence),
        round: stored(fact.round),
        kind_id: fact.kind.index() as i64,
        copies: stored(fact.copies),
        first_seen_ns: fact.first_seen.nanos(),
        last_seen_ns: fact.last_seen.nanos(),
    }
}

pub(crate) fn round_row(run: RunId, names: &Names, fact: &RoundFact) -> RoundRow {
    RoundRow {
        run_id: run.0,
        chain_id: names.chain(&fact.chain),
        sequence: stored(fact.sequence),
        round: stored(fact.round),
        proposer: optional_key_text(fact.proposer.as_deref()),
        validators: fact.validators.map(i64::from),
        quorum: fact.quorum.map(i64::from),
        preprepare_ns: optional_nanos(fact.preprepare_ns),
        prepared_ns: optional_nanos(fact.prepared_ns),
        committed_ns: optional_nanos(fact.committed_ns),
        messages: stored(fact.messages),
        outcome: fact.outcome.as_str().to_owned(),
        cause: fact.cause.map(|cause| cause.as_str().to_owned()),
        block_time_ns: fact.block_time_ns,
        standing: Some(fact.standing.as_str().to_owned()),
    }
}

pub(crate) fn link_count_row(run: RunId, names: &Names, fact: &LinkCountFact) -> LinkCountRow {
    LinkCountRow {
        run_id: run.0,
        chain_id: names.chain(&fact.chain),
        minute_ns: fact.minute.nanos(),
        receiver_ip: fact.receiver_ip.to_string(),
        receiver: key_text(&fact.receiver),
        sender: key_text(&fact.sender),
        kind: fact.kind.as_str().to_owned(),
        messages: stored(fact.messages),
        bytes: stored(fact.bytes),
    }
}

pub(crate) fn capture_row(run: RunId, number: i64, fact: &CaptureFact) -> CaptureRow {
    CaptureRow {
        run_id: run.0,
        capture_number: number,
        path: long_text(&fact.path),
        sha256: key_text(&fact.sha256),
        packets: stored(fact.packets),
        bytes: stored(fact.bytes),
        problem: fact.problem.as_deref().map(long_text),
        kernel_drops: fact.kernel_drops.map(stored),
        interface_drops: fact.interface_drops.map(stored),
        times_down: fact.times_down.map(stored),
    }
}

pub(crate) fn node_row(run: RunId, number: i64, fact: &NodeFact) -> NodeRow {
    NodeRow {
        run_id: run.0,
        node_number: number,
        label: key_text(&fact.label),
        name: optional_key_text(fact.name.as_deref()),
        node_id: fact.node_id.map(|id| id.to_string()),
        address: fact.address.map(|address| address.to_string()),
        client: fact.client.as_deref().map(long_text),
        role: optional_key_text(fact.role),
        coverage: fact.coverage.as_str().to_owned(),
        validator: fact.validator,
    }
}

/// A node's addresses, once each.
pub(crate) fn node_ip_rows(run: RunId, number: i64, fact: &NodeFact) -> Vec<NodeIpRow> {
    let mut ips = fact.ips.clone();
    ips.sort_unstable();
    ips.dedup();
    ips.into_iter()
        .map(|ip| NodeIpRow {
            run_id: run.0,
            ip: ip.to_string(),
            node_number: number,
        })
        .collect()
}

pub(crate) fn session_row(run: RunId, number: i64, names: &Names, fact: &SessionFact) -> SessionRow {
    let [initiator_client, recipient_client] =
        fact.clients.each_ref().map(|name| name.as_deref().map(long_text));
    let [initiator_node_id, recipient_node_id] = fact.node_ids.map(|id| id.map(|id| id.to_string()));
    SessionRow {
        run_id: run.0,
        session_number: number,
        chain_id: names.chain(&fact.chain),
        initiator: fact.initiator.to_string(),
        recipient: fact.recipient.to_string(),
        initiator_ip: fact.initiator.ip.to_string(),
        recipient_ip: fact.recipient.ip.to_string(),
        state: fact.state.as_str().to_owned(),
        attached: optional_key_text(fact.attached),
        mac: fact.mac.map(|mac| mac.as_str().to_owned()),
        frames_from_initiator: stored(fact.frames_from_initiator),
        frames_from_recipient: stored(fact.frames_from_recipient),
        gaps: stored(fact.gaps),
        lost_bytes: stored(fact.lost_bytes),
        incomplete_bytes: stored(fact.incomplete_bytes),
        capabilities: long_text(&fact.capabilities.join(" ")),
        bytes_from_initiator: stored(fact.stream_bytes[0]),
        bytes_from_recipient: stored(fact.stream_bytes[1]),
        initiator_client,
        recipient_client,
        initiator_node_id,
        recipient_node_id,
        detail: fact.detail.as_deref().map(long_text),
        first_seen_ns: fact.first_seen_ns.nanos(),
        last_seen_ns: fact.last_seen_ns.nanos(),
        frames_lost_from_initiator: Some(stored(fact.frames_lost[0])),
        frames_lost_from_recipient: Some(stored(fact.frames_lost[1])),
        inferred: fact.inferred.as_deref().map(long_text),
    }
}

/// Frames by code. Codes that become one key, because peers sent more than a store can tell apart, become one row.
pub(crate) fn code_rows(run: RunId, facts: &[CodeFact]) -> Vec<CodeRow> {
    let mut rows: BTreeMap<(String, i64, String), (i64, i64)> = BTreeMap::new();
    for fact in facts {
        let key = (
            key_text(&fact.capability),
            stored(fact.wire_code),
            key_text(&fact.name),
        );
        let (frames, bytes) = rows.entry(key).or_default();
        *frames = frames.saturating_add(stored(fact.frames));
        *bytes = bytes.saturating_add(stored(fact.bytes));
    }
    let row = |((capability, wire_code, name), (frames, bytes))| CodeRow {
        run_id: run.0,
        capability,
        wire_code,
        name,
        frames,
        bytes,
    };
    rows.into_iter().map(row).collect()
}

pub(crate) fn copies_row(run: RunId, fact: &CopiesFact) -> CopiesRow {
    CopiesRow {
        run_id: run.0,
        receiver_ip: fact.receiver_ip.to_string(),
        copies: stored(fact.copies),
        payloads: stored(fact.payloads),
    }
}

pub(crate) fn event_row(run: RunId, number: i64, names: &Names, fact: &EventFact) -> EventRow {
    EventRow {
        run_id: run.0,
        event_number: number,
        time_ns: fact.time_ns.nanos(),
        rule: key_text(fact.rule),
        severity: key_text(fact.severity),
        signer: optional_key_text(fact.signer.as_deref()),
        sender: optional_key_text(fact.sender.as_deref()),
        chain_id: names.chain(&fact.chain),
        sequence: fact.sequence.map(stored),
        round: fact.round.map(stored),
        detail: long_text(&fact.detail),
        suspicious: fact.suspicious,
        kind: fact.kind.map(|kind| kind.as_str().to_owned()),
        node_id: fact.node_id.map(|id| id.to_string()),
        address: fact.address.map(|address| address.to_string()),
        ip: fact.ip.map(|ip| ip.to_string()),
        numbers: json_numbers(&fact.numbers),
        payloads: json_texts(fact.payloads.iter().map(ToString::to_string)),
    }
}

pub(crate) fn progress_row(run: RunId, number: i64, rows: usize, live: &LiveState) -> ProgressRow {
    let totals = &live.facts.totals;
    // A dial that was not completed carries nothing.
    let read = [SessionState::Decrypted, SessionState::NoHandshake];
    let sessions = live.facts.sessions.iter();
    let unread = sessions.filter(|session| !read.contains(&session.state));
    ProgressRow {
        run_id: run.0,
        batch: number,
        written_ns: live.written_ns,
        seen_ns: live.seen_ns,
        lag_ns: live.lag_ns,
        rows_written: stored(rows as u64),
        spooled_batches: live.spooled_batches,
        spooled_bytes: live.spooled_bytes,
        gaps: stored(totals.gaps),
        lost_bytes: stored(totals.lost_bytes),
        undecodable: stored(totals.undecodable),
        unread_sessions: stored(unread.count() as u64),
    }
}

/// Totals whose names are not fixed.
pub(crate) fn counter_rows(run: RunId, totals: &Totals) -> Vec<CounterRow> {
    let lists = [
        ("skipped_packets", &totals.skipped_packets),
        ("undecodable_reasons", &totals.undecodable_reasons),
        ("limits_reached", &totals.limits_reached),
    ];
    let row = |list: &str, name: &String, value: &u64| CounterRow {
        run_id: run.0,
        list: list.to_owned(),
        name: key_text(name),
        value: stored(*value),
    };
    lists
        .iter()
        .flat_map(|(list, counts)| counts.iter().map(|(name, value)| row(list, name, value)))
        .collect()
}

/// Columns of `run` that are known at the end, with their values; times of sessions first.
pub(crate) fn run_totals(facts: &RunFacts) -> [(&'static str, Option<i64>); 17] {
    let Totals {
        packets,
        bytes,
        tcp_packets,
        sessions,
        refused,
        other_flows,
        frames,
        consensus_messages,
        undecodable,
        gaps,
        lost_bytes,
        incomplete_bytes,
        bad_checksums,
        skipped_packets: _,
        undecodable_reasons: _,
        limits_reached: _,
        frames_lost,
        searched_bytes,
    } = &facts.totals;
    let number = |number: &u64| Some(stored(*number));
    [
        (
            "first_seen_ns",
            facts
                .sessions
                .iter()
                .map(|session| session.first_seen_ns.nanos())
                .min(),
        ),
        (
            "last_seen_ns",
            facts
                .sessions
                .iter()
                .map(|session| session.last_seen_ns.nanos())
                .max(),
        ),
        ("packets", number(packets)),
        ("bytes", number(bytes)),
        ("tcp_packets", number(tcp_packets)),
        ("sessions", number(sessions)),
        ("refused", number(refused)),
        ("other_flows", number(other_flows)),
        ("frames", number(frames)),
        ("consensus_messages", number(consensus_messages)),
        ("undecodable", number(undecodable)),
        ("gaps", number(gaps)),
        ("lost_bytes", number(lost_bytes)),
        ("incomplete_bytes", number(incomplete_bytes)),
        ("bad_checksums", number(bad_checksums)),
        ("frames_lost", number(frames_lost)),
        ("searched_bytes", number(searched_bytes)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_fit_and_stay_apart() {
        assert_eq!(key_text("cn'1\n\"é"), "cn'1\n\"é");
        assert!(key_text("a\0b").starts_with("a\u{2400}b…#"));
        assert_ne!(key_text("a\0b"), key_text("a\u{2400}b"));
        assert_eq!(key_text(&"é".repeat(255)), "é".repeat(255));
        let long = "x".repeat(300);
        let (one, other) = (key_text(&format!("{long}1")), key_text(&format!("{long}2")));
        assert_ne!(one, other);
        assert_eq!((one.chars().count(), other.chars().count()), (255, 255));
        assert_eq!(long_text(&long), long);
        assert_eq!(long_text(&"é".repeat(5000)).chars().count(), 4000);
    }

    #[test]
    fn lists_stay_json_however_long() {
        assert_eq!(json_texts([]), None);
        let hostile = ["a\"b", "", "c\0\u{1b}"].map(str::to_owned);
        let array: Vec<String> = serde_json::from_str(&json_texts(hostile.clone()).unwrap()).unwrap();
        assert_eq!(array[..2], hostile[..2]);
        let many = json_texts((0..1000).map(|number| format!("node number {number}"))).unwrap();
        assert!((3900..=4000).contains(&many.chars().count()), "{}", many.len());
        let array: Vec<String> = serde_json::from_str(&many).unwrap();
        assert_eq!(
            (&*array[1], array.last().map(String::as_str)),
            ("node number 1", Some("…"))
        );
        let wide = json_texts(
            [
                "\u{1}".repeat(255),
                "\u{1}".repeat(255),
                "x".repeat(255),
                "é".repeat(255),
            ]
            .into_iter()
            .cycle()
            .take(9),
        );
        let wide = wide.unwrap();
        assert!(wide.chars().count() <= 4000);
        serde_json::from_str::<Vec<String>>(&wide).unwrap();
    }

    #[test]
    fn codes_beyond_a_stores_numbers_are_one_row() {
        let code = |wire_code| CodeFact {
            capability: "unknown".into(),
            name: "unknown".into(),
            wire_code,
            frames: 1,
            bytes: u64::MAX,
        };
        let rows = code_rows(RunId(1), &[code(u64::MAX), code(u64::MAX - 1), code(3)]);
        let told: Vec<_> = rows
            .iter()
            .map(|row| (row.wire_code, row.frames, row.bytes))
            .collect();
        assert_eq!(told, [(3, 1, i64::MAX), (i64::MAX, 2, i64::MAX)]);
    }

    #[test]
    fn numbers_saturate() {
        assert_eq!(stored(0), 0);
        assert_eq!(stored(i64::MAX as u64), i64::MAX);
        assert_eq!(stored(u64::MAX), i64::MAX);
    }
}
