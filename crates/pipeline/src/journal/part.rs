//! An open session as a journal keeps it, and how what came of it before a restart becomes one with what comes after.
//!
//! Where reading goes on is told by places, which are exact: between the start of a frame before the pause and the start of one behind
//! it lie d bytes of the stream and b blocks of the key stream, so d / 32 - b / 2 frames (see `bftap_decrypt`'s `frame/resync.rs`).

use std::io;

use bftap_analysis::facts::SessionState;
use bftap_analysis::record::{RecordReader, RecordWriter};
use bftap_analysis::{SessionEnd, SessionKey, WorkerTotals, kept};
use bftap_capture::connection::ConnectionSummary;
use bftap_decrypt::SessionDecoder;
use bftap_model::{CaptureTime, Direction, Endpoint, FlowKey, SeqNumber, Side};

use crate::breaks::{Breaks, Span};
use crate::checkpoint::{SavedPlace, SavedSession};

/// See the module's documentation. Pairs are by [`Side::index`] but for those in `end`.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// Its name in the journal.
    pub(crate) id: u64,
    pub(crate) flow: FlowKey,
    /// What became of it so far; `None` if it is no session.
    pub(crate) end: Option<SessionEnd>,
    /// What it gave to the sums.
    pub(crate) totals: WorkerTotals,
    /// Where it is in its key stream, if it was opened.
    pub(crate) saved: Option<SavedSession>,
    /// One behind the last byte that came, or is known to be missing.
    pub(crate) stream_ends: [Option<SeqNumber>; 2],
    /// Bytes behind the place that are counted as lost already.
    pub(crate) accounted: [u64; 2],
    /// Its latest packet.
    pub(crate) last_seen: CaptureTime,
}

/// What changes of a part while its session goes on, as a record.
struct Moving {
    low: Endpoint,
    high: Endpoint,
    end: Option<SessionEnd>,
    totals: WorkerTotals,
    places: Option<[Option<(u32, u64)>; 2]>,
    stream_ends: [Option<u32>; 2],
    accounted: [u64; 2],
    last_seen: CaptureTime,
}

kept! {
    Moving { low, high, end, totals, places, stream_ends, accounted, last_seen }
}

/// How a session went on behind a pause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct WentOn {
    /// Nothing of this direction is missing.
    whole: bool,
    /// Bytes that the present part counts neither as read nor as lost; negative if it counts some that were read before.
    lost_bytes: i64,
    /// Frames between the two places; negative if some were read twice.
    frames_lost: i64,
    /// Bytes that were given twice.
    repeated: u64,
    /// Reading goes on.
    joined: bool,
}

impl Part {
    /// A key that no session has.
    pub(crate) fn key(&self) -> SessionKey {
        SessionKey {
            worker: u16::MAX,
            connection: self.id,
        }
    }

    /// The two halves of its record: what hardly ever changes, and what changes with every packet.
    pub(crate) fn write(&self) -> (Vec<u8>, Vec<u8>) {
        let fixed = self
            .saved
            .as_ref()
            .map(SavedSession::fixed_json)
            .unwrap_or_default();
        let moving = Moving {
            low: self.flow.low,
            high: self.flow.high,
            end: self.end.clone(),
            totals: self.totals.clone(),
            places: self.saved.as_ref().map(|saved| {
                saved
                    .places
                    .map(|place| place.map(|place| (place.sequence.0, place.block)))
            }),
            stream_ends: self.stream_ends.map(|end| end.map(|end| end.0)),
            accounted: self.accounted,
            last_seen: self.last_seen,
        };
        let mut record = RecordWriter::default();
        record.put(&moving);
        (fixed, record.0)
    }

