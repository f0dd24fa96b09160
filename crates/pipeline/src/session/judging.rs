//! What a session is told as: how it stands, or what became of it, and what a journal keeps of it.

use std::sync::Arc;

use bftap_analysis::facts::SessionState;
use bftap_analysis::{
    ChainId, Observation, Occurrence, Refused, SessionEnd, SessionKey, SessionNetwork, StatusSeen,
    WorkerTotals,
};
use bftap_capture::connection::{CloseReason, ConnectionSummary};
use bftap_decrypt::{Attached, Recognised, SessionSummary};
use bftap_model::{Meaning, Side};

use super::{Session, Surroundings, session_info};
use crate::checkpoint::SavedSession;
use crate::inferred::Inferred;
use crate::journal::Part;
use crate::returning;

impl Session {
    /// Tells what became of the session, or counts it as none. Everything must be drained and settled.
    pub(crate) fn end(self, flow: &ConnectionSummary, around: &mut Surroundings<'_>) {
        let refused = around.totals.refused;
        if let Some(end) = self.judge(flow, around.totals) {
            around.out.push(Observation::End(self.id, Box::new(end)));
        } else if around.totals.refused > refused {
            let initiator = self.decoder.summary().initiator;
            around.out.push(Observation::Refused(Refused {
                ends: [self.key.endpoint(initiator), self.key.endpoint(initiator.other())],
                span: (flow.first_seen, flow.last_seen),
            }));
        }
    }

    /// Where it was before the program was killed.
    pub(super) fn saved_before(&self) -> Option<&SavedSession> {
        self.part.as_ref()?.saved.as_ref()
    }

    /// What an earlier life knew of this flow, if it turns out to have been another connection.
    pub(crate) fn strange_part(&mut self) -> Option<Arc<Part>> {
        let (_, secret) = self.decoder.opened_by()?;
        let other = self.saved_before()?.secret != secret;
        if other { self.part.take() } else { None }
    }

    /// All of it as a journal keeps it; with its key where its name in the journal is not known.
    pub(crate) fn as_part(&self, flow: &ConnectionSummary) -> (Option<SessionKey>, Part) {
        let mut totals = WorkerTotals::default();
        let end = self.judge(flow, &mut totals);
        let returning = self.returning.as_deref();
        let saved = returning::saved(self.key, flow, &self.decoder, &self.meanings, returning);
        let before = self.part.as_deref();
        let positions = self.decoder.positions();
        let mut stream_ends = before.map_or([None; 2], |part| part.stream_ends);
        let mut accounted = before.map_or([0; 2], |part| part.accounted);
        for side in Side::BOTH {
            let at = side.index();
            let Some(start) = flow.starts[at] else { continue };
            // Sequence numbers wrap, and so does this.
            let stream_end = start.add(positions[at] as u32);
            let hole = stream_ends[at].map_or(0, |end| start.distance_from(end));
            let place = saved.as_ref().and_then(|saved| saved.place(side));
            accounted[at] = match place {
                Some(place) if before.is_none() || self.decoder.joined_at(side).is_some() => {
                    let behind = stream_end.distance_from(place.sequence);
                    let incomplete = self.decoder.incomplete_bytes(side);
                    u64::try_from(behind).unwrap_or(0).saturating_sub(incomplete)
                }
                _ => accounted[at].saturating_add(u64::try_from(hole).unwrap_or(0)),
            };
            stream_ends[at] = Some(stream_end);
        }
        let part = Part {
            id: before.map_or(0, |part| part.id),
            flow: self.key,
            end,
            totals,
            saved,
            stream_ends,
            accounted,
            last_seen: flow.last_seen,
        };
        (before.is_none().then_some(self.id), part)
    }

    /// Messages that wait for a second sight.
    pub(crate) fn pending(&self) -> impl Iterator<Item = &Occurrence> {
        self.pending.iter().map(|pending| &pending.occurrence)
    }

    /// What became of it so far; sums go to `totals`. `None` if it is no session.
    pub(crate) fn judge(&self, flow: &ConnectionSummary, totals: &mut WorkerTotals) -> Option<SessionEnd> {
        let Some(part) = &self.part else {
            return self.judge_present(flow, totals);
        };
        let mut own = WorkerTotals::default();
        let present = self.judge_present(flow, &mut own);
        let (end, sums) = part.join(present, own, &self.decoder, flow, &self.breaks);
        totals.add(sums);
        end
    }

