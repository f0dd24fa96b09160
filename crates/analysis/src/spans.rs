//! Spans of time that are joined where they touch: when a node was connected, whatever sessions that took.

use bftap_model::{CaptureTime, Nanos};

/// Spans of time. They can be asked once [`join`](Self::join) has sorted them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spans(Vec<(CaptureTime, CaptureTime)>);

impl Spans {
    pub(crate) fn push(&mut self, span: (CaptureTime, CaptureTime)) {
        self.0.push(span);
    }

    /// Sorts them, and makes one of those that touch.
    pub(crate) fn join(&mut self) {
        self.0.sort_unstable();
        self.0.dedup_by(|next, kept| {
            let joins = next.0 <= kept.1;
            if joins {
                kept.1 = kept.1.max(next.1);
            }
            joins
        });
    }

    /// Whether one of them has all of the time between the two, and the two themselves.
    pub(crate) fn hold(&self, (from, to): (CaptureTime, CaptureTime)) -> bool {
        let after = self.0.partition_point(|span| span.0 <= from);
        after > 0 && self.0[after - 1].1 >= to
    }

    /// How long they are together.
    pub(crate) fn total(&self) -> Nanos {
        let length = |span: &(CaptureTime, CaptureTime)| span.1.since(span.0).0.max(0);
        Nanos(self.0.iter().map(length).fold(0, i64::saturating_add))
    }
}

impl FromIterator<(CaptureTime, CaptureTime)> for Spans {
    fn from_iter<T: IntoIterator<Item = (CaptureTime, CaptureTime)>>(spans: T) -> Self {
        let mut spans = Self(spans.into_iter().collect());
        spans.join();
        spans
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_that_touch_are_one() {
        let at = |seconds: i64| CaptureTime::from_nanos(seconds * 1_000_000_000);
        let spans: Spans = [(20, 30), (0, 5), (5, 10), (2, 3)]
            .map(|(from, to)| (at(from), at(to)))
            .into_iter()
            .collect();
        assert!(spans.hold((at(1), at(10))) && spans.hold((at(20), at(20))));
        assert!(
            !spans.hold((at(9), at(11))) && !spans.hold((at(11), at(12))) && !spans.hold((at(-1), at(2)))
        );
        assert_eq!(spans.total(), Nanos::from_secs(20));
        assert!(!Spans::default().hold((at(0), at(0))));
    }
}
