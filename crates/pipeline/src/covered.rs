//! Which parts of a session's key stream were read already.
//!
//! One session may come up as two TCP connections of the capture: files whose clocks differ by more than the flow
//! table waits, or a flow that was given up and went on. What was read once is the same message, not another one.

use std::collections::HashMap;

use bftap_decrypt::secrets::SecretId;
use bftap_model::{Direction, FlowKey};

/// Which session: its endpoints and the fingerprint of its secret.
pub(crate) type SecretKey = (FlowKey, SecretId);

/// Spans of key stream blocks, sorted and apart from each other.
#[derive(Debug, Default)]
struct Spans(Vec<(u64, u64)>);

impl Spans {
    /// Adds `from..to`; true if any of it is new.
    fn add(&mut self, from: u64, to: u64) -> bool {
        if let Some(last) = self.0.last_mut()
            && last.1 == from
        {
            last.1 = to;
            return true;
        }
        let at = self.0.partition_point(|span| span.1 < from);
        let end = at + self.0[at..].partition_point(|span| span.0 <= to);
        if end == at + 1 && self.0[at].0 <= from && to <= self.0[at].1 {
            return false;
        }
        let joined = self.0[at..end].iter().fold((from, to), |(low, high), span| {
            (low.min(span.0), high.max(span.1))
        });
        self.0.splice(at..end, [joined]);
        true
    }
}

/// A session in [`Covered`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place(usize);

/// See the module's documentation. Sessions are few beside messages; their spans join to one or two each.
#[derive(Debug, Default)]
pub(crate) struct Covered {
    places: HashMap<SecretKey, usize>,
    spans: Vec<[Spans; 2]>,
}

impl Covered {
    /// The place of a session, the same for all connections that carry it.
    pub(crate) fn place(&mut self, session: SecretKey) -> Place {
        let spans = &mut self.spans;
        Place(*self.places.entry(session).or_insert_with(|| {
            spans.push(<[Spans; 2]>::default());
            spans.len() - 1
        }))
    }

    /// Notes a frame whose header is at `block` and that ends before `next`; false if it was read before.
    #[inline]
    pub(crate) fn note(&mut self, Place(place): Place, direction: Direction, block: u64, next: u64) -> bool {
        self.spans[place][direction.index()].add(block, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_join_and_tell_what_is_new() {
        let mut spans = Spans::default();
        assert!(spans.add(0, 3));
        assert!(spans.add(3, 5));
        assert_eq!(spans.0, [(0, 5)]);
        assert!(!spans.add(0, 3));
        assert!(!spans.add(3, 5));
        assert!(spans.add(9, 12));
        assert!(spans.add(20, 22));
        assert!(!spans.add(9, 12));
        assert!(spans.add(5, 9));
        assert_eq!(spans.0, [(0, 12), (20, 22)]);
        assert!(spans.add(12, 20));
        assert_eq!(spans.0, [(0, 22)]);
        assert!(!spans.add(20, 22));
    }
}
