//! Open heights in memory, closed ones in the spill.
//!
//! A height is closed when memory for open ones runs out and it was not touched for longest. A message that comes for a
//! closed height opens it once more, beside what was spilled; the parts are merged when the run is over. So a late message costs no
//! reading, and the answer does not depend on when a height was closed.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;

use hashbrown::HashMap;

use crate::height::{Delivery, Height};
use crate::observation::Payload;
use crate::spill::{Place, Spill};

/// A height: index of its chain, and the sequence.
pub(crate) type HeightKey = (u32, u64);

#[derive(Debug, Default)]
struct Open {
    height: Height,
    touched: u64,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Heights {
    open: HashMap<HeightKey, Open>,
    closed: BTreeMap<HeightKey, Vec<Place>>,
    spill: Spill,
    /// Deliveries and payloads in `open`.
    entries: usize,
    limit: usize,
    /// Counts messages; stands in for time, which workers do not share.
    clock: u64,
    /// What came since it was taken last, where somebody keeps it.
    fresh: Option<HashMap<HeightKey, Height>>,
}

impl Heights {
    /// Keeps about `limit` deliveries and payloads in memory.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            open: HashMap::new(),
            closed: BTreeMap::new(),
            spill: Spill::default(),
            entries: 0,
            limit: limit.max(1),
            clock: 0,
            fresh: None,
        }
    }

    /// From now on [`take_fresh`](Self::take_fresh) gives what came.
    pub(crate) fn keep_fresh(&mut self) {
        self.fresh.get_or_insert_default();
    }

    /// What came since the last time.
    pub(crate) fn take_fresh(&mut self) -> HashMap<HeightKey, Height> {
        self.fresh.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Adds to what came, where somebody keeps it.
    pub(crate) fn add_fresh(&mut self, key: HeightKey, height: Height) {
        if let Some(fresh) = &mut self.fresh {
            fresh.entry(key).or_default().merge(height);
        }
    }

    /// Adds what was known of a height in an earlier life; it does not come into memory.
    pub(crate) fn add_record(&mut self, key: HeightKey, record: &[u8]) -> io::Result<()> {
        let place = self.spill.append(record)?;
        self.closed.entry(key).or_default().push(place);
        Ok(())
    }

    /// Adds a delivery; tells whether its payload is new to what is in memory.
    pub(crate) fn deliver(
        &mut self,
        key: HeightKey,
        payload: &Payload,
        receiver: u32,
        sender: u32,
        delivery: Delivery,
    ) -> io::Result<bool> {
        self.clock += 1;
        if let Some(fresh) = &mut self.fresh {
            fresh
                .entry(key)
                .or_default()
                .add(payload, receiver, sender, delivery);
        }
        let open = self.open.entry(key).or_default();
        open.touched = self.clock;
        let (new_payload, new_key) = open.height.add(payload, receiver, sender, delivery);
        self.entries += usize::from(new_payload) + usize::from(new_key);
        if self.entries > self.limit {
            self.close_idle()?;
        }
        Ok(new_payload)
    }

    /// Closes the heights that were not touched for longest, until half of the limit is free.
    fn close_idle(&mut self) -> io::Result<()> {
        let mut by_age: Vec<(u64, HeightKey)> =
            self.open.iter().map(|(&key, open)| (open.touched, key)).collect();
        by_age.sort_unstable();
        for (_, key) in by_age {
            if self.entries <= self.limit / 2 {
                break;
            }
            if let Some(open) = self.open.remove(&key) {
                self.entries -= open.height.payloads.len() + open.height.deliveries.len();
                let place = self.spill.append(&open.height.write())?;
                self.closed.entry(key).or_default().push(place);
            }
        }
        Ok(())
    }

    /// Heights in memory and numbers in them; and heights of which only a place in the temporary file is.
    pub(crate) fn residents(&self) -> (usize, usize, usize) {
        (self.open.len(), self.entries, self.closed.len())
    }

    /// All keys, sorted.
    pub(crate) fn keys(&self) -> Vec<HeightKey> {
        let mut keys: Vec<HeightKey> = self
            .open
            .keys()
            .copied()
            .chain(self.closed.keys().copied())
            .collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// Whether anything is known of a height.
    pub(crate) fn contains(&self, key: HeightKey) -> bool {
        self.open.contains_key(&key) || self.closed.contains_key(&key)
    }

    /// All parts of a height merged; they stay where they are.
    pub(crate) fn read(&mut self, key: HeightKey) -> io::Result<Cow<'_, Height>> {
        let open = self.open.get(&key).map(|open| &open.height);
        let Some(places) = self.closed.get(&key) else {
            return Ok(open.map_or_else(|| Cow::Owned(Height::default()), Cow::Borrowed));
        };
        let mut height = open.cloned().unwrap_or_default();
        let mut record = Vec::new();
        for &place in places {
            self.spill.read(place, &mut record)?;
            height.merge(Height::read(&record)?);
        }
        Ok(Cow::Owned(height))
    }

    /// Takes all parts of a height out and merges them.
    pub(crate) fn take(&mut self, key: HeightKey) -> io::Result<Height> {
        let mut height = self.open.remove(&key).map(|open| open.height).unwrap_or_default();
        self.entries = self
            .entries
            .saturating_sub(height.payloads.len() + height.deliveries.len());
        let mut record = Vec::new();
        for place in self.closed.remove(&key).unwrap_or_default() {
            self.spill.read(place, &mut record)?;
            height.merge(Height::read(&record)?);
        }
        Ok(height)
    }
}
