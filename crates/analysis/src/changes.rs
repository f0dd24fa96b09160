//! What an aggregator learns, told piece by piece to whoever keeps it, and taken back in a later life of the program.
//!
//! Parties and slots are numbered in the order in which they came up, and that order is kept, so numbers mean the same afterwards.
//! Heights and minutes are told as what came since the last time: their parts merge. They come back into the temporary file, not into
//! memory.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;

use bftap_model::{CaptureTime, Direction, Endpoint, NodeId};
use hashbrown::HashMap;

use crate::aggregator::{Aggregator, SessionParties};
use crate::chain::{Slot, SlotBook};
use crate::coverage::Loss;
use crate::facts::{ChainName, EventFact};
use crate::height::{Delivery, Height};
use crate::heights::HeightKey;
use crate::minutes::{self, LinkKey, LinkSum, Minute, minute_of};
use crate::observation::{ChainId, Occurrence, SessionEnd};
use crate::peers::RefusedSums;
use crate::record::{Kept, RecordReader, RecordWriter};

/// What an aggregator learnt since the last time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Messages by height and by minute; to be kept all, in any order. Empty if there are none.
    pub messages: Vec<u8>,
    /// Everything else; what came before is needed, too, unless the whole was asked for.
    pub rest: Vec<u8>,
}

/// What is told next.
#[derive(Debug, Default)]
pub(crate) struct Untold {
    /// How many were told of each.
    parties: usize,
    accepted: usize,
    slots: usize,
    chains_at: usize,
    ended: usize,
    pub(crate) events: usize,
    losses: usize,
    /// Connections that came to nothing, since.
    pub(crate) refused: BTreeSet<(IpAddr, Endpoint)>,
    /// What was learnt since.
    pub(crate) books: HashMap<u32, SlotBook>,
}

/// Everything but the messages, as a record.
struct Rest {
    updates: u64,
    parties: Vec<(IpAddr, Option<NodeId>)>,
    /// Of all, those whose keys were accepted.
    accepted: Vec<u32>,
    slots: Vec<Slot>,
    chains_at: Vec<(IpAddr, ChainId)>,
    books: Vec<(u32, SlotBook)>,
    ended: Vec<(SessionEnd, SessionParties)>,
    events: Vec<EventFact>,
    losses: Vec<Loss>,
    /// Those that changed, each with its sum.
    refused: RefusedSums,
    limits: BTreeMap<String, u64>,
    undecodable: BTreeMap<(u32, i64), (u64, CaptureTime)>,
    renamed: bool,
    former: Vec<(u32, BTreeSet<ChainName>)>,
    pending: Vec<u8>,
}

crate::kept! {
    Rest { updates, parties, accepted, slots, chains_at, books, ended, events, losses, refused, limits, undecodable, renamed, former, pending }
    SessionParties { parties, slot }
}

impl Aggregator {
    /// Notes what is learnt from now on, for [`changes`](Self::changes).
    pub fn keep_changes(&mut self) {
        self.untold.get_or_insert_default();
        self.heights.keep_fresh();
        self.minutes.keep_fresh();
    }