    /// The same without what an earlier life knew.
    fn judge_present(&self, flow: &ConnectionSummary, totals: &mut WorkerTotals) -> Option<SessionEnd> {
        let summary = self.decoder.summary();
        let mut network = self.network(flow, &summary, totals);
        for count in &self.codes {
            // What came before the first message that told what codes mean is told by it, too.
            let inferred;
            let meaning = match count.meaning {
                Meaning::Unknown => {
                    inferred = self.meanings.of_code(count.code);
                    &inferred
                }
                ref known => known,
            };
            if !matches!(meaning, Meaning::Base { .. }) {
                network.other_frames += count.frames;
            }
            let (capability, name) = code_words(meaning);
            let sum = totals
                .codes
                .entry((capability, name.to_owned(), count.code))
                .or_default();
            sum.0 += count.frames;
            sum.1 += count.bytes;
        }
        add_flow_limits(flow, totals);
        let syn_seen = flow.syn_seen != [false; 2];
        let mut candidate = false;
        let state = match summary.recognised {
            Recognised::NoPayload => {
                totals.refused += 1;
                return None;
            }
            Recognised::NotRlpx if syn_seen => {
                totals.other_flows += 1;
                return None;
            }
            Recognised::NotRlpx => {
                candidate = true;
                SessionState::NoSecret
            }
            // A byte or two in the middle of a connection have no shape.
            Recognised::NoHandshake if !syn_seen && summary.stream_bytes.iter().sum::<u64>() <= 2 => {
                candidate = true;
                SessionState::NoSecret
            }
            Recognised::NoHandshake => SessionState::NoHandshake,
            Recognised::NoSecret => SessionState::NoSecret,
            Recognised::Decrypted => SessionState::Decrypted,
            Recognised::Lost => SessionState::Lost,
            Recognised::Failed => SessionState::Failed,
        };
        let whole = (flow.first_seen, flow.last_seen);
        let losses = match state {
            SessionState::NoSecret | SessionState::Failed => vec![whole],
            // A handshake that never ended carried no message, unless its end was only not captured.
            SessionState::NoHandshake if summary.gaps == 0 => Vec::new(),
            SessionState::NoHandshake => vec![whole],
            // Nobody talks so much to an end that is silent: its direction was not captured.
            SessionState::Decrypted | SessionState::Lost
                if summary.stream_bytes.contains(&0)
                    && summary.stream_bytes.iter().sum::<u64>() > ONE_SIDED =>
            {
                vec![whole]
            }
            SessionState::Decrypted | SessionState::Lost
                if summary.dropped_bytes > 0 || flow.reason == CloseReason::Evicted =>
            {
                vec![whole]
            }
            SessionState::Decrypted | SessionState::Lost => self.breaks.spans(flow.last_seen),
        };
        let blind = match summary.attached {
            Some(Attached::Midstream) => self.breaks.before_first(whole),
            Some(Attached::Handshake) | None => Vec::new(),
        };
        Some(SessionEnd {
            info: session_info(self.key, &summary, self.went_on),
            state,
            candidate,
            attached: summary.attached.map(|attached| match attached {
                Attached::Handshake => "handshake",
                Attached::Midstream => "midstream",
            }),
            opened_by: summary.secret_source,
            mac: summary.mac,
            frames: summary.frames,
            gaps: summary.gaps,
            lost_bytes: summary.lost_bytes,
            incomplete_bytes: summary.incomplete_bytes,
            capabilities: match &self.meanings.inferred {
                Some(inferred) if summary.capabilities.is_empty() => inferred.capabilities.as_slice(),
                _ => summary.capabilities.as_slice(),
            }
            .iter()
            .map(ToString::to_string)
            .collect(),
            inferred: self.meanings.inferred.as_ref().map(Inferred::words),
            frames_lost: summary.frames_lost,
            stream_bytes: summary.stream_bytes,
            roles: summary.connection_types.map(role),
            spoken: self.spoken,
            detail: summary.detail,
            span: whole,
            losses,
            blind,
            network,
        })
    }

    /// What it tells of the network, but for the kinds of its frames.
    fn network(
        &self,
        flow: &ConnectionSummary,
        summary: &SessionSummary,
        totals: &mut WorkerTotals,
    ) -> SessionNetwork {
        let offers = summary.hellos.each_ref().map(|hello| {
            let offered = hello
                .as_ref()
                .map_or(&[][..], |hello| hello.capabilities.as_slice());
            if offered.len() > MOST_OFFERS {
                *totals.limits.entry("hello_offers".to_owned()).or_default() += 1;
            }
            let mut offers: Vec<String> = offered
                .iter()
                .take(MOST_OFFERS)
                .map(ToString::to_string)
                .collect();
            // Klaytn offers `snap/1` once for each version of `istanbul`.
            offers.sort_unstable();
            offers.dedup();
            offers
        });
        let status = |at: usize| {
            let status = summary.statuses[at].as_ref()?;
            Some(StatusSeen {
                seen: self.statuses_seen[at].unwrap_or(flow.first_seen),
                chain: ChainId {
                    network_id: status.network_id,
                    genesis: status.genesis,
                },
                head: status.head,
                total_difficulty: status.total_difficulty,
                head_number: status.head_number,
            })
        };
        SessionNetwork {
            ways: [summary.initiator, summary.initiator.other()].map(|side| flow.ways[side.index()].clone()),
            offers,
            hellos_seen: self.hellos_seen,
            statuses: [0, 1].map(status),
            disconnects: summary.disconnects.map(|disconnect| Some(disconnect?.words())),
            other_frames: 0,
        }
    }
}

/// Capabilities of one Hello that are listed; real nodes offer less than ten.
const MOST_OFFERS: usize = 32;

/// Bytes from one end, without any from the other, that tell that the other direction is missing from the capture.
const ONE_SIDED: u64 = 8 << 10;

fn code_words(meaning: &Meaning) -> (String, &'static str) {
    match meaning {
        Meaning::Base { name } => ("p2p".to_owned(), name),
        Meaning::Sub { capability, name, .. } => (capability.to_string(), name),
        Meaning::Unknown => ("unknown".to_owned(), "unknown"),
    }
}

fn role(connection_type: Option<u8>) -> Option<&'static str> {
    match connection_type? {
        0 => Some("cn"),
        1 => Some("en"),
        2 => Some("pn"),
        3 => Some("bn"),
        _ => None,
    }
}

fn add_flow_limits(flow: &ConnectionSummary, totals: &mut WorkerTotals) {
    for (name, count) in [
        ("reassembly_memory", flow.limits_reached),
        ("late_segments_bytes", flow.late_bytes),
        ("implausible_segments", flow.implausible_segments),
        ("conflicting_overlaps", flow.conflicting_overlaps),
        ("ignored_resets", flow.ignored_resets),
    ] {
        if count > 0 {
            *totals.limits.entry(name.to_owned()).or_default() += count;
        }
    }
}
