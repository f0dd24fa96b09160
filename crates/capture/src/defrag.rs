//! IP datagrams put together from their fragments.

use std::collections::VecDeque;
use std::net::IpAddr;

use bftap_model::{CaptureTime, Nanos, SETTLE, TapId};
use hashbrown::HashMap;

/// How much the pool holds, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DefragLimits {
    /// Datagrams waiting for fragments.
    pub datagrams: usize,
    /// Bytes of all of them.
    pub bytes: usize,
    /// From the first fragment to the last, in capture time.
    pub timeout: Nanos,
}

impl Default for DefragLimits {
    /// 4096 datagrams, 16 MiB, 30 seconds (as hosts wait, RFC 8200 has 60, Linux 30).
    fn default() -> Self {
        Self {
            datagrams: 4096,
            bytes: 16 << 20,
            timeout: Nanos::from_secs(30),
        }
    }
}

/// Which datagram a fragment belongs to. Taps see each fragment on their own, so their datagrams stay apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct DatagramKey {
    pub(crate) tap: TapId,
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    /// Identification field.
    pub(crate) id: u32,
    /// Protocol; 0 in IPv6, where only the first fragment's counts.
    pub(crate) protocol: u8,
}

/// One fragment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fragment<'p> {
    /// Where its bytes belong.
    pub(crate) offset: u32,
    /// Others follow.
    pub(crate) more: bool,
    /// What the datagram holds, as far as this fragment's header tells.
    pub(crate) protocol: u8,
    pub(crate) bytes: &'p [u8],
}

/// What a fragment did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Its datagram waits for more.
    Waiting,
    /// Its datagram was completed a moment ago.
    Repeated,
    /// It cannot be part of a datagram.
    Malformed,
    /// It completed its datagram.
    Whole(Datagram),
}

/// A datagram's content.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Datagram {
    /// Protocol of the content.
    pub(crate) protocol: u8,
    pub(crate) bytes: Vec<u8>,
    /// Packets that waited for it.
    pub(crate) waited: u64,
}

/// Datagrams that wait for fragments.
#[derive(Debug)]
pub(crate) struct DefragPool {
    limits: DefragLimits,
    waiting: HashMap<DatagramKey, Partial>,
    /// Keys by age; entries whose number is not their datagram's are stale.
    by_age: VecDeque<(DatagramKey, u64)>,
    next_number: u64,
    bytes: usize,
    /// Completed datagrams, so that a copy of a fragment does not open another.
    done: HashMap<DatagramKey, CaptureTime>,
    done_by_age: VecDeque<(DatagramKey, CaptureTime)>,
    lost: Lost,
}

/// What was thrown away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) datagrams: u64,
    pub(crate) fragments: u64,
}

#[derive(Debug)]
struct Partial {
    number: u64,
    started: CaptureTime,
    bytes: Vec<u8>,
    /// Which bytes are there: ranges in order, none touching another.
    filled: Vec<(u32, u32)>,
    /// Length, once the last fragment is there.
    len: Option<u32>,
    protocol: u8,
    packets: u64,
}

/// Largest datagram: the length field of IPv4 has 16 bits, and so has that of IPv6.
const MAX_DATAGRAM: u32 = 65_535;

impl DefragPool {
    pub(crate) fn new(limits: DefragLimits) -> Self {
        Self {
            limits,
            waiting: HashMap::new(),
            by_age: VecDeque::new(),
            next_number: 0,
            bytes: 0,
            done: HashMap::new(),
            done_by_age: VecDeque::new(),
            lost: Lost::default(),
        }
    }

