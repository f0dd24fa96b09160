//! Which frames still have all their bytes in a damaged capture.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::ops::Range;

use bftap_ibft_decode::Kind;
use bftap_model::{Address, Endpoint, FlowKey};
use bftap_simnet::LoggedFrame;

use super::headers::{Segment, segment};
use super::pcap::{CaptureError, packets};

/// Messages that are counted together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageKey {
    /// Chain of the session, as in the truth.
    pub chain: String,
    /// Whom they were sent to.
    pub receiver: IpAddr,
    /// Who sent them, which is not always who made them.
    pub sender: IpAddr,
    /// Whose key signed them; `None` when no key of the network did.
    pub signer: Option<Address>,
    /// Kind.
    pub kind: Kind,
    /// Height.
    pub sequence: u64,
    /// Round; of a round change the one asked for.
    pub round: u64,
}

/// The frames of the log all of whose stream bytes are in one of the captures, in the order of the log.
///
/// Bytes count wherever they come from: another tap, a duplicate, a retransmission. Whether anything can be made of a
/// frame without what stood before it is not asked, nor whether its session's secret was logged.
pub fn surviving<'f>(
    captures: &[&[u8]],
    log: &'f [LoggedFrame],
) -> Result<Vec<&'f LoggedFrame>, CaptureError> {
    let mut connections = Connections::of(log)?;
    for capture in captures {
        for (time, bytes, _) in packets(capture)? {
            if let Some(segment) = segment(&bytes).filter(|segment| segment.captured > 0) {
                connections.see(time, &segment);
            }
        }
    }
    let seen = connections.finish();
    let whole = |frame: &&LoggedFrame| {
        let pieces = &seen[&frame.connection][frame.direction.index()];
        holds(pieces, &frame.stream)
    };
    Ok(log.iter().filter(whole).collect())
}

/// Counts the consensus messages that could be read from the captures with all secrets of the key log: those in
/// [`surviving`] frames of sessions whose secret was logged.
pub fn recoverable(
    captures: &[&[u8]],
    log: &[LoggedFrame],
) -> Result<BTreeMap<MessageKey, u64>, CaptureError> {
    let mut counts = BTreeMap::new();
    for frame in surviving(captures, log)? {
        let Some(message) = frame.message.as_ref().filter(|_| frame.secret_logged) else {
            continue;
        };
        let key = MessageKey {
            chain: message.chain.clone(),
            receiver: frame.receiver().ip,
            sender: frame.sender().ip,
            signer: message.signer,
            kind: message.kind,
            sequence: message.view.sequence,
            round: message.view.round,
        };
        *counts.entry(key).or_default() += 1;
    }
    Ok(counts)
}

/// Pieces of both streams of each connection, sorted, none touching another.
type Pieces = HashMap<u32, [Vec<Range<u64>>; 2]>;

struct Connection {
    number: u32,
    initiator: Endpoint,
    dialled: i64,
    isn: [u32; 2],
    /// Where the last logged frame of each stream ends.
    ends: [u64; 2],
    pieces: [Vec<Range<u64>>; 2],
}

struct Connections(HashMap<FlowKey, Vec<Connection>>);

impl Connections {
    fn of(log: &[LoggedFrame]) -> Result<Self, CaptureError> {
        let mut by_ends: HashMap<FlowKey, Vec<Connection>> = HashMap::new();
        for frame in log {
            let (key, _) = FlowKey::of(frame.initiator, frame.recipient);
            let known = by_ends.entry(key).or_default();
            let index = known.iter().position(|known| known.number == frame.connection);
            let index = index.unwrap_or_else(|| {
                known.push(Connection {
                    number: frame.connection,
                    initiator: frame.initiator,
                    // pcap's microseconds are cut off.
                    dialled: frame.dialled.nanos() / 1000 * 1000,
                    isn: frame.isn,
                    ends: [0; 2],
                    pieces: [const { Vec::new() }; 2],
                });
                known.len() - 1
            });
            let end = &mut known[index].ends[frame.direction.index()];
            *end = frame.stream.end.max(*end);
            if *end > u64::from(u32::MAX) {
                return Err(CaptureError::StreamTooLong {
                    connection: frame.connection,
                });
            }
        }
        for known in by_ends.values_mut() {
            known.sort_by_key(|connection| connection.dialled);
        }
        Ok(Self(by_ends))
    }

    /// Takes a packet with payload.
    fn see(&mut self, time: i64, segment: &Segment) {
        let (key, _) = FlowKey::of(segment.source, segment.destination);
        let Some(known) = self.0.get_mut(&key) else { return };
        // Where the numbers fit more than one connection between the same ends, the time decides.
        let fitting = |connection: &Connection| {
            let (side, start) = connection.place(segment);
            start < connection.ends[side]
        };
        let latest = known
            .iter()
            .rposition(|connection| fitting(connection) && connection.dialled <= time);
        let Some(index) = latest.or_else(|| known.iter().position(fitting)) else {
            return;
        };
        let (side, start) = known[index].place(segment);
        known[index].pieces[side].push(start..start + u64::from(segment.captured));
    }

    fn finish(self) -> Pieces {
        let connections = self.0.into_values().flatten();
        connections
            .map(|connection| (connection.number, connection.pieces.map(joined)))
            .collect()
    }
}

impl Connection {
    /// Side and stream offset of a segment's first byte.
    fn place(&self, segment: &Segment) -> (usize, u64) {
        let side = usize::from(segment.source != self.initiator);
        let offset = segment.payload_seq().wrapping_sub(self.isn[side].wrapping_add(1));
        (side, offset.into())
    }
}

/// Sorted, with what overlaps or touches made one.
fn joined(mut pieces: Vec<Range<u64>>) -> Vec<Range<u64>> {
    pieces.sort_by_key(|piece| piece.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for piece in pieces {
        match joined.last_mut() {
            Some(last) if piece.start <= last.end => last.end = last.end.max(piece.end),
            _ => joined.push(piece),
        }
    }
    joined
}

fn holds(pieces: &[Range<u64>], wanted: &Range<u64>) -> bool {
    let behind = pieces.partition_point(|piece| piece.start <= wanted.start);
    behind
        .checked_sub(1)
        .is_some_and(|index| pieces[index].end >= wanted.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_joined_where_they_touch() {
        let pieces = joined(vec![10..20, 0..5, 5..8, 12..14, 20..21, 30..31]);
        assert_eq!(pieces, [0..8, 10..21, 30..31]);
        assert!(holds(&pieces, &(10..21)));
        assert!(holds(&pieces, &(2..8)));
        for missing in [8..10, 7..9, 9..11, 20..22, 40..41, 0..21] {
            assert!(!holds(&pieces, &missing), "{missing:?}");
        }
        assert!(!holds(&[], &(0..1)));
    }
}
