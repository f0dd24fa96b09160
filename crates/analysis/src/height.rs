//! One height of one chain while it is open: which payloads went from whom to whom.
//!
//! All of it merges: payloads are a set, copies are added over parts that cannot overlap (the flows that workers own, and
//! the spans of time between two spills), first times are minima, last times maxima. So neither the order of workers nor a spill changes the answer.

use std::io;

use bftap_ibft_decode::{Kind, Validity};
use bftap_model::{Address, CaptureTime, Hash256};
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use crate::observation::{Occurrence, Payload};
use crate::record::{RecordReader, RecordWriter};

/// What closing a height needs to know of a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PayloadEntry {
    pub(crate) hash: Hash256,
    pub(crate) kind: Kind,
    pub(crate) round: u64,
    /// Recovered from the signature; the claimed address where signatures are not checked.
    pub(crate) signer: Option<Address>,
    pub(crate) claimed: Option<Address>,
    /// The signature fails, or belongs to another than the claimed address.
    pub(crate) invalid: bool,
    /// The signature was looked at: what the message says of its signer is proven, or proven wrong.
    pub(crate) checked: bool,
    pub(crate) digest: Option<Hash256>,
    /// Hash of the block before, as far as the message says it under its signature.
    pub(crate) parent: Option<Hash256>,
    pub(crate) proposal: Option<Box<ProposalEntry>>,
}

/// What closing a height needs to know of a proposed block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProposalEntry {
    pub(crate) hash: Hash256,
    /// Who sealed the block: not who proposes it, where a locked block is proposed again.
    pub(crate) author: Option<Address>,
    pub(crate) validators: Vec<Address>,
}

/// Copies of one payload that one party handed to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Delivery {
    pub(crate) copies: u32,
    /// Bytes of the largest frame.
    pub(crate) largest: u32,
    pub(crate) bytes: u64,
    pub(crate) first_seen: CaptureTime,
    pub(crate) last_seen: CaptureTime,
    /// Earliest arrival: sight at the last tap on the way, else the only sight.
    pub(crate) first_arrival: CaptureTime,
}

/// Which payload (index into the height's payloads), to whom, from whom (indices of parties of the run).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct DeliveryKey {
    pub(crate) payload: u32,
    pub(crate) receiver: u32,
    pub(crate) sender: u32,
}

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Height {
    pub(crate) payloads: Vec<PayloadEntry>,
    by_hash: HashMap<Hash256, u32>,
    pub(crate) deliveries: HashMap<DeliveryKey, Delivery>,
}

impl PayloadEntry {
    fn new(payload: &Payload) -> Self {
        let message = &payload.message;
        Self {
            hash: payload.hash,
            kind: message.kind,
            round: message.view.round,
            signer: message.signer,
            claimed: message.claimed,
            invalid: message.validity.is_invalid(),
            checked: message.validity != Validity::NotChecked,
            digest: message.digest,
            parent: message.parent,
            proposal: message.proposal.as_ref().map(|proposal| {
                Box::new(ProposalEntry {
                    hash: proposal.hash,
                    author: proposal.proposer,
                    validators: proposal.validators.clone(),
                })
            }),
        }
    }

    /// Who stands for this payload in text: the signer, else who it claims to be from.
    pub(crate) fn shown_signer(&self) -> Option<Address> {
        self.signer.or(self.claimed)
    }
}

impl Delivery {
    /// One copy.
    pub(crate) fn of(occurrence: &Occurrence) -> Self {
        Self {
            copies: 1,
            largest: occurrence.wire_len,
            bytes: u64::from(occurrence.wire_len),
            first_seen: occurrence.seen,
            last_seen: occurrence.seen,
            first_arrival: occurrence.arrived.unwrap_or(occurrence.seen),
        }
    }

    fn merge(&mut self, other: &Self) {
        self.copies = self.copies.saturating_add(other.copies);
        self.largest = self.largest.max(other.largest);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.first_seen = self.first_seen.min(other.first_seen);
        self.last_seen = self.last_seen.max(other.last_seen);
        self.first_arrival = self.first_arrival.min(other.first_arrival);
    }
}

impl Height {
    /// Index of a payload; it is added if it is new. Tells whether it was.
    pub(crate) fn payload(&mut self, payload: &Payload) -> (u32, bool) {
        match self.by_hash.entry(payload.hash) {
            Entry::Occupied(known) => (*known.get(), false),
            Entry::Vacant(free) => {
                let index = self.payloads.len() as u32;
                free.insert(index);
                self.payloads.push(PayloadEntry::new(payload));
                (index, true)
            }
        }
    }

    /// Adds deliveries; returns whether the key is new.
    pub(crate) fn deliver(&mut self, key: DeliveryKey, delivery: Delivery) -> bool {
        match self.deliveries.entry(key) {
            Entry::Occupied(mut known) => {
                known.get_mut().merge(&delivery);
                false
            }
            Entry::Vacant(free) => {
                free.insert(delivery);
                true
            }
        }
    }

