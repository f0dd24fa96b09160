//! What is to happen, in the order of virtual time.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::blocks::ChainBlock;
use super::session::Delivery;
use super::tcp::Segment;
use crate::consensus::{Committed, SignedMessage, TimerToken};
use crate::options::FaultKind;

/// Virtual time: nanoseconds since the start of the simulation.
pub(super) type Time = u64;

/// Index of a connection.
pub(super) type ConnIndex = u32;

/// Index of a node.
pub(super) type NodeIndex = usize;

/// Something that happens.
pub(super) enum Event {
    /// A node's process starts.
    Start(NodeIndex),
    /// A fault stops a node's process.
    Stop(NodeIndex, FaultKind),
    /// All nodes stop and start again with another genesis block.
    Reinitialize,
    /// A node leaves in good order.
    Quit(NodeIndex),
    /// The simulation ends.
    End,
    /// A node dials a peer.
    Dial {
        node: NodeIndex,
        epoch: u32,
        peer: NodeIndex,
        channel: u8,
    },
    /// Nobody answered a SYN so far.
    SynTimer { conn: ConnIndex, attempt: u8 },
    /// A packet leaves its host.
    Depart(Box<Segment>),
    /// A packet reaches its host.
    Arrive(Box<Segment>),
    /// All stream bytes up to here reach the other end of a connection that nobody captures.
    Bulk { conn: ConnIndex, side: u8, end: u64 },
    /// A delayed acknowledgement is due.
    AckTimer { conn: ConnIndex, side: u8 },
    /// A piece of a stream is read by a node that stood still when it arrived.
    Deliver {
        conn: ConnIndex,
        side: u8,
        delivery: Box<Delivery>,
    },
    /// An end of a session pings.
    Ping { conn: ConnIndex, side: u8 },
    /// An end has heard nothing for too long.
    ReadTimeout { conn: ConnIndex, side: u8 },
    /// A connection is forgotten.
    Reap(ConnIndex),
    /// A node's consensus begins.
    CoreStart { node: NodeIndex, epoch: u32 },
    /// A node's consensus takes a message from its queue.
    Core {
        node: NodeIndex,
        epoch: u32,
        message: Arc<SignedMessage>,
    },
    /// A round timer runs off.
    Timer {
        node: NodeIndex,
        epoch: u32,
        token: TimerToken,
    },
    /// A node's miner is ready for a height.
    Request {
        node: NodeIndex,
        epoch: u32,
        height: u64,
    },
    /// A node imports the block it decided.
    Import {
        node: NodeIndex,
        epoch: u32,
        committed: Box<Committed>,
    },
    /// A node imports a block that a peer sent, unless it has it by now.
    Fetch {
        node: NodeIndex,
        epoch: u32,
        block: Arc<ChainBlock>,
    },
    /// Someone sends transactions.
    Transactions,
    /// A captured node asks another host for a page.
    OtherFlow,
    /// Heights that are over leave memory.
    Sweep,
}

/// The queue of events.
#[derive(Default)]
pub(super) struct Queue {
    heap: BinaryHeap<Entry>,
    pushed: u64,
}

struct Entry {
    time: Time,
    /// Events of the same time happen in the order they were pushed.
    order: u64,
    event: Event,
}

impl Queue {
    pub(super) fn push(&mut self, time: Time, event: Event) {
        self.pushed += 1;
        self.heap.push(Entry {
            time,
            order: self.pushed,
            event,
        });
    }

    pub(super) fn pop(&mut self) -> Option<(Time, Event)> {
        self.heap.pop().map(|entry| (entry.time, entry.event))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    /// The earliest is the greatest, as the heap gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.time, other.order).cmp(&(self.time, self.order))
    }
}
