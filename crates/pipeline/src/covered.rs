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

/// See the module's documentation. Sessions are few beside messages; their spans join to one or two each.
#[derive(Debug, Default)]
pub(crate) struct Covered {
    sessions: HashMap<SecretKey, [Spans; 2]>,
}

impl Covered {
    /// Notes a frame whose header is at `block` and that ends before `next`; false if it was read before.
    pub(crate) fn note(&mut self, session: &SecretKey, direction: Direction, block: u64, next: u64) -> bool {
        if !self.sessions.contains_key(session) {
            self.sessions.insert(*session, <[Spans; 2]>::default());
        }
        self.sessions
            .get_mut(session)
            .is_none_or(|spans| spans[direction.index()].add(block, next))
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
