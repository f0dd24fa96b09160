//! What all connections of a node know: who is connected, which payloads came before, where secrets and records go.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bftap_ibft_decode::{DecodeError, Kind, View};
use bftap_model::{Hash256, keccak256};
use bftap_simnet::consensus::{Dialect, SignedMessage};
use bftap_simnet::prng::Prng;
use bftap_simnet::rlpx::handshake::SessionSecrets;
use hashbrown::HashMap;
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::time::Instant;

use crate::clock;
use crate::faults::FaultKind;
use crate::node::{EVENTS_KIB, Event};
use crate::options::{NodeOptions, Validator};
use crate::record::{Copy, Entry, MessageEntry, Record, ViewEntry, address};

/// A peer, by its place among the validators.
pub(crate) type PeerIndex = usize;
/// Tells connections apart.
pub(crate) type ConnId = u64;

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: NodeOptions,
    /// This node's own place among the validators.
    pub(crate) ours: PeerIndex,
    pub(crate) record: Record,
    pub(crate) events: mpsc::Sender<Event>,
    /// Room for the bytes of events, in KiB.
    pub(crate) room: Arc<Semaphore>,
    pub(crate) stop: watch::Receiver<bool>,
    /// Head of the chain, for Status.
    head: Mutex<(u64, Hash256)>,
    /// The connection that counts, of each peer and channel.
    registry: Mutex<Vec<[Option<ConnId>; 2]>>,
    /// Told when a connection of a peer is no more.
    pub(crate) freed: Vec<Notify>,
    judge: Mutex<Judge>,
    next_conn: AtomicU64,
    /// When the node did.
    pub(crate) started: Instant,
}

impl Shared {
    pub(crate) fn new(
        options: NodeOptions,
        ours: PeerIndex,
        record: Record,
        events: mpsc::Sender<Event>,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let count = options.network.validators.len();
        Self {
            ours,
            record,
            events,
            room: Arc::new(Semaphore::new(EVENTS_KIB as usize)),
            stop,
            head: Mutex::new((0, options.network.genesis)),
            registry: Mutex::new(vec![[None; 2]; count]),
            freed: (0..count).map(|_| Notify::new()).collect(),
            judge: Mutex::default(),
            next_conn: AtomicU64::new(1),
            started: Instant::now(),
            options,
        }
    }

    pub(crate) fn validator(&self, index: PeerIndex) -> &Validator {
        &self.options.network.validators[index]
    }

    pub(crate) fn name(&self, index: PeerIndex) -> &str {
        &self.validator(index).name
    }

    pub(crate) fn dialect(&self) -> Dialect {
        self.options.client.dialect()
    }

    pub(crate) fn stopping(&self) -> bool {
        *self.stop.borrow()
    }

    pub(crate) fn head(&self) -> (u64, Hash256) {
        *lock(&self.head)
    }

    pub(crate) fn set_head(&self, number: u64, hash: Hash256) {
        *lock(&self.head) = (number, hash);
    }

    pub(crate) fn is_connected(&self, peer: PeerIndex, channel: u8) -> bool {
        lock(&self.registry)[peer][usize::from(channel)].is_some()
    }

    /// Makes a connection the one that counts, unless there is one; it is freed when the answer is dropped.
    pub(crate) fn reserve(self: &Arc<Self>, peer: PeerIndex, channel: u8) -> Option<Reservation> {
        let place = &mut lock(&self.registry)[peer][usize::from(channel)];
        if place.is_some() {
            return None;
        }
        let conn = self.next_conn.fetch_add(1, Ordering::Relaxed);
        *place = Some(conn);
        Some(Reservation {
            shared: Arc::clone(self),
            peer,
            channel,
            conn,
        })
    }

    /// A message of the consensus code came: judges and records it.
    pub(crate) fn received(
        &self,
        peer: PeerIndex,
        wire: &[u8],
        bytes: usize,
    ) -> Result<Arc<SignedMessage>, DecodeError> {
        let payload = keccak256(SignedMessage::payload_of(self.dialect(), wire)?);
        let known = lock(&self.judge).known(&payload);
        let message = match known {
            Some(message) => message,
            // Not under the lock: recovering a signer takes long. Two may do it at once, and one of them is first.
            None => Arc::new(SignedMessage::read(self.dialect(), wire)?),
        };
        let first = lock(&self.judge).insert(payload, &message);
        let copy = if message.signer == Some(self.options.key.address()) {
            Copy::Echo
        } else if first {
            Copy::First
        } else {
            Copy::Repeat
        };
        if self.record.is_kept() {
            self.record.tell(Entry::Received {
                peer: self.name(peer),
                message: MessageEntry::new(message.kind, message.view, &payload, bytes),
                copy,
                valid: message.honest,
            });
        }
        Ok(message)
    }