    /// Reads what [`write`](Self::write) wrote.
    pub(crate) fn read(id: u64, fixed: &[u8], moving: &[u8]) -> io::Result<Self> {
        let mut record = RecordReader(moving);
        let moving: Moving = record.get()?;
        record.end()?;
        if moving.low == moving.high {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut saved = match fixed {
            [] => None,
            fixed => Some(SavedSession::from_fixed_json(fixed).ok_or(io::ErrorKind::InvalidData)?),
        };
        if let (Some(saved), Some(places)) = (&mut saved, moving.places) {
            saved.last_seen = moving.last_seen;
            saved.places = places.map(|place| {
                place.map(|(sequence, block)| SavedPlace {
                    sequence: SeqNumber(sequence),
                    block,
                })
            });
        }
        Ok(Self {
            id,
            flow: FlowKey::of(moving.low, moving.high).0,
            end: moving.end,
            totals: moving.totals,
            saved,
            stream_ends: moving.stream_ends.map(|end| end.map(SeqNumber)),
            accounted: moving.accounted,
            last_seen: moving.last_seen,
        })
    }

    /// What became of a session that ended while nobody looked, before `seen`.
    pub(crate) fn ended(&self, seen: CaptureTime) -> Option<SessionEnd> {
        let mut end = self.end.clone()?;
        end.gaps += 1;
        if !end.candidate {
            end.blind.push((self.last_seen.min(seen), seen));
            end.detail
                .get_or_insert_with(|| "its end was not seen: this monitor did not run then".to_owned());
        }
        Some(end)
    }

    /// Joins what came before the pause with what came after, by `decoder` and `flow`: what became of the session, and what it gave to the
    /// sums in all.
    pub(crate) fn join(
        &self,
        present: Option<SessionEnd>,
        mut totals: WorkerTotals,
        decoder: &SessionDecoder,
        flow: &ConnectionSummary,
        breaks: &Breaks,
    ) -> (Option<SessionEnd>, WorkerTotals) {
        let went_on = Side::BOTH.map(|side| self.went_on(side, decoder, flow));
        let joined = match (self.end.clone(), present) {
            (None, None) => None,
            (None, Some(present)) if present.candidate => None,
            (None, Some(present)) => Some(present),
            (Some(before), present) => Some(self.join_ends(before, present, went_on, decoder, flow, breaks)),
        };
        let (refused, other_flows) = (totals.refused, totals.other_flows);
        totals.add(self.totals.clone());
        if joined.is_some() {
            (totals.refused, totals.other_flows) = (0, 0);
        } else {
            totals.refused = self.totals.refused;
            totals.other_flows = self.totals.other_flows;
            if totals.refused + totals.other_flows == 0 {
                (totals.refused, totals.other_flows) = (refused, other_flows);
            }
        }
        (joined, totals)
    }

    fn went_on(&self, side: Side, decoder: &SessionDecoder, flow: &ConnectionSummary) -> WentOn {
        let at = side.index();
        let mut went_on = WentOn::default();
        let Some(start) = flow.starts[at] else {
            return went_on;
        };
        let mut hole = 0;
        if let Some(end) = self.stream_ends[at] {
            hole = i64::from(start.distance_from(end));
            went_on.repeated = u64::try_from(-hole).unwrap_or(0).min(flow.payload_bytes[at]);
        }
        let same = |saved: &&SavedSession| {
            decoder
                .opened_by()
                .is_some_and(|(_, secret)| secret == saved.secret)
        };
        let saved = self.saved.as_ref().filter(same);
        let place = saved.and_then(|saved| saved.place(side));
        let found = decoder
            .joined_at(side)
            .and_then(|(offset, block)| Some((i64::try_from(offset.0).ok()?, block)));
        let (Some(place), Some((offset, block))) = (place, found) else {
            went_on.lost_bytes = hole.max(0);
            went_on.joined = found.is_some();
            return went_on;
        };
        let remembered = i64::from(place.sequence.distance_from(start));
        let bytes = offset - remembered;
        let blocks = i64::try_from(i128::from(block) - i128::from(place.block)).unwrap_or(i64::MAX);
        let accounted = i64::try_from(self.accounted[at]).unwrap_or(i64::MAX);
        went_on.joined = true;
        went_on.whole = bytes == 0;
        went_on.lost_bytes = (-remembered).max(-offset).saturating_sub(accounted);
        went_on.frames_lost = (bytes / 16).saturating_sub(blocks) / 2;
        went_on
    }

    fn join_ends(
        &self,
        before: SessionEnd,
        present: Option<SessionEnd>,
        went_on: [WentOn; 2],
        decoder: &SessionDecoder,
        flow: &ConnectionSummary,
        breaks: &Breaks,
    ) -> SessionEnd {
        let mut end = before;
        let whole = went_on.iter().all(|way| way.whole);
        end.gaps += u64::from(!whole);
        let side_of = |direction: Direction| {
            let (low, _) = (self.flow.low, self.flow.high);
            let initiator = if end.info.ends[0] == low {
                Side::Low
            } else {
                Side::High
            };
            match direction {
                Direction::FromInitiator => initiator,
                Direction::FromRecipient => initiator.other(),
            }
        };
        let ways = [Direction::FromInitiator, Direction::FromRecipient];
        let spans: Vec<Span> = ways
            .into_iter()
            .filter(|direction| !went_on[side_of(*direction).index()].whole)
            .map(|direction| {
                let until = breaks.first(direction).unwrap_or(flow.last_seen);
                (self.last_seen.min(until), until)
            })
            .collect();
        let ways = ways.map(|direction| went_on[side_of(direction).index()]);
        let lost: i64 = ways.iter().fold(0, |sum, way| sum.saturating_add(way.lost_bytes));
        end.span.1 = end.span.1.max(flow.last_seen);
        if !end.candidate {
            end.blind.extend(spans);
            bound(&mut end.blind);
        }
        let Some(mut present) = present else {
            return end;
        };
        if present.info.ends == [end.info.ends[1], end.info.ends[0]] {
            // Who dialled was seen before the pause.
            present.frames.reverse();
            present.frames_lost.reverse();
            present.stream_bytes.reverse();
            present.roles.reverse();
            present.spoken.reverse();
            present.info.node_ids.reverse();
            present.info.accepted.reverse();
            present.info.clients.reverse();
            present.network.turn();
        }
        end.network.go_on(&present.network);
        let opened = present.attached.is_some();
        if end.attached.is_some() && !opened {
            // It was read, and what there is since the pause does not show yet how to go on.
            if !decoder.is_resuming() && present.state != SessionState::Decrypted {
                end.state = SessionState::Lost;
                end.detail =
                    Some("its place in the key stream was not found again behind a restart".to_owned());
            }
        } else if !(present.candidate || present.state == SessionState::NoSecret && end.attached.is_none()) {
            end.state = present.state;
            end.detail = present.detail;
        }
        end.candidate &= present.candidate;
        end.attached = end.attached.or(present.attached);
        end.opened_by = present.opened_by.or(end.opened_by);
        end.mac = end.mac.max(present.mac);
        for way in [0, 1] {
            let frames = i128::from(end.frames[way]) + i128::from(present.frames[way]);
            let lost = ways[way].frames_lost;
            end.frames[way] = u64::try_from(frames + i128::from(lost.min(0))).unwrap_or(0);
            end.frames_lost[way] = end.frames_lost[way]
                .saturating_add(present.frames_lost[way])
                .saturating_add(u64::try_from(lost).unwrap_or(0));
            end.stream_bytes[way] = end.stream_bytes[way]
                .saturating_add(present.stream_bytes[way].saturating_sub(ways[way].repeated));
            if present.info.node_ids[way].is_some() {
                end.info.node_ids[way] = present.info.node_ids[way];
            }
            end.info.accepted[way] |= present.info.accepted[way];
            if present.info.clients[way].is_some() {
                end.info.clients[way] = present.info.clients[way].take();
            }
            end.roles[way] = present.roles[way].or(end.roles[way]);
            end.spoken[way].join(&present.spoken[way]);
        }
        end.info.chain = present.info.chain.or(end.info.chain);
        end.gaps += present.gaps;
        end.lost_bytes = end
            .lost_bytes
            .saturating_add(present.lost_bytes)
            .saturating_add_signed(lost);
        end.incomplete_bytes = if ways.iter().any(|way| way.joined) {
            present.incomplete_bytes
        } else {
            end.incomplete_bytes.saturating_add(present.incomplete_bytes)
        };
        if !present.capabilities.is_empty() {
            end.capabilities = present.capabilities;
        }
        end.inferred = present.inferred.or(end.inferred);
        if opened || end.attached.is_none() {
            end.losses.append(&mut present.losses);
            bound(&mut end.losses);
        }
        end
    }
}

/// Spans that are kept apart; further ones are joined to the last.
const MOST_SPANS: usize = 2048;

fn bound(spans: &mut Vec<Span>) {
    while spans.len() > MOST_SPANS
        && let Some((from, to)) = spans.pop()
        && let Some(last) = spans.last_mut()
    {
        *last = (last.0.min(from), last.1.max(to));
    }
}
