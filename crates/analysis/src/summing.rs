//! Sessions, codes, events and totals: the lists that are small enough to hold.

use std::collections::BTreeMap;

use crate::aggregator::{ReadFacts, SessionParties};
use crate::facts::{ChainName, CodeFact, EventFact, RunFacts, SessionFact, Totals};
use crate::observation::{SessionEnd, WorkerTotals};

/// By time, and what is equal in that by everything that can differ.
pub(crate) fn sort_events(events: &mut [EventFact]) {
    events.sort_by(|a, b| {
        (a.time_ns, a.rule, &a.chain, a.sequence, &a.detail)
            .cmp(&(b.time_ns, b.rule, &b.chain, b.sequence, &b.detail))
    });
}

/// Sessions, codes, events and totals.
pub(crate) fn run_facts(
    sessions: Vec<(SessionEnd, SessionParties)>,
    mut events: Vec<EventFact>,
    more_limits: &BTreeMap<String, u64>,
    read: ReadFacts,
    worker: WorkerTotals,
    names: &[ChainName],
) -> RunFacts {
    let mut sessions: Vec<SessionFact> = sessions
        .into_iter()
        .map(|(end, session)| SessionFact {
            initiator: end.info.ends[0],
            recipient: end.info.ends[1],
            state: end.state,
            attached: end.attached,
            opened_by: end.opened_by,
            mac: end.mac,
            frames_from_initiator: end.frames[0],
            frames_from_recipient: end.frames[1],
            gaps: end.gaps,
            lost_bytes: end.lost_bytes,
            incomplete_bytes: end.incomplete_bytes,
            frames_lost: end.frames_lost,
            capabilities: end.capabilities,
            inferred: end.inferred,
            chain: names[session.slot as usize].clone(),
            stream_bytes: end.stream_bytes,
            clients: end.info.clients,
            node_ids: end.info.node_ids,
            detail: end.detail,
            first_seen_ns: end.span.0,
            last_seen_ns: end.span.1,
        })
        .collect();
    sessions.sort_by(|a, b| {
        let key = |session: &SessionFact| {
            (
                session.initiator,
                session.recipient,
                session.first_seen_ns,
                session.last_seen_ns,
            )
        };
        key(a)
            .cmp(&key(b))
            .then_with(|| a.stream_bytes.cmp(&b.stream_bytes))
    });
    sort_events(&mut events);
    let mut limits = worker.limits;
    for (name, count) in more_limits {
        *limits.entry(name.clone()).or_default() += count;
    }
    let sum = |pick: fn(&SessionFact) -> u64| sessions.iter().map(pick).sum();
    let totals = Totals {
        packets: read.captures.iter().map(|capture| capture.packets).sum(),
        bytes: read.captures.iter().map(|capture| capture.bytes).sum(),
        tcp_packets: read.tcp_packets,
        sessions: sessions.len() as u64,
        refused: worker.refused,
        other_flows: worker.other_flows,
        frames: worker.codes.values().map(|(frames, _)| frames).sum(),
        consensus_messages: worker.consensus_messages,
        undecodable: worker.undecodable.values().sum(),
        gaps: sum(|session| session.gaps),
        lost_bytes: sum(|session| session.lost_bytes),
        incomplete_bytes: sum(|session| session.incomplete_bytes),
        frames_lost: sum(|session| session.frames_lost.iter().sum()),
        searched_bytes: worker.searched_bytes,
        bad_checksums: read.bad_checksums,
        skipped_packets: read.skipped_packets,
        undecodable_reasons: worker.undecodable,
        limits_reached: limits,
    };
    let codes = worker
        .codes
        .into_iter()
        .map(|((capability, name, wire_code), (frames, bytes))| CodeFact {
            capability,
            name,
            wire_code,
            frames,
            bytes,
        })
        .collect();
    let mut captures = read.captures;
    captures.sort_by(|a, b| a.path.cmp(&b.path));
    RunFacts {
        captures,
        sessions,
        codes,
        events,
        totals,
        ..RunFacts::default()
    }
}
