//! A batch as bytes. Only this program reads them, and only while it runs: there is no version.
//!
//! Texts stand once in a record, so that several batches in one record take no more room than they took apart.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use bftap_analysis::facts::{
    CountFact, DeliveryFact, LinkCountFact, NodeRoundFact, Outcome, RoundCause, RoundFact, RoundStanding,
    VoteFact, VoteState,
};
use bftap_ibft_decode::Kind;
use bftap_model::{CaptureTime, Hash256};

use crate::store::{Batch, HeightVotes, Replaced};

/// The rows of a batch; `live` is the writer's own affair.
pub(super) fn write(batch: &Batch) -> Vec<u8> {
    let mut to = Writer::default();
    to.list(&batch.replaced.heights, |to, (chain, sequence)| {
        to.text(chain);
        to.u64(*sequence);
    });
    to.list(&batch.replaced.minutes, |to, minute| to.time(*minute));
    to.list(&batch.counts, |to, row| {
        to.text(&row.chain);
        to.ip(row.receiver_ip);
        to.text(&row.receiver);
        to.byte(row.kind.index() as u8);
        to.byte(u8::from(row.lower_bound));
        for number in [
            row.sequence,
            row.round,
            row.messages,
            row.useful,
            row.repeats,
            row.echoes,
            row.resent,
            row.echo_source,
            row.crossing,
            row.regossip,
            row.invalid,
            row.bytes,
        ] {
            to.u64(number);
        }
        to.time(row.first_seen);
        to.time(row.last_seen);
    });
    to.list(&batch.deliveries, |to, row| {
        to.text(&row.chain);
        to.ip(row.receiver_ip);
        to.text(&row.sender);
        to.text(&row.signer);
        to.byte(row.kind.index() as u8);
        to.u64(row.sequence);
        to.u64(row.round);
        to.u64(row.copies);
        to.time(row.first_seen);
        to.time(row.last_seen);
    });
    to.list(&batch.rounds, |to, row| {
        to.text(&row.chain);
        to.u64(row.sequence);
        to.u64(row.round);
        to.optional(row.proposer.as_ref(), Writer::text);
        to.optional(row.validators, |to, number| to.u64(number.into()));
        to.optional(row.quorum, |to, number| to.u64(number.into()));
        for time in [row.preprepare_ns, row.prepared_ns, row.committed_ns] {
            to.optional(time, Writer::time);
        }
        to.u64(row.messages);
        to.byte(
            OUTCOMES
                .iter()
                .position(|outcome| *outcome == row.outcome)
                .unwrap_or(0) as u8,
        );
        to.byte(
            RoundStanding::ALL
                .iter()
                .position(|standing| *standing == row.standing)
                .unwrap_or(0) as u8,
        );
        to.optional(row.cause, |to, cause| {
            to.byte(CAUSES.iter().position(|known| *known == cause).unwrap_or(0) as u8);
        });
        to.optional(row.block_time_ns, |to, time| to.u64(time.cast_unsigned()));
    });
    to.list(&batch.node_rounds, |to, row| {
        to.text(&row.chain);
        to.u64(row.sequence);
        to.u64(row.round);
        to.ip(row.node_ip);
        to.text(&row.node);
        for time in [
            row.preprepare_ns,
            row.prepared_ns,
            row.committed_ns,
            row.roundchange_ns,
        ] {
            to.optional(time, Writer::time);
        }
        to.byte(u8::from(row.lower_bound));
    });
    to.list(&batch.votes, |to, height| {
        to.text(&height.chain);
        to.u64(height.sequence);
        to.list(&height.votes, |to, vote| {
            to.u64(vote.round);
            to.byte(vote.kind.index() as u8);
            to.text(&vote.signer);
            to.optional(vote.digest, |to, digest| to.rows.extend_from_slice(&digest.0));
            to.optional(vote.first_ns, Writer::time);
            to.optional(vote.first_sender.as_ref(), Writer::text);
            to.u64(vote.reached.into());
            to.u64(vote.of.into());
            to.list(&vote.not_reached, Writer::text);
            to.byte(STATES.iter().position(|known| *known == vote.state).unwrap_or(0) as u8);
        });
    });
    to.list(&batch.links, |to, row| {
        to.text(&row.chain);
        to.time(row.minute);
        to.ip(row.receiver_ip);
        to.text(&row.receiver);
        to.text(&row.sender);
        to.byte(row.kind.index() as u8);
        to.u64(row.messages);
        to.u64(row.bytes);
    });
    to.finish()
}

