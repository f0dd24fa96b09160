//! Values as bytes: in the temporary file, and in the journal of a monitor that may be restarted.
//!
//! Fixed-width little-endian fields without names. Who keeps records for longer than the process gives them a version and a checksum;
//! reading them gives an error for whatever cannot be, never a panic, and takes no more memory than the record has bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use bftap_ibft_decode::Kind;
use bftap_model::{
    Address, CaptureTime, Endpoint, Hash256, MacState, NodeId, Passages, RoundTrips, Spread, TapId, WaySums,
};
use hashbrown::HashMap;

use crate::aggregator::ReadFacts;
use crate::facts::{CaptureFact, EventFact, SessionState};
use crate::observation::{
    ChainId, SessionEnd, SessionInfo, SessionNetwork, Spoken, StatusSeen, WorkerTotals,
};

/// Writes fields one behind the other.
#[derive(Debug, Default)]
pub struct RecordWriter(pub Vec<u8>);

impl RecordWriter {
    /// One byte.
    pub fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    /// Four bytes.
    pub fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Eight bytes.
    pub fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Eight bytes.
    pub fn i64(&mut self, value: i64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// So many bytes.
    pub fn array<const N: usize>(&mut self, value: &[u8; N]) {
        self.0.extend_from_slice(value);
    }

    /// Bytes with their number in front.
    pub fn bytes(&mut self, value: &[u8]) {
        self.u32(u32::try_from(value.len()).unwrap_or(u32::MAX));
        self.0.extend_from_slice(value);
    }

    /// A flag, and the bytes where there are some.
    pub fn optional<const N: usize>(&mut self, value: Option<&[u8; N]>) {
        self.u8(u8::from(value.is_some()));
        if let Some(value) = value {
            self.array(value);
        }
    }

    /// A value.
    pub fn put<T: Kept>(&mut self, value: &T) {
        value.keep(self);
    }

    /// Values with their number in front.
    pub fn all<'t, T: Kept + 't>(&mut self, values: impl ExactSizeIterator<Item = &'t T>) {
        self.u32(values.len() as u32);
        for value in values {
            value.keep(self);
        }
    }
}

/// Reads what [`RecordWriter`] wrote.
#[derive(Debug)]
pub struct RecordReader<'a>(pub &'a [u8]);

impl<'a> RecordReader<'a> {
    /// So many bytes.
    ///
    /// # Errors
    /// Here and below: the record ends before, or holds what cannot be.
    pub fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk().ok_or(io::ErrorKind::UnexpectedEof)?;
        self.0 = tail;
        Ok(*head)
    }

    /// One byte.
    pub fn u8(&mut self) -> io::Result<u8> {
        self.array::<1>().map(|[value]| value)
    }

    /// Four bytes.
    pub fn u32(&mut self) -> io::Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> io::Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Eight bytes.
    pub fn i64(&mut self) -> io::Result<i64> {
        self.array().map(i64::from_le_bytes)
    }

    /// Bytes with their number in front.
    pub fn bytes(&mut self) -> io::Result<&'a [u8]> {
        let len = self.u32()? as usize;
        let (head, tail) = self.0.split_at_checked(len).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.0 = tail;
        Ok(head)
    }

    /// A flag, and the bytes where there are some.
    pub fn optional<const N: usize>(&mut self) -> io::Result<Option<[u8; N]>> {
        Ok(if self.u8()? == 0 {
            None
        } else {
            Some(self.array()?)
        })
    }

    /// A value.
    pub fn get<T: Kept>(&mut self) -> io::Result<T> {
        T::recall(self)
    }

    /// That this is the end.
    pub fn end(&self) -> io::Result<()> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(io::ErrorKind::InvalidData.into())
        }
    }
}

/// A value that can be kept as a part of a record.
pub trait Kept: Sized {
    /// Writes it.
    fn keep(&self, to: &mut RecordWriter);

