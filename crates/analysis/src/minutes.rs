//! Messages per minute and link, bounded in memory like the heights.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;

use bftap_ibft_decode::Kind;
use bftap_model::CaptureTime;
use hashbrown::HashMap;

use crate::record::{RecordReader, RecordWriter};
use crate::spill::{Place, Spill};

/// Nanoseconds of a minute.
const MINUTE: i64 = 60_000_000_000;

/// Chain, receiver and sender (indices), and kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LinkKey {
    pub(crate) chain: u32,
    pub(crate) receiver: u32,
    pub(crate) sender: u32,
    pub(crate) kind: Kind,
}

/// Messages, their bytes, and those of views that both ends had long left behind; and the first of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkSum {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) stale: u64,
    /// When the first message was seen; the latest time there is without one.
    pub(crate) first: CaptureTime,
    /// The same of those that were left behind.
    pub(crate) first_stale: CaptureTime,
}

impl Default for LinkSum {
    fn default() -> Self {
        Self {
            messages: 0,
            bytes: 0,
            stale: 0,
            first: CaptureTime::MAX,
            first_stale: CaptureTime::MAX,
        }
    }
}

impl LinkSum {
    /// One message.
    pub(crate) const fn one(bytes: u64, stale: bool, seen: CaptureTime) -> Self {
        Self {
            messages: 1,
            bytes,
            stale: stale as u64,
            first: seen,
            first_stale: if stale { seen } else { CaptureTime::MAX },
        }
    }
}

/// Sums of one minute.
pub(crate) type Minute = HashMap<LinkKey, LinkSum>;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Minutes {
    open: BTreeMap<i64, Minute>,
    closed: BTreeMap<i64, Vec<Place>>,
    spill: Spill,
    entries: usize,
    limit: usize,
    /// What came since it was taken last, where somebody keeps it.
    fresh: Option<BTreeMap<i64, Minute>>,
}

impl Minutes {
    /// Keeps about `limit` links in memory.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            open: BTreeMap::new(),
            closed: BTreeMap::new(),
            spill: Spill::default(),
            entries: 0,
            limit: limit.max(1),
            fresh: None,
        }
    }

    /// From now on [`take_fresh`](Self::take_fresh) gives what came.
    pub(crate) fn keep_fresh(&mut self) {
        self.fresh.get_or_insert_default();
    }

    /// What came since the last time.
    pub(crate) fn take_fresh(&mut self) -> BTreeMap<i64, Minute> {
        self.fresh.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Adds to what came, where somebody keeps it.
    pub(crate) fn add_fresh(&mut self, start: i64, key: LinkKey, sum: LinkSum) {
        if let Some(fresh) = &mut self.fresh {
            add(fresh.entry(start).or_default(), key, sum);
        }
    }

    /// Adds what was known of a minute in an earlier life; it does not come into memory.
    pub(crate) fn add_record(&mut self, start: i64, record: &[u8]) -> io::Result<()> {
        let place = self.spill.append(record)?;
        self.closed.entry(start).or_default().push(place);
        Ok(())
    }

    /// Adds one message.
    pub(crate) fn add(&mut self, seen: CaptureTime, key: LinkKey, one: LinkSum) -> io::Result<()> {
        if let Some(fresh) = &mut self.fresh {
            add(fresh.entry(minute_of(seen)).or_default(), key, one);
        }
        let minute = self.open.entry(minute_of(seen)).or_default();
        let before = minute.len();
        add(minute, key, one);
        self.entries += minute.len() - before;
        if self.entries > self.limit {
            self.close_oldest()?;
        }
        Ok(())
    }

    /// Closes minutes, the earliest first, until half of the limit is free.
    fn close_oldest(&mut self) -> io::Result<()> {
        while self.entries > self.limit / 2
            && let Some((start, minute)) = self.open.pop_first()
        {
            self.entries -= minute.len();
            let place = self.spill.append(&write(&minute))?;
            self.closed.entry(start).or_default().push(place);
        }
        Ok(())
    }

    /// A minute with all its parts; they stay where they are.
    pub(crate) fn read(&mut self, start: i64) -> io::Result<Cow<'_, Minute>> {
        let open = self.open.get(&start);
        let Some(places) = self.closed.get(&start) else {
            return Ok(open.map_or_else(|| Cow::Owned(Minute::new()), Cow::Borrowed));
        };
        let mut minute = open.cloned().unwrap_or_default();
        for &place in places {
            add_record(&mut self.spill, place, &mut minute)?;
        }
        Ok(Cow::Owned(minute))
    }

    /// Links in memory, and minutes of which only a place in the temporary file is.
    pub(crate) fn residents(&self) -> (usize, usize) {
        (self.entries, self.closed.len())
    }

    /// Takes the earliest minute out, with all its parts.
    pub(crate) fn pop_first(&mut self) -> io::Result<Option<(CaptureTime, Minute)>> {
        let start = match (self.open.first_key_value(), self.closed.first_key_value()) {
            (Some((&open, _)), Some((&closed, _))) => open.min(closed),
            (Some((&open, _)), None) => open,
            (None, Some((&closed, _))) => closed,
            (None, None) => return Ok(None),
        };
        let mut minute = self.open.remove(&start).unwrap_or_default();
        for place in self.closed.remove(&start).unwrap_or_default() {
            add_record(&mut self.spill, place, &mut minute)?;
        }
        Ok(Some((CaptureTime::from_nanos(start), minute)))
    }
}