    /// What was learnt since the last time; with `whole`, all that is not messages once more from the start.
    ///
    /// `pending`: messages that were read and are not observed yet. They are told each time until they are.
    pub fn changes(&mut self, pending: &[Occurrence], whole: bool) -> Changes {
        let mut untold = self.untold.take().unwrap_or_default();
        let mut heights: HashMap<HeightKey, Height> = HashMap::new();
        let mut minutes: BTreeMap<i64, Minute> = BTreeMap::new();
        for occurrence in pending {
            let Some((session, link)) = self.way(occurrence) else {
                continue;
            };
            let key = (session.slot, occurrence.payload.message.view.sequence);
            heights.entry(key).or_default().add(
                &occurrence.payload,
                link.receiver,
                link.sender,
                Delivery::of(occurrence),
            );
            let minute = minutes.entry(minute_of(occurrence.seen)).or_default();
            minutes::add(
                minute,
                link,
                LinkSum::one(u64::from(occurrence.wire_len), occurrence.stale, occurrence.seen),
            );
            // What it tells of the chain is the same now as when it is observed.
            self.slots.books[session.slot as usize].learn(&occurrence.payload);
            untold
                .books
                .entry(session.slot)
                .or_default()
                .learn(&occurrence.payload);
        }
        let pending = write_messages(heights, minutes);
        let messages = write_messages(self.heights.take_fresh(), self.minutes.take_fresh());
        if whole {
            untold = Untold::default();
        }
        let party = |party: &crate::who::Party| (party.ip, self.who.id_of(party));
        let books = std::mem::take(&mut untold.books);
        let (renamed, former) = self
            .provisional
            .as_ref()
            .map(|provisional| provisional.naming_history())
            .unwrap_or_default();
        let rest = Rest {
            updates: self.updates,
            parties: self.who.parties()[untold.parties..].iter().map(party).collect(),
            accepted: self.who.accepted()[untold.accepted..].to_vec(),
            slots: self.slots.all()[untold.slots..].to_vec(),
            chains_at: self.slots.chains_told()[untold.chains_at..].to_vec(),
            books: if whole {
                (0..).zip(self.slots.books.iter().cloned()).collect()
            } else {
                books.into_iter().collect()
            },
            ended: self.ended[untold.ended..].to_vec(),
            events: self.events.all()[untold.events..].to_vec(),
            losses: self.losses.told()[untold.losses..].to_vec(),
            refused: if whole {
                self.refused.clone()
            } else {
                let sum = |key: &(IpAddr, Endpoint)| Some((*key, *self.refused.get(key)?));
                untold.refused.iter().filter_map(sum).collect()
            },
            limits: self.limits.clone(),
            undecodable: self.undecodable.clone(),
            renamed,
            former,
            pending,
        };
        self.untold = Some(Untold {
            parties: self.who.parties().len(),
            accepted: self.who.accepted().len(),
            slots: self.slots.all().len(),
            chains_at: self.slots.chains_told().len(),
            ended: self.ended.len(),
            events: self.events.all().len(),
            losses: self.losses.told().len(),
            refused: BTreeSet::new(),
            books: HashMap::new(),
        });
        let mut record = RecordWriter::default();
        record.put(&rest);
        Changes {
            messages,
            rest: record.0,
        }
    }

    /// Takes back what [`changes`](Self::changes) told as `rest`, in the order in which it was told and before any messages. `latest`: none
    /// was told later.
    ///
    /// # Errors
    /// It is not what was told, or something is missing before it; the aggregator is of no use then.
    pub fn recall(&mut self, rest: &[u8], latest: bool) -> io::Result<()> {
        let mut record = RecordReader(rest);
        let rest: Rest = record.get()?;
        record.end()?;
        for (ip, id) in rest.parties {
            self.who.recall(ip, id).ok_or(io::ErrorKind::InvalidData)?;
        }
        for party in rest.accepted {
            self.check_party(party)?;
            self.who.accept(party);
        }
        for slot in rest.slots {
            self.slots.recall(slot).ok_or(io::ErrorKind::InvalidData)?;
        }
        for (ip, chain) in rest.chains_at {
            self.slots.tell_chain(ip, chain);
        }
        for (slot, book) in rest.books {
            let known = self.slots.books.get_mut(slot as usize);
            known.ok_or(io::ErrorKind::InvalidData)?.merge(&book);
        }
        for (end, session) in rest.ended {
            self.check_slot(session.slot)?;
            for party in session.parties {
                self.check_party(party)?;
            }
            self.ended.push((end, session));
        }
        for event in rest.events {
            self.events.recall(event);
        }
        for loss in rest.losses {
            self.losses.recall(loss);
        }
        self.refused.extend(rest.refused);
        self.updates = rest.updates;
        self.limits = rest.limits;
        for &(party, _) in rest.undecodable.keys() {
            self.check_party(party)?;
        }
        self.undecodable = rest.undecodable;
        self.track_changes();
        if let Some(provisional) = &mut self.provisional {
            provisional.recall_naming(rest.renamed, rest.former);
        }
        if latest {
            // They were told as waiting, and nobody else will tell them as come.
            self.keep_changes();
            self.recall_all(&rest.pending, false, true)?;
        }
        Ok(())
    }

    /// Takes back what was told as `messages`, the earlier before the later. `stored`: rows that were made of it have arrived where rows go;
    /// of the others, the next update gives the rows once more.
    ///
    /// # Errors
    /// As for [`recall`](Self::recall); the temporary file cannot be written.
    pub fn recall_messages(&mut self, messages: &[u8], stored: bool) -> io::Result<()> {
        self.recall_all(messages, stored, false)
    }