    /// Reads it back.
    ///
    /// # Errors
    /// The record ends before, or holds what cannot be.
    fn recall(from: &mut RecordReader<'_>) -> io::Result<Self>;
}

/// Structs, field by field.
#[macro_export]
#[doc(hidden)]
macro_rules! kept {
    ($($name:ident { $($field:ident),* $(,)? })*) => {$(
        impl $crate::record::Kept for $name {
            fn keep(&self, to: &mut $crate::record::RecordWriter) {
                // A field that is added and forgotten here does not compile.
                let Self { $($field),* } = self;
                $(to.put($field);)*
            }

            fn recall(from: &mut $crate::record::RecordReader<'_>) -> std::io::Result<Self> {
                Ok(Self { $($field: from.get()?),* })
            }
        }
    )*};
}

kept! {
    SessionInfo { ends, node_ids, accepted, clients, chain }
    ChainId { network_id, genesis }
    SessionEnd {
        info, state, candidate, attached, opened_by, mac, frames, gaps, lost_bytes, incomplete_bytes, frames_lost, capabilities,
        inferred, stream_bytes, roles, spoken, detail, span, losses, blind, network,
    }
    Spoken { messages, first, last }
    SessionNetwork { ways, offers, hellos_seen, statuses, disconnects, other_frames }
    StatusSeen { seen, chain, head, total_difficulty, head_number }
    WaySums { segments, bytes, retransmissions, round_trips, passages }
    RoundTrips { tap, spread, smoothed, variation }
    Passages { taps, spread }
    Spread { count, sum, min, max }
    WorkerTotals { refused, other_flows, consensus_messages, undecodable, limits, codes, searched_bytes }
    EventFact {
        time_ns, rule, severity, signer, sender, chain, sequence, round, kind, node_id, address, ip, numbers, payloads, detail, suspicious,
    }
    CaptureFact { path, sha256, packets, bytes, kernel_drops, interface_drops, times_down, problem }
    ReadFacts { captures, tap_ends, tcp_packets, bad_checksums, skipped_packets }
    Endpoint { ip, port }
}

macro_rules! kept_as_bytes {
    ($($name:ident)*) => {$(
        impl Kept for $name {
            fn keep(&self, to: &mut RecordWriter) {
                to.array(&self.0);
            }

            fn recall(from: &mut RecordReader<'_>) -> io::Result<Self> {
                from.array().map(Self)
            }
        }
    )*};
}

kept_as_bytes! { Address Hash256 NodeId }

macro_rules! kept_as_number {
    ($($name:ident)*) => {$(
        impl Kept for $name {
            fn keep(&self, to: &mut RecordWriter) {
                to.array(&self.to_le_bytes());
            }

            fn recall(from: &mut RecordReader<'_>) -> io::Result<Self> {
                from.array().map(Self::from_le_bytes)
            }
        }
    )*};
}

kept_as_number! { u8 u16 u32 u64 i64 u128 }

impl Kept for bool {
    fn keep(&self, to: &mut RecordWriter) {
        to.u8(u8::from(*self));
    }

    fn recall(from: &mut RecordReader<'_>) -> io::Result<Self> {
        Ok(from.u8()? != 0)
    }
}

impl Kept for TapId {
    fn keep(&self, to: &mut RecordWriter) {
        to.put(&self.0);
    }

    fn recall(from: &mut RecordReader<'_>) -> io::Result<Self> {
        from.get().map(Self)
    }
}

impl Kept for CaptureTime {
    fn keep(&self, to: &mut RecordWriter) {
        to.i64(self.nanos());
    }

    fn recall(from: &mut RecordReader<'_>) -> io::Result<Self> {
        from.i64().map(Self::from_nanos)
    }
}

impl Kept for IpAddr {
    fn keep(&self, to: &mut RecordWriter) {
        to.u8(u8::from(self.is_ipv4()));
        let octets = match self {
            Self::V4(ip) => ip.to_ipv6_mapped().octets(),
            Self::V6(ip) => ip.octets(),
        };
        to.array(&octets);
    }

    fn recall(from: &mut RecordReader<'_>) -> io::Result<Self> {
        let is_v4 = from.u8()? != 0;
        let ip = Ipv6Addr::from(from.array::<16>()?);
        Ok(match ip.to_ipv4_mapped() {
            Some(ip) if is_v4 => Self::V4(ip),
            _ => Self::V6(ip),
        })
    }
}

impl Kept for String {
    fn keep(&self, to: &mut RecordWriter) {
        to.bytes(self.as_bytes());
    }

    fn recall(from: &mut RecordReader<'_>) -> io::Result<Self> {
        let text = std::str::from_utf8(from.bytes()?).map_err(|_| io::ErrorKind::InvalidData)?;
        Ok(text.to_owned())
    }
}

impl Kept for Arc<str> {
    fn keep(&self, to: &mut RecordWriter) {
        to.bytes(self.as_bytes());
    }

    fn recall(from: &mut RecordReader<'_>) -> io::Result<Self> {
        String::recall(from).map(Into::into)
    }
}

/// Words of the program's own: names of rules, roles and the like.
impl Kept for &'static str {
    fn keep(&self, to: &mut RecordWriter) {
        to.bytes(self.as_bytes());
    }

    fn recall(from: &mut RecordReader<'_>) -> io::Result<Self> {
        /// Each word once, for ever: there are few, and whoever wrote the record was this program.
        static WORDS: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
        const MOST_WORDS: usize = 256;
        const LONGEST: usize = 64;
        let word = String::recall(from)?;
        let mut words = WORDS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = words.get(&*word) {
            return Ok(known);
        }
        if words.len() >= MOST_WORDS || word.len() > LONGEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let word: &'static str = Box::leak(word.into_boxed_str());
        words.insert(word);
        Ok(word)
    }
}