    /// Adds copies of a payload; tells whether the payload is new, and whether its way is.
    pub(crate) fn add(
        &mut self,
        payload: &Payload,
        receiver: u32,
        sender: u32,
        delivery: Delivery,
    ) -> (bool, bool) {
        let (index, new_payload) = self.payload(payload);
        let key = DeliveryKey {
            payload: index,
            receiver,
            sender,
        };
        (new_payload, self.deliver(key, delivery))
    }

    /// Adds all of `other`, whose parties are numbered alike.
    pub(crate) fn merge(&mut self, other: Self) {
        let moved: Vec<u32> = other
            .payloads
            .into_iter()
            .map(|entry| self.adopt(entry))
            .collect();
        for (key, delivery) in other.deliveries {
            self.deliver(
                DeliveryKey {
                    payload: moved[key.payload as usize],
                    ..key
                },
                delivery,
            );
        }
    }

    fn adopt(&mut self, entry: PayloadEntry) -> u32 {
        match self.by_hash.entry(entry.hash) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(free) => {
                let index = self.payloads.len() as u32;
                free.insert(index);
                self.payloads.push(entry);
                index
            }
        }
    }

    /// Writes everything, in no particular order.
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut record = RecordWriter(Vec::with_capacity(
            self.deliveries.len() * 52 + self.payloads.len() * 160,
        ));
        record.u32(self.payloads.len() as u32);
        for entry in &self.payloads {
            record.array(&entry.hash.0);
            record.u8(entry.kind.index() as u8);
            record.u64(entry.round);
            record.optional(entry.signer.as_ref().map(|address| &address.0));
            record.optional(entry.claimed.as_ref().map(|address| &address.0));
            record.u8(u8::from(entry.invalid) | u8::from(entry.checked) << 1);
            record.optional(entry.digest.as_ref().map(|digest| &digest.0));
            record.optional(entry.parent.as_ref().map(|parent| &parent.0));
            record.u8(u8::from(entry.proposal.is_some()));
            if let Some(proposal) = &entry.proposal {
                record.array(&proposal.hash.0);
                record.optional(proposal.author.as_ref().map(|address| &address.0));
                record.u32(proposal.validators.len() as u32);
                for validator in &proposal.validators {
                    record.array(&validator.0);
                }
            }
        }
        record.u32(self.deliveries.len() as u32);
        for (key, delivery) in &self.deliveries {
            record.u32(key.payload);
            record.u32(key.receiver);
            record.u32(key.sender);
            record.u32(delivery.copies);
            record.u32(delivery.largest);
            record.u64(delivery.bytes);
            record.i64(delivery.first_seen.nanos());
            record.i64(delivery.last_seen.nanos());
            record.i64(delivery.first_arrival.nanos());
        }
        record.0
    }

    /// Reads what [`write`](Self::write) wrote.
    pub(crate) fn read(record: &[u8]) -> io::Result<Self> {
        let mut record = RecordReader(record);
        let mut height = Self::default();
        for _ in 0..record.u32()? {
            let hash = Hash256(record.array()?);
            let kind = *Kind::ALL
                .get(usize::from(record.u8()?))
                .ok_or(io::ErrorKind::InvalidData)?;
            let round = record.u64()?;
            let signer = record.optional()?.map(Address);
            let claimed = record.optional()?.map(Address);
            let flags = record.u8()?;
            let (invalid, checked) = (flags & 1 != 0, flags & 2 != 0);
            let digest = record.optional()?.map(Hash256);
            let parent = record.optional()?.map(Hash256);
            let mut proposal = None;
            if record.u8()? != 0 {
                let hash = Hash256(record.array()?);
                let author = record.optional()?.map(Address);
                let mut validators = Vec::new();
                for _ in 0..record.u32()? {
                    validators.push(Address(record.array()?));
                }
                proposal = Some(Box::new(ProposalEntry {
                    hash,
                    author,
                    validators,
                }));
            }
            height.adopt(PayloadEntry {
                hash,
                kind,
                round,
                signer,
                claimed,
                invalid,
                checked,
                digest,
                parent,
                proposal,
            });
        }
        for _ in 0..record.u32()? {
            let key = DeliveryKey {
                payload: record.u32()?,
                receiver: record.u32()?,
                sender: record.u32()?,
            };
            if key.payload as usize >= height.payloads.len() {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let copies = record.u32()?;
            // What never came is no delivery: sums take that for granted.
            if copies == 0 {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let delivery = Delivery {
                copies,
                largest: record.u32()?,
                bytes: record.u64()?,
                first_seen: CaptureTime::from_nanos(record.i64()?),
                last_seen: CaptureTime::from_nanos(record.i64()?),
                first_arrival: CaptureTime::from_nanos(record.i64()?),
            };
            height.deliver(key, delivery);
        }
        Ok(height)
    }
}