    /// Takes a fragment seen at `now`.
    pub(crate) fn push(&mut self, key: DatagramKey, fragment: Fragment<'_>, now: CaptureTime) -> Outcome {
        self.expire(now);
        if self.done.get(&key).is_some_and(|&at| now.since(at) <= SETTLE) {
            return Outcome::Repeated;
        }
        let end = fragment.offset.saturating_add(fragment.bytes.len() as u32);
        let is_odd = fragment.more && !fragment.bytes.len().is_multiple_of(8);
        if fragment.bytes.is_empty() || is_odd || end > MAX_DATAGRAM {
            return Outcome::Malformed;
        }
        let partial = self.waiting.entry(key).or_insert_with(|| {
            let number = self.next_number;
            self.next_number += 1;
            self.by_age.push_back((key, number));
            Partial::new(number, now, fragment.protocol)
        });
        let before = partial.size();
        if !partial.add(fragment, end) {
            return Outcome::Malformed;
        }
        // A fragment between two others joins their ranges, so the size may shrink.
        self.bytes = self.bytes + partial.size() - before;
        if partial.is_whole() {
            return self.finish(&key, now);
        }
        while self.waiting.len() > self.limits.datagrams || self.bytes > self.limits.bytes {
            self.drop_oldest();
        }
        Outcome::Waiting
    }

    /// Datagrams and fragments thrown away since the last call.
    pub(crate) fn take_lost(&mut self) -> Lost {
        std::mem::take(&mut self.lost)
    }

    /// Throws away all that waits.
    pub(crate) fn clear(&mut self) {
        while !self.by_age.is_empty() {
            self.drop_oldest();
        }
    }

    fn finish(&mut self, key: &DatagramKey, now: CaptureTime) -> Outcome {
        let Some(partial) = self.waiting.remove(key) else {
            unreachable!("it was just completed");
        };
        self.bytes -= partial.size();
        self.done.insert(*key, now);
        self.done_by_age.push_back((*key, now));
        Outcome::Whole(Datagram {
            protocol: partial.protocol,
            bytes: partial.bytes,
            waited: partial.packets - 1,
        })
    }

    fn expire(&mut self, now: CaptureTime) {
        // Completed datagrams leave their entries behind; one that waits at the front must not let them pile up.
        if self.by_age.len() > 2 * self.waiting.len() + 64 {
            self.by_age
                .retain(|(key, number)| self.waiting.get(key).is_some_and(|it| it.number == *number));
        }
        while let Some((key, number)) = self.by_age.front() {
            let age = self
                .waiting
                .get(key)
                .filter(|it| it.number == *number)
                .map(|it| now.since(it.started));
            if age.is_some_and(|age| age <= self.limits.timeout) {
                break;
            }
            self.drop_oldest();
        }
        while let Some(&(key, at)) = self.done_by_age.front() {
            if now.since(at) <= SETTLE && self.done_by_age.len() <= self.limits.datagrams {
                break;
            }
            self.done_by_age.pop_front();
            if self.done.get(&key) == Some(&at) {
                self.done.remove(&key);
            }
        }
    }

    fn drop_oldest(&mut self) {
        let Some((key, number)) = self.by_age.pop_front() else {
            return;
        };
        if self
            .waiting
            .get(&key)
            .is_some_and(|partial| partial.number == number)
            && let Some(partial) = self.waiting.remove(&key)
        {
            self.bytes -= partial.size();
            self.lost.datagrams += 1;
            self.lost.fragments += partial.packets;
        }
    }
}

impl Partial {
    fn new(number: u64, started: CaptureTime, protocol: u8) -> Self {
        Self {
            number,
            started,
            bytes: Vec::new(),
            filled: Vec::new(),
            len: None,
            protocol,
            packets: 0,
        }
    }

    /// Memory it takes, about.
    fn size(&self) -> usize {
        self.bytes.len() + self.filled.len() * size_of::<(u32, u32)>()
    }

    fn is_whole(&self) -> bool {
        self.len.is_some_and(|len| self.filled == [(0, len)])
    }