impl Kept for Kind {
    fn keep(&self, to: &mut RecordWriter) {
        to.u8(self.index() as u8);
    }

    fn recall(from: &mut RecordReader<'_>) -> io::Result<Self> {
        one_of(&Self::ALL, from)
    }
}

const STATES: [SessionState; 5] = [
    SessionState::NoHandshake,
    SessionState::NoSecret,
    SessionState::Decrypted,
    SessionState::Lost,
    SessionState::Failed,
];

impl Kept for SessionState {
    fn keep(&self, to: &mut RecordWriter) {
        to.u8(place_among(&STATES, self));
    }

    fn recall(from: &mut RecordReader<'_>) -> io::Result<Self> {
        one_of(&STATES, from)
    }
}

const MACS: [MacState; 4] = [
    MacState::Verified,
    MacState::Skipped,
    MacState::Unverifiable,
    MacState::Failed,
];

impl Kept for MacState {
    fn keep(&self, to: &mut RecordWriter) {
        to.u8(place_among(&MACS, self));
    }

    fn recall(from: &mut RecordReader<'_>) -> io::Result<Self> {
        one_of(&MACS, from)
    }
}

fn place_among<T: PartialEq>(all: &[T], value: &T) -> u8 {
    all.iter()
        .position(|one| one == value)
        .map_or(u8::MAX, |at| at as u8)
}