    /// Records a message that was written to a socket.
    pub(crate) fn sent(&self, peer: PeerIndex, message: &SignedMessage, bytes: usize) {
        if self.record.is_kept() {
            self.record.tell(Entry::Sent {
                peer: self.name(peer),
                message: MessageEntry::new(message.kind, message.view, &message.payload_hash, bytes),
                own: [Some(message.claimed), message.signer].contains(&Some(self.options.key.address())),
            });
        }
    }

    /// The faults that are on.
    pub(crate) fn faults(&self) -> impl Iterator<Item = FaultKind> + '_ {
        let age = self.started.elapsed();
        let faults = self.options.faults.iter();
        faults
            .filter(move |fault| fault.is_active(age))
            .map(|fault| fault.kind)
    }

    /// Records what a fault does to peers: with a message, or with none.
    pub(crate) fn deed(
        &self,
        fault: FaultKind,
        (kind, view): (Option<Kind>, Option<View>),
        message: Option<&SignedMessage>,
        peers: impl Iterator<Item = PeerIndex>,
    ) {
        if self.record.is_kept() {
            self.record.tell(Entry::Deed {
                fault: fault.to_string(),
                view: kind.zip(view).map(|(kind, view)| ViewEntry::new(kind, view)),
                payload: message.map(|message| message.payload_hash.to_hex()),
                signer: message.and_then(|message| message.signer).map(address),
                peers: peers.map(|peer| self.name(peer)).collect(),
            });
        }
    }

    /// Appends a session's secrets to the key log, in one write.
    pub(crate) fn log_secrets(&self, secrets: &SessionSecrets, initiator: bool) -> io::Result<()> {
        let Some(path) = &self.options.key_log else {
            return Ok(());
        };
        let role = if initiator { "initiator" } else { "recipient" };
        let seconds = clock::now_nanos() / 1_000_000_000;
        let line = secrets.key_log_line(&format!("role={role} time={seconds}"));
        let mut file = File::options().append(true).create(true).mode(0o600).open(path)?;
        file.write_all(line.as_bytes())
    }
}

/// A peer's place in the registry.
pub(crate) struct Reservation {
    shared: Arc<Shared>,
    peer: PeerIndex,
    channel: u8,
    pub(crate) conn: ConnId,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        lock(&self.shared.registry)[self.peer][usize::from(self.channel)] = None;
        self.shared.freed[self.peer].notify_one();
    }
}

/// Payloads that came, in two generations: forgetting half at a time bounds memory.
#[derive(Debug, Default)]
struct Judge {
    recent: HashMap<Hash256, Arc<SignedMessage>>,
    older: HashMap<Hash256, Arc<SignedMessage>>,
    /// Bytes of the recent ones, as they came.
    bytes: usize,
}

impl Judge {
    fn known(&self, payload: &Hash256) -> Option<Arc<SignedMessage>> {
        self.recent
            .get(payload)
            .or_else(|| self.older.get(payload))
            .cloned()
    }

    /// Keeps a payload; true when it is new.
    fn insert(&mut self, payload: Hash256, message: &Arc<SignedMessage>) -> bool {
        if self.recent.contains_key(&payload) {
            return false;
        }
        if self.recent.len() >= GENERATION || self.bytes >= GENERATION_BYTES {
            self.older = std::mem::take(&mut self.recent);
            self.bytes = 0;
        }
        self.bytes += message.wire.len();
        let new = !self.older.contains_key(&payload);
        self.recent.insert(payload, Arc::clone(message));
        new
    }
}

/// A source of random numbers that starts from the system's.
pub(crate) fn fresh_prng() -> io::Result<Prng> {
    let mut entropy = zeroize::Zeroizing::new([0; 32]);
    File::open("/dev/urandom")?.read_exact(&mut *entropy)?;
    Ok(Prng::from_entropy(&entropy))
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Payloads of a generation; some ten minutes of 21 validators.
const GENERATION: usize = 1 << 15;
/// And their bytes, to which come at most twice as many: compressed for sending, and taken apart.
const GENERATION_BYTES: usize = 32 << 20;