/// Adds to the sums of a link.
pub(crate) fn add(minute: &mut Minute, key: LinkKey, added: LinkSum) {
    let sum = minute.entry(key).or_default();
    sum.messages += added.messages;
    sum.bytes += added.bytes;
    sum.stale = sum.stale.saturating_add(added.stale);
    sum.first = sum.first.min(added.first);
    sum.first_stale = sum.first_stale.min(added.first_stale);
}

/// Adds what stands at a place of the temporary file.
fn add_record(spill: &mut Spill, place: Place, minute: &mut Minute) -> io::Result<()> {
    let mut record = Vec::new();
    spill.read(place, &mut record)?;
    for (key, sum) in read(&record)? {
        add(minute, key, sum);
    }
    Ok(())
}

/// The sums, in no particular order.
pub(crate) fn write(minute: &Minute) -> Vec<u8> {
    let mut record = RecordWriter::default();
    record.u32(minute.len() as u32);
    for (key, sum) in minute {
        record.u32(key.chain);
        record.u32(key.receiver);
        record.u32(key.sender);
        record.u8(key.kind.index() as u8);
        record.u64(sum.messages);
        record.u64(sum.bytes);
        record.u64(sum.stale);
        record.i64(sum.first.nanos());
        record.i64(sum.first_stale.nanos());
    }
    record.0
}

/// Reads what [`write`] wrote.
pub(crate) fn read(record: &[u8]) -> io::Result<Vec<(LinkKey, LinkSum)>> {
    let mut record = RecordReader(record);
    let count = record.u32()?;
    let link = |_| {
        let key = LinkKey {
            chain: record.u32()?,
            receiver: record.u32()?,
            sender: record.u32()?,
            kind: record.get()?,
        };
        let sum = LinkSum {
            messages: record.u64()?,
            bytes: record.u64()?,
            stale: record.u64()?,
            first: CaptureTime::from_nanos(record.i64()?),
            first_stale: CaptureTime::from_nanos(record.i64()?),
        };
        Ok((key, sum))
    };
    (0..count).map(link).collect()
}

/// The minute that a time is in, by its start.
pub(crate) fn minute_of(seen: CaptureTime) -> i64 {
    seen.nanos().saturating_sub(seen.nanos().rem_euclid(MINUTE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_do_not_depend_on_the_memory() {
        let collect = |limit: usize| {
            let mut minutes = Minutes::new(limit);
            for step in 0..1000_u32 {
                // Times go forth and back, so that closed minutes come up again.
                let second = i64::from((step * 37) % 600);
                let key = LinkKey {
                    chain: 0,
                    receiver: step % 3,
                    sender: step % 2,
                    kind: Kind::ALL[step as usize % 4],
                };
                let seen = CaptureTime::from_nanos(second * 1_000_000_000);
                minutes
                    .add(seen, key, LinkSum::one(u64::from(step), step % 5 == 0, seen))
                    .unwrap();
            }
            let mut rows = Vec::new();
            while let Some((start, minute)) = minutes.pop_first().unwrap() {
                let mut links: Vec<_> = minute.into_iter().collect();
                links.sort_unstable_by_key(|(key, _)| *key);
                rows.extend(links.into_iter().map(|(key, sum)| (start, key, sum)));
            }
            rows
        };
        let all = collect(usize::MAX);
        assert_eq!(all.iter().map(|(_, _, sum)| sum.messages).sum::<u64>(), 1000);
        assert_eq!(all.iter().map(|(_, _, sum)| sum.stale).sum::<u64>(), 200);
        assert!(all.is_sorted_by_key(|(start, key, _)| (*start, *key)));
        assert!(all.iter().all(|(start, _, sum)| {
            let within = |time: CaptureTime| time >= *start && time.since(*start).0 < MINUTE;
            within(sum.first) && (sum.stale == 0) == (sum.first_stale == CaptureTime::MAX)
        }));
        assert_eq!(all, collect(5));
    }
}