fn one_of<T: Copy>(all: &[T], from: &mut RecordReader<'_>) -> io::Result<T> {
    let found = all.get(usize::from(from.u8()?)).copied();
    found.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

impl<T: Kept> Kept for Option<T> {
    fn keep(&self, to: &mut RecordWriter) {
        to.u8(u8::from(self.is_some()));
        if let Some(value) = self {
            value.keep(to);
        }
    }

    fn recall(from: &mut RecordReader<'_>) -> io::Result<Self> {
        Ok(if from.u8()? == 0 {
            None
        } else {
            Some(T::recall(from)?)
        })
    }
}

impl<T: Kept> Kept for [T; 2] {
    fn keep(&self, to: &mut RecordWriter) {
        for value in self {
            value.keep(to);
        }
    }

    fn recall(from: &mut RecordReader<'_>) -> io::Result<Self> {
        Ok([T::recall(from)?, T::recall(from)?])
    }
}

impl<A: Kept, B: Kept> Kept for (A, B) {
    fn keep(&self, to: &mut RecordWriter) {
        self.0.keep(to);
        self.1.keep(to);
    }

    fn recall(from: &mut RecordReader<'_>) -> io::Result<Self> {
        Ok((A::recall(from)?, B::recall(from)?))
    }
}

impl<A: Kept, B: Kept, C: Kept> Kept for (A, B, C) {
    fn keep(&self, to: &mut RecordWriter) {
        self.0.keep(to);
        self.1.keep(to);
        self.2.keep(to);
    }

    fn recall(from: &mut RecordReader<'_>) -> io::Result<Self> {
        Ok((A::recall(from)?, B::recall(from)?, C::recall(from)?))
    }
}

/// Collections that grow as their values come: a wrong number must not take memory.
macro_rules! kept_as_list {
    ($($name:ty, [$($bounds:tt)*];)*) => {$(
        impl<$($bounds)*> Kept for $name {
            fn keep(&self, to: &mut RecordWriter) {
                to.u32(self.len() as u32);
                for value in self {
                    value.keep(to);
                }
            }

            fn recall(from: &mut RecordReader<'_>) -> io::Result<Self> {
                (0..from.u32()?).map(|_| from.get()).collect()
            }
        }
    )*};
}

kept_as_list! {
    Vec<T>, [T: Kept];
    BTreeSet<T>, [T: Kept + Ord];
}

impl<K: Kept + Ord, V: Kept> Kept for BTreeMap<K, V> {
    fn keep(&self, to: &mut RecordWriter) {
        to.u32(self.len() as u32);
        for (key, value) in self {
            key.keep(to);
            value.keep(to);
        }
    }

    fn recall(from: &mut RecordReader<'_>) -> io::Result<Self> {
        (0..from.u32()?).map(|_| from.get::<(K, V)>()).collect()
    }
}

impl<K: Kept + Eq + Hash, V: Kept> Kept for HashMap<K, V> {
    fn keep(&self, to: &mut RecordWriter) {
        to.u32(self.len() as u32);
        for (key, value) in self {
            key.keep(to);
            value.keep(to);
        }
    }

    fn recall(from: &mut RecordReader<'_>) -> io::Result<Self> {
        (0..from.u32()?).map(|_| from.get::<(K, V)>()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network() -> SessionNetwork {
        let at = |tap, nanos| (TapId(tap), CaptureTime::from_nanos(nanos));
        let mut trips = RoundTrips::at(TapId(7));
        trips.add(bftap_model::Nanos(11));
        let way = WaySums {
            segments: 1,
            bytes: 2,
            retransmissions: 3,
            round_trips: vec![trips],
            passages: vec![Passages::between(at(1, 2), at(3, -4))],
        };
        SessionNetwork {
            ways: [way, WaySums::default()],
            offers: [vec!["istanbul/64".to_owned()], Vec::new()],
            hellos_seen: [None, Some(CaptureTime::from_nanos(6))],
            statuses: [
                Some(StatusSeen {
                    seen: CaptureTime::from_nanos(7),
                    chain: ChainId {
                        network_id: 1,
                        genesis: Hash256([3; 32]),
                    },
                    head: Hash256([4; 32]),
                    total_difficulty: Some(u128::MAX),
                    head_number: Some(5),
                }),
                None,
            ],
            disconnects: [None, Some("too many peers".to_owned())],
            other_frames: 8,
        }
    }

    fn end() -> SessionEnd {
        SessionEnd {
            info: SessionInfo {
                ends: [1, 2].map(|last| Endpoint {
                    ip: [10, 0, 0, last].into(),
                    port: 30_303,
                }),
                node_ids: [Some(NodeId([7; 64])), None],
                accepted: [true, false],
                clients: [None, Some("Klaytn/v1.4.2".to_owned())],
                chain: Some(ChainId {
                    network_id: 1000,
                    genesis: Hash256([9; 32]),
                }),
            },
            state: SessionState::Lost,
            candidate: true,
            attached: Some("midstream"),
            opened_by: Some("a file".into()),
            mac: Some(MacState::Failed),
            frames: [1, u64::MAX],
            gaps: 3,
            lost_bytes: 4,
            incomplete_bytes: 5,
            frames_lost: [6, 7],
            capabilities: vec!["istanbul/64".to_owned()],
            inferred: None,
            stream_bytes: [8, 9],
            roles: [Some("cn"), None],
            spoken: [
                Spoken::default(),
                Spoken {
                    messages: 3,
                    first: Some(CaptureTime::from_nanos(4)),
                    last: Some(CaptureTime::from_nanos(5)),
                },
            ],
            detail: Some("why".to_owned()),
            span: (CaptureTime::from_nanos(-1), CaptureTime::MAX),
            losses: vec![(CaptureTime::MIN, CaptureTime::MAX)],
            blind: Vec::new(),
            network: network(),
        }
    }

    #[test]
    fn what_is_kept_comes_back() {
        let mut totals = WorkerTotals {
            refused: 1,
            searched_bytes: 2,
            ..WorkerTotals::default()
        };
        totals.limits.insert("some".to_owned(), 3);
        totals
            .codes
            .insert(("istanbul/64".to_owned(), "x".to_owned(), 17), (4, 5));
        let mut record = RecordWriter::default();
        record.put(&vec![end(), end()]);
        record.put(&totals);
        for ip in ["10.0.0.1", "fe80::1", "::ffff:10.0.0.1"] {
            record.put(&ip.parse::<IpAddr>().unwrap());
        }
        let mut reader = RecordReader(&record.0);
        let ends: Vec<SessionEnd> = reader.get().unwrap();
        assert_eq!(format!("{ends:?}"), format!("{:?}", vec![end(), end()]));
        let read: WorkerTotals = reader.get().unwrap();
        assert_eq!(format!("{read:?}"), format!("{totals:?}"));
        for ip in ["10.0.0.1", "fe80::1", "::ffff:10.0.0.1"] {
            assert_eq!(reader.get::<IpAddr>().unwrap().to_string(), ip);
        }
        reader.end().unwrap();
    }

    #[test]
    fn records_that_are_cut_or_changed_are_errors_and_no_panics() {
        let mut record = RecordWriter::default();
        record.put(&vec![end()]);
        for len in 0..record.0.len() {
            assert!(RecordReader(&record.0[..len]).get::<Vec<SessionEnd>>().is_err());
        }
        for at in 0..record.0.len() {
            let mut changed = record.0.clone();
            changed[at] ^= 0xff;
            let _ = RecordReader(&changed).get::<Vec<SessionEnd>>();
        }
        let mut reader = RecordReader(&[1, 2]);
        assert!(reader.u32().is_err());
        assert_eq!(reader.u8().unwrap(), 1);
        assert!(reader.end().is_err());
    }
}