    /// Takes a fragment that ends at `end`; false if it contradicts those before.
    fn add(&mut self, fragment: Fragment<'_>, end: u32) -> bool {
        let start = fragment.offset;
        let reached = self.filled.last().map_or(0, |&(_, end)| end);
        let contradicts = match self.len {
            Some(len) => end > len || !fragment.more && end != len,
            None => !fragment.more && end < reached,
        };
        if contradicts {
            return false;
        }
        self.packets += 1;
        if !fragment.more {
            self.len = Some(end);
        }
        if start == 0 {
            self.protocol = fragment.protocol;
        }
        if self.bytes.len() < end as usize {
            self.bytes.resize(end as usize, 0);
        }
        // Bytes that are there already stay: the first win, as in TCP streams.
        let first = self.filled.partition_point(|&(_, end)| end < start);
        let mut merged = (start, end);
        let mut at = start;
        let mut last = first;
        while let Some(&(there, there_end)) = self.filled.get(last)
            && there <= end
        {
            self.fill(at, there, &fragment);
            at = at.max(there_end);
            merged = (merged.0.min(there), merged.1.max(there_end));
            last += 1;
        }
        self.fill(at, end, &fragment);
        self.filled.splice(first..last, [merged]);
        true
    }

    /// Copies the fragment's bytes that belong between two places.
    fn fill(&mut self, from: u32, to: u32, fragment: &Fragment<'_>) {
        if from < to {
            let bytes = &fragment.bytes[(from - fragment.offset) as usize..(to - fragment.offset) as usize];
            self.bytes[from as usize..to as usize].copy_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTENT: [u8; 64] = {
        let mut bytes = [0; 64];
        let mut i = 0;
        while i < 64 {
            bytes[i] = i as u8;
            i += 1;
        }
        bytes
    };

    fn key(id: u32) -> DatagramKey {
        let (source, destination) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        DatagramKey {
            tap: TapId(0),
            source,
            destination,
            id,
            protocol: 6,
        }
    }

    fn fragment(from: usize, to: usize) -> Fragment<'static> {
        Fragment {
            offset: from as u32,
            more: to != 64,
            protocol: 6,
            bytes: &CONTENT[from..to],
        }
    }

    fn at(millis: i64) -> CaptureTime {
        CaptureTime::from_nanos(millis * 1_000_000)
    }

    fn pool() -> DefragPool {
        DefragPool::new(DefragLimits::default())
    }

    #[test]
    fn any_order_and_overlap_give_the_datagram() {
        let pieces = [(0, 24), (16, 40), (8, 16), (32, 56), (48, 64), (0, 8)];
        // All orders of six pieces, by counting in the factorial base.
        for permutation in 0..720 {
            let (mut left, mut order, mut code) = (pieces.to_vec(), Vec::new(), permutation);
            while !left.is_empty() {
                order.push(left.remove(code % left.len()));
                code /= left.len() + 1;
            }
            let mut pool = pool();
            let mut whole = None;
            for (from, to) in order {
                match pool.push(key(1), fragment(from, to), at(0)) {
                    Outcome::Whole(datagram) => assert!(whole.replace(datagram.bytes).is_none()),
                    Outcome::Waiting => assert!(whole.is_none()),
                    Outcome::Repeated => assert!(whole.is_some()),
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(whole.as_deref(), Some(&CONTENT[..]), "order {permutation}");
            assert_eq!((pool.bytes, pool.waiting.len()), (0, 0));
        }
    }

    #[test]
    fn first_bytes_win() {
        let mut pool = pool();
        let lie = [0xff; 40];
        pool.push(key(1), fragment(16, 32), at(0));
        pool.push(
            key(1),
            Fragment {
                offset: 8,
                more: true,
                protocol: 6,
                bytes: &lie,
            },
            at(0),
        );
        pool.push(key(1), fragment(0, 16), at(0));
        let Outcome::Whole(datagram) = pool.push(key(1), fragment(40, 64), at(0)) else {
            panic!("whole")
        };
        assert_eq!(datagram.bytes[..8], CONTENT[..8]);
        assert_eq!(datagram.bytes[8..16], lie[..8]);
        assert_eq!(datagram.bytes[16..32], CONTENT[16..32]);
        assert_eq!(datagram.bytes[32..48], lie[..16]);
        assert_eq!(datagram.bytes[48..], CONTENT[48..]);
        assert_eq!(datagram.waited, 3);
    }

    #[test]
    fn contradictions_are_refused() {
        let mut pool = pool();
        assert_eq!(pool.push(key(1), fragment(56, 64), at(0)), Outcome::Waiting);
        let beyond = Fragment {
            offset: 64,
            more: true,
            protocol: 6,
            bytes: &CONTENT[..8],
        };
        assert_eq!(
            pool.push(key(1), beyond, at(0)),
            Outcome::Malformed,
            "behind the end"
        );
        let short = Fragment {
            offset: 40,
            more: false,
            protocol: 6,
            bytes: &CONTENT[..8],
        };
        assert_eq!(pool.push(key(1), short, at(0)), Outcome::Malformed, "another end");
        let odd = Fragment {
            offset: 0,
            more: true,
            protocol: 6,
            bytes: &CONTENT[..7],
        };
        assert_eq!(
            pool.push(key(1), odd, at(0)),
            Outcome::Malformed,
            "no multiple of eight"
        );
        let empty = Fragment {
            offset: 0,
            more: true,
            protocol: 6,
            bytes: &[],
        };
        assert_eq!(pool.push(key(2), empty, at(0)), Outcome::Malformed);
        let huge = Fragment {
            offset: 65_528,
            more: false,
            protocol: 6,
            bytes: &CONTENT[..8],
        };
        assert_eq!(
            pool.push(key(2), huge, at(0)),
            Outcome::Malformed,
            "longer than IP can say"
        );
        assert_eq!(pool.waiting.len(), 1);
    }

    #[test]
    fn late_and_crowded_out_datagrams_are_counted() {
        let limits = DefragLimits {
            datagrams: 2,
            bytes: 1 << 20,
            timeout: Nanos::from_millis(100),
        };
        let mut pool = DefragPool::new(limits);
        pool.push(key(1), fragment(0, 8), at(0));
        pool.push(key(1), fragment(8, 16), at(0));
        assert_eq!(pool.push(key(2), fragment(0, 8), at(101)), Outcome::Waiting);
        assert_eq!(
            pool.take_lost(),
            Lost {
                datagrams: 1,
                fragments: 2
            },
            "too late"
        );
        pool.push(key(3), fragment(0, 8), at(102));
        pool.push(key(4), fragment(0, 8), at(103));
        assert_eq!(
            pool.take_lost(),
            Lost {
                datagrams: 1,
                fragments: 1
            },
            "too many"
        );
        pool.clear();
        assert_eq!(
            pool.take_lost(),
            Lost {
                datagrams: 2,
                fragments: 2
            },
            "end of the capture"
        );
        assert_eq!(pool.bytes, 0);

        let mut pool = DefragPool::new(DefragLimits { bytes: 50, ..limits });
        assert_eq!(pool.push(key(1), fragment(0, 8), at(0)), Outcome::Waiting);
        assert_eq!(pool.push(key(2), fragment(56, 64), at(0)), Outcome::Waiting);
        assert!(pool.waiting.is_empty(), "it needs 64 bytes alone");
        assert_eq!(
            pool.take_lost(),
            Lost {
                datagrams: 2,
                fragments: 2
            }
        );
    }

    #[test]
    fn an_identification_may_be_used_again() {
        let mut pool = pool();
        for round in 0..3 {
            let now = at(round * 1000);
            assert_eq!(pool.push(key(1), fragment(0, 32), now), Outcome::Waiting);
            assert!(matches!(
                pool.push(key(1), fragment(32, 64), now),
                Outcome::Whole(_)
            ));
            assert_eq!(pool.push(key(1), fragment(32, 64), now), Outcome::Repeated);
        }
        assert!(pool.done.len() <= 1 && pool.done_by_age.len() <= 1);
        assert_eq!(pool.take_lost(), Lost::default());
    }
}
