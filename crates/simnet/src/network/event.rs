//! What is to happen, in the order of virtual time.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::sync::Arc;

use bftap_ibft_decode::View;

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
    /// Something that a cut link swallowed is sent again.
    Probe { conn: ConnIndex, side: u8, attempt: u8 },
    /// A connection is forgotten.
    Reap(ConnIndex),
    /// A flood goes on: number of the fault.
    Flood(usize),
    /// Somebody connects for nothing: number of the fault.
    Visit(usize),
    /// A proposer that takes its time is ready.
    Propose { node: NodeIndex, epoch: u32, view: View },
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
///
/// Large networks have some hundred thousand events under way, most of them within the next milliseconds. Those wait in
/// buckets of time, so that only the bucket whose time has come is sorted, and stays in the processor's cache.
pub(super) struct Queue {
    /// The bucket under way, and what was pushed for times before it.
    current: BinaryHeap<Entry>,
    /// Its number: the time in units of a bucket.
    bucket: u64,
    /// The buckets behind it, by their number modulo [`BUCKETS`].
    near: Vec<Vec<Entry>>,
    /// Events in those.
    near_count: usize,
    /// Events behind those, until their bucket's time has come.
    far: BinaryHeap<Entry>,
    pushed: u64,
}

struct Entry {
    time: Time,
    /// Events of the same time happen in the order they were pushed.
    order: u64,
    event: Event,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            current: BinaryHeap::new(),
            bucket: 0,
            near: (0..BUCKETS).map(|_| Vec::new()).collect(),
            near_count: 0,
            far: BinaryHeap::new(),
            pushed: 0,
        }
    }
}

impl Queue {
    pub(super) fn push(&mut self, time: Time, event: Event) {
        self.pushed += 1;
        let entry = Entry {
            time,
            order: self.pushed,
            event,
        };
        match (time >> BUCKET_BITS).saturating_sub(self.bucket) {
            0 => self.current.push(entry),
            1..BUCKETS => {
                self.near[((time >> BUCKET_BITS) % BUCKETS) as usize].push(entry);
                self.near_count += 1;
            }
            _ => self.far.push(entry),
        }
    }

    pub(super) fn pop(&mut self) -> Option<(Time, Event)> {
        loop {
            if let Some(entry) = self.current.pop() {
                return Some((entry.time, entry.event));
            }
            self.next_bucket()?;
        }
    }

    /// Goes on to the next bucket, which may be empty; `None` if nothing is left at all.
    fn next_bucket(&mut self) -> Option<()> {
        let first_far = self.far.peek().map(|entry| entry.time >> BUCKET_BITS);
        self.bucket = if self.near_count > 0 {
            self.bucket + 1
        } else {
            first_far?
        };
        let entries = std::mem::take(&mut self.near[(self.bucket % BUCKETS) as usize]);
        self.near_count -= entries.len();
        self.current = entries.into();
        while let Some(entry) = self.far.peek_mut() {
            if entry.time >> BUCKET_BITS > self.bucket {
                break;
            }
            self.current.push(PeekMut::pop(entry));
        }
        Some(())
    }
}

/// A bucket is 16 microseconds, and all of them together are 67 milliseconds.
const BUCKET_BITS: u32 = 14;
const BUCKETS: u64 = 4096;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prng::Prng;

    /// An event that can be told from others.
    fn marked(number: u64) -> Event {
        Event::Reap(number as ConnIndex)
    }

    fn mark(event: &Event) -> u64 {
        match event {
            Event::Reap(number) => (*number).into(),
            _ => panic!("not one of ours"),
        }
    }

    #[test]
    fn events_happen_in_the_order_of_time_and_then_of_pushing() {
        let mut prng = Prng::derive(1, "queue", 0);
        let mut queue = Queue::default();
        let mut waiting: Vec<(Time, u64)> = Vec::new();
        let mut now = 0;
        let mut number = 0;
        // Grows, then runs dry several times; times from none to beyond all buckets, many of them the same.
        for turn in 0..20_000 {
            let grows = (turn / 2_000) % 2 == 0;
            for _ in 0..if grows { 2 } else { 0 } {
                let span = [1, 100, 20_000, 1_000_000, 80_000_000, 30_000_000_000][prng.below(6) as usize];
                let time = now + prng.below(span);
                queue.push(time, marked(number));
                waiting.push((time, number));
                number += 1;
            }
            let next = waiting.iter().min().copied();
            waiting.retain(|entry| Some(*entry) != next);
            let popped = queue.pop().map(|(time, event)| (time, mark(&event)));
            assert_eq!(popped, next);
            now = popped.map_or(now, |(time, _)| time);
        }
        assert!(waiting.is_empty() && queue.pop().is_none());
        // After all that, an event for a time that is over comes first.
        queue.push(now + 1, marked(1));
        queue.push(0, marked(2));
        assert_eq!(queue.pop().map(|(_, event)| mark(&event)), Some(2));
    }
}