/// Reads what [`write`] wrote.
pub(super) fn read(record: &[u8]) -> io::Result<Batch> {
    let mut from = Reader::new(record)?;
    let heights = from.list(|from| Ok((from.text()?, from.u64()?)))?;
    let minutes = from.list(Reader::time)?;
    let counts = from.list(|from| {
        let (chain, receiver_ip, receiver) = (from.text()?, from.ip()?, from.text()?);
        let (kind, lower_bound) = (from.kind()?, from.byte()? != 0);
        Ok(CountFact {
            chain,
            receiver_ip,
            receiver,
            kind,
            lower_bound,
            sequence: from.u64()?,
            round: from.u64()?,
            messages: from.u64()?,
            useful: from.u64()?,
            repeats: from.u64()?,
            echoes: from.u64()?,
            resent: from.u64()?,
            echo_source: from.u64()?,
            crossing: from.u64()?,
            regossip: from.u64()?,
            invalid: from.u64()?,
            bytes: from.u64()?,
            first_seen: from.time()?,
            last_seen: from.time()?,
        })
    })?;
    let deliveries = from.list(|from| {
        Ok(DeliveryFact {
            chain: from.text()?,
            receiver_ip: from.ip()?,
            sender: from.text()?,
            signer: from.text()?,
            kind: from.kind()?,
            sequence: from.u64()?,
            round: from.u64()?,
            copies: from.u64()?,
            first_seen: from.time()?,
            last_seen: from.time()?,
        })
    })?;
    let rounds = from.list(|from| {
        Ok(RoundFact {
            chain: from.text()?,
            sequence: from.u64()?,
            round: from.u64()?,
            proposer: from.optional(Reader::text)?,
            validators: from.optional(Reader::u32)?,
            quorum: from.optional(Reader::u32)?,
            preprepare_ns: from.optional(Reader::time)?,
            prepared_ns: from.optional(Reader::time)?,
            committed_ns: from.optional(Reader::time)?,
            messages: from.u64()?,
            outcome: *OUTCOMES
                .get(usize::from(from.byte()?))
                .ok_or(io::ErrorKind::InvalidData)?,
            standing: *RoundStanding::ALL
                .get(usize::from(from.byte()?))
                .ok_or(io::ErrorKind::InvalidData)?,
            cause: from.optional(|from| {
                let cause = CAUSES.get(usize::from(from.byte()?)).copied();
                cause.ok_or_else(|| io::ErrorKind::InvalidData.into())
            })?,
            block_time_ns: from.optional(|from| from.u64().map(u64::cast_signed))?,
        })
    })?;
    let node_rounds = from.list(|from| {
        Ok(NodeRoundFact {
            chain: from.text()?,
            sequence: from.u64()?,
            round: from.u64()?,
            node_ip: from.ip()?,
            node: from.text()?,
            preprepare_ns: from.optional(Reader::time)?,
            prepared_ns: from.optional(Reader::time)?,
            committed_ns: from.optional(Reader::time)?,
            roundchange_ns: from.optional(Reader::time)?,
            lower_bound: from.byte()? != 0,
        })
    })?;
    let votes = from.list(|from| {
        let (chain, sequence) = (from.text()?, from.u64()?);
        let votes = from.list(|from| {
            Ok(VoteFact {
                chain: Arc::clone(&chain),
                sequence,
                round: from.u64()?,
                kind: from.kind()?,
                signer: from.text()?,
                digest: from.optional(|from| from.array().map(Hash256))?,
                first_ns: from.optional(Reader::time)?,
                first_sender: from.optional(Reader::text)?,
                reached: from.u32()?,
                of: from.u32()?,
                not_reached: from.list(Reader::text)?,
                state: *STATES
                    .get(usize::from(from.byte()?))
                    .ok_or(io::ErrorKind::InvalidData)?,
                // No table has it.
                received: Vec::new(),
            })
        })?;
        Ok(HeightVotes {
            chain,
            sequence,
            votes,
        })
    })?;
    let links = from.list(|from| {
        Ok(LinkCountFact {
            chain: from.text()?,
            minute: from.time()?,
            receiver_ip: from.ip()?,
            receiver: from.text()?,
            sender: from.text()?,
            kind: from.kind()?,
            messages: from.u64()?,
            bytes: from.u64()?,
        })
    })?;
    if !from.rest.is_empty() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(Batch {
        counts,
        deliveries,
        rounds,
        node_rounds,
        votes,
        links,
        replaced: Replaced { heights, minutes },
        live: None,
    })
}

const OUTCOMES: [Outcome; 4] = [
    Outcome::Decided,
    Outcome::Changed,
    Outcome::Open,
    Outcome::Unknown,
];