    /// With `fresh`, they are told once more.
    fn recall_all(&mut self, messages: &[u8], stored: bool, fresh: bool) -> io::Result<()> {
        if messages.is_empty() {
            return Ok(());
        }
        let mut record = RecordReader(messages);
        for _ in 0..record.u32()? {
            let key: HeightKey = (record.u32()?, record.u64()?);
            let bytes = record.bytes()?;
            self.check_slot(key.0)?;
            let height = Height::read(bytes)?;
            for delivery in height.deliveries.keys() {
                self.check_party(delivery.receiver)?;
                self.check_party(delivery.sender)?;
            }
            self.heights.add_record(key, bytes)?;
            if fresh {
                self.heights.add_fresh(key, height);
            }
            if let Some(provisional) = &mut self.provisional {
                provisional.recall_height(key, stored);
            }
        }
        for _ in 0..record.u32()? {
            let start = record.i64()?;
            let bytes = record.bytes()?;
            for (link, sum) in minutes::read(bytes)? {
                if fresh {
                    self.minutes.add_fresh(start, link, sum);
                }
                self.check_slot(link.chain)?;
                self.check_party(link.receiver)?;
                self.check_party(link.sender)?;
                if let Some(provisional) = &mut self.provisional {
                    provisional.recall_link(start, link, stored);
                }
            }
            self.minutes.add_record(start, bytes)?;
        }
        record.end()
    }

    /// Names may differ from those in rows that were given in an earlier life: rows of a height or a minute replace all of it from now on.
    pub fn renamed(&mut self) {
        self.track_changes();
        if let Some(provisional) = &mut self.provisional {
            let (_, former) = provisional.naming_history();
            provisional.recall_naming(true, former);
        }
    }

    /// The program did not run between two times: whatever passed then was not seen.
    pub fn pause(&mut self, from: CaptureTime, to: CaptureTime) {
        self.losses.add_everywhere(from, to);
        self.limit("restarts");
        let seconds = to.since(from).0.max(0) as f64 / 1e9;
        let detail = format!(
            "this monitor did not run from {from} to {to} ({seconds:.3} s): what passed then is missing from all counts"
        );
        let event = EventFact::new("restart", to, detail);
        self.event(event);
    }

    /// The session of a message, and who handed it to whom.
    pub(crate) fn way(&mut self, occurrence: &Occurrence) -> Option<(SessionParties, LinkKey)> {
        let session = match self.recent {
            Some((key, session)) if key == occurrence.session => session,
            _ => {
                let session = *self.live.get(&occurrence.session)?;
                self.recent = Some((occurrence.session, session));
                session
            }
        };
        let [initiator, recipient] = session.parties;
        let (sender, receiver) = match occurrence.direction {
            Direction::FromInitiator => (initiator, recipient),
            Direction::FromRecipient => (recipient, initiator),
        };
        let link = LinkKey {
            chain: session.slot,
            receiver,
            sender,
            kind: occurrence.payload.message.kind,
        };
        Some((session, link))
    }

    fn check_slot(&self, slot: u32) -> io::Result<()> {
        let known = (slot as usize) < self.slots.books.len();
        if known {
            Ok(())
        } else {
            Err(io::ErrorKind::InvalidData.into())
        }
    }

    fn check_party(&self, party: u32) -> io::Result<()> {
        let known = (party as usize) < self.who.parties().len();
        if known {
            Ok(())
        } else {
            Err(io::ErrorKind::InvalidData.into())
        }
    }
}

fn write_messages(heights: HashMap<HeightKey, Height>, minutes: BTreeMap<i64, Minute>) -> Vec<u8> {
    if heights.is_empty() && minutes.is_empty() {
        return Vec::new();
    }
    let mut record = RecordWriter::default();
    record.u32(heights.len() as u32);
    for ((slot, sequence), height) in heights {
        record.u32(slot);
        record.u64(sequence);
        record.bytes(&height.write());
    }
    record.u32(minutes.len() as u32);
    for (start, minute) in minutes {
        record.i64(start);
        record.bytes(&minutes::write(&minute));
    }
    record.0
}

impl Kept for Slot {
    fn keep(&self, to: &mut RecordWriter) {
        match self {
            Self::Chain(chain) => {
                to.u8(0);
                to.put(chain);
            }
            Self::Ends(one, other) => {
                to.u8(1);
                to.put(one);
                to.put(other);
            }
        }
    }

    fn recall(from: &mut RecordReader<'_>) -> io::Result<Self> {
        match from.u8()? {
            0 => from.get().map(Self::Chain),
            1 => Ok(Self::Ends(from.get()?, from.get()?)),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}
