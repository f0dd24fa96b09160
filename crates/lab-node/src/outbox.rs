//! What waits to be written on a connection: so many messages, and so many bytes.

use std::sync::Arc;

use bftap_simnet::consensus::SignedMessage;
use bftap_simnet::devp2p::DisconnectReason;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};

/// What a node has to say on a connection.
#[derive(Clone, Debug)]
pub(crate) enum Outgoing {
    /// A consensus message.
    Consensus(Arc<SignedMessage>),
    /// A consensus message with bytes behind it, compressed together.
    Padded(Arc<SignedMessage>, Arc<[u8]>),
    /// Under the code of consensus messages, and none; not compressed.
    Junk(Arc<[u8]>),
    /// A message of the capability that carries blocks, by its local code; the payload is not compressed.
    Chain(u64, Arc<[u8]>),
    /// A message of the base protocol.
    Base(u64, Vec<u8>),
    /// The last one.
    Disconnect(DisconnectReason),
    /// Nothing more: the peer said goodbye.
    Close,
}

/// The node's end of a connection that is ready: a queue with room for so many messages, and for so many bytes.
#[derive(Clone, Debug)]
pub(crate) struct Outbox {
    queue: mpsc::Sender<Queued>,
    /// Room for bytes, in KiB.
    room: Arc<Semaphore>,
    /// Ends the connection at once.
    pub(crate) kill: Arc<Notify>,
}

/// Something to say, and the room that it takes until it is written.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) what: Outgoing,
    /// Free again when this is dropped.
    pub(crate) room: OwnedSemaphorePermit,
}

/// The peer takes messages too slowly.
#[derive(Debug)]
pub(crate) struct Full;

impl Outbox {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Queued>) {
        let (queue, outgoing) = mpsc::channel(QUEUE);
        let outbox = Self {
            queue,
            room: Arc::new(Semaphore::new(QUEUE_KIB as usize)),
            kill: Arc::new(Notify::new()),
        };
        (outbox, outgoing)
    }

    /// Queues a message. One for a connection that is over is gone, which is no error.
    pub(crate) fn send(&self, what: Outgoing) -> Result<(), Full> {
        let room = Arc::clone(&self.room).try_acquire_many_owned(kib(what.bytes()).min(QUEUE_KIB));
        let room = room.map_err(|_| Full)?;
        match self.queue.try_send(Queued { what, room }) {
            Err(mpsc::error::TrySendError::Full(_)) => Err(Full),
            _ => Ok(()),
        }
    }

    /// Whether more than so many messages fit into it, and more than an eighth of the bytes.
    pub(crate) fn has_room(&self, messages: usize) -> bool {
        self.queue.capacity() > messages && self.room.available_permits() > QUEUE_KIB as usize / 8
    }
}

impl Outgoing {
    /// Bytes that it holds. Those that several queues share count in each.
    fn bytes(&self) -> usize {
        match self {
            Self::Consensus(message) => message.wire.len() + message.compressed.len(),
            Self::Padded(message, content) => message.wire.len() + message.compressed.len() + content.len(),
            Self::Junk(payload) | Self::Chain(_, payload) => payload.len(),
            Self::Base(_, payload) => payload.len(),
            Self::Disconnect(_) | Self::Close => 0,
        }
    }
}

/// Room that so many bytes take; a message takes some even if it is empty.
pub(crate) fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX)
}

/// Messages that may wait for a peer.
const QUEUE: usize = 8192;
/// And their KiB: 64 MiB, five of the largest messages.
const QUEUE_KIB: u32 = 64 << 10;