const STATES: [VoteState; 6] = [
    VoteState::Complete,
    VoteState::Late,
    VoteState::Partial,
    VoteState::Missing,
    VoteState::Unknown,
    VoteState::NotNeeded,
];

const CAUSES: [RoundCause; 5] = [
    RoundCause::NoPreprepare,
    RoundCause::LatePreprepare,
    RoundCause::VotesMissing,
    RoundCause::QuorumTooLate,
    RoundCause::Unknown,
];

#[derive(Default)]
struct Writer {
    texts: Vec<u8>,
    known: HashMap<Arc<str>, u32>,
    rows: Vec<u8>,
}

impl Writer {
    fn byte(&mut self, byte: u8) {
        self.rows.push(byte);
    }

    fn u64(&mut self, number: u64) {
        self.rows.extend_from_slice(&number.to_le_bytes());
    }

    fn time(&mut self, time: CaptureTime) {
        self.rows.extend_from_slice(&time.nanos().to_le_bytes());
    }

    fn ip(&mut self, ip: IpAddr) {
        match ip {
            IpAddr::V4(ip) => {
                self.byte(4);
                self.rows.extend_from_slice(&ip.octets());
            }
            IpAddr::V6(ip) => {
                self.byte(6);
                self.rows.extend_from_slice(&ip.octets());
            }
        }
    }

    fn text(&mut self, text: &Arc<str>) {
        let next = self.known.len() as u32;
        let number = *self.known.entry(Arc::clone(text)).or_insert_with(|| {
            self.texts.extend_from_slice(&(text.len() as u32).to_le_bytes());
            self.texts.extend_from_slice(text.as_bytes());
            next
        });
        self.rows.extend_from_slice(&number.to_le_bytes());
    }

    fn optional<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.byte(u8::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }

    fn list<T>(&mut self, rows: &[T], write: impl Fn(&mut Self, &T)) {
        self.u64(rows.len() as u64);
        for row in rows {
            write(self, row);
        }
    }

    fn finish(self) -> Vec<u8> {
        let mut record = (self.known.len() as u32).to_le_bytes().to_vec();
        record.extend_from_slice(&self.texts);
        record.extend_from_slice(&self.rows);
        record
    }
}

struct Reader<'r> {
    texts: Vec<Arc<str>>,
    rest: &'r [u8],
}

impl<'r> Reader<'r> {
    fn new(record: &'r [u8]) -> io::Result<Self> {
        let mut reader = Self {
            texts: Vec::new(),
            rest: record,
        };
        for _ in 0..u32::from_le_bytes(reader.array()?) {
            let len = u32::from_le_bytes(reader.array()?) as usize;
            let (text, rest) = reader
                .rest
                .split_at_checked(len)
                .ok_or(io::ErrorKind::UnexpectedEof)?;
            let text = std::str::from_utf8(text).map_err(|_| io::ErrorKind::InvalidData)?;
            reader.texts.push(text.into());
            reader.rest = rest;
        }
        Ok(reader)
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let (head, rest) = self
            .rest
            .split_first_chunk()
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        self.rest = rest;
        Ok(*head)
    }

    fn byte(&mut self) -> io::Result<u8> {
        self.array().map(|[byte]| byte)
    }

    fn u64(&mut self) -> io::Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn u32(&mut self) -> io::Result<u32> {
        u32::try_from(self.u64()?).map_err(|_| io::ErrorKind::InvalidData.into())
    }

    fn time(&mut self) -> io::Result<CaptureTime> {
        self.array().map(i64::from_le_bytes).map(CaptureTime::from_nanos)
    }

    fn kind(&mut self) -> io::Result<Kind> {
        let index = usize::from(self.byte()?);
        Kind::ALL
            .get(index)
            .copied()
            .ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    fn ip(&mut self) -> io::Result<IpAddr> {
        match self.byte()? {
            4 => Ok(Ipv4Addr::from(self.array::<4>()?).into()),
            6 => Ok(Ipv6Addr::from(self.array::<16>()?).into()),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn text(&mut self) -> io::Result<Arc<str>> {
        let number = u32::from_le_bytes(self.array()?) as usize;
        let text = self.texts.get(number).cloned();
        text.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    fn optional<T>(&mut self, read: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<Option<T>> {
        Ok(if self.byte()? == 0 {
            None
        } else {
            Some(read(self)?)
        })
    }

    fn list<T>(&mut self, read: impl Fn(&mut Self) -> io::Result<T>) -> io::Result<Vec<T>> {
        let count = self.u64()?;
        // Grows as rows come: a wrong number must not take memory.
        let mut rows = Vec::new();
        for _ in 0..count {
            rows.push(read(self)?);
        }
        Ok(rows)
    }
}
