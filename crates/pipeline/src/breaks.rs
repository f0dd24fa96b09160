//! When messages of a session may have passed unread.

use bftap_model::{CaptureTime, Direction};

/// A span of time, both ends included.
pub(crate) type Span = (CaptureTime, CaptureTime);

/// Spans between the last bytes before a gap and the first message that was read behind it.
#[derive(Debug, Default)]
pub(crate) struct Breaks {
    healed: Vec<Span>,
    /// Since when nothing was read, by [`Direction::index`].
    open: [Option<CaptureTime>; 2],
    /// When the first message was read, by [`Direction::index`].
    first: [Option<CaptureTime>; 2],
}

/// Spans that are kept apart; further ones are joined to the last.
const MOST: usize = 1024;

impl Breaks {
    /// Bytes are missing from here on; in both directions, if it is not known which one this is.
    pub(crate) fn gap(&mut self, direction: Option<Direction>, seen: CaptureTime) {
        for way in [Direction::FromInitiator, Direction::FromRecipient] {
            if direction.is_none_or(|direction| direction == way) {
                let open = &mut self.open[way.index()];
                *open = Some(open.map_or(seen, |since| since.min(seen)));
            }
        }
    }

    /// A message was read.
    #[inline]
    pub(crate) fn read(&mut self, direction: Direction, seen: CaptureTime) {
        self.first[direction.index()].get_or_insert(seen);
        if let Some(since) = self.open[direction.index()].take() {
            let full = self.healed.len() >= MOST;
            match self.healed.last_mut() {
                Some(last) if full => {
                    *last = (last.0.min(since), last.1.max(seen));
                }
                _ => self.healed.push((since.min(seen), since.max(seen))),
            }
        }
    }

    /// When the first message of a direction was read.
    pub(crate) fn first(&self, direction: Direction) -> Option<CaptureTime> {
        self.first[direction.index()]
    }

    /// All spans of a connection that ended at `end`.
    pub(crate) fn spans(&self, end: CaptureTime) -> Vec<Span> {
        let open = self.open.into_iter().flatten().map(|since| (since, end));
        self.healed.iter().copied().chain(open).collect()
    }

    /// What passed before the first messages were read, in a connection that began at `start`.
    pub(crate) fn before_first(&self, (start, end): Span) -> Vec<Span> {
        let [one, other] = self.first.map(|first| (start, first.unwrap_or(end)));
        if one == other { vec![one] } else { vec![one, other] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_break_ends_with_the_next_message_of_its_direction() {
        use Direction::{FromInitiator, FromRecipient};
        let at = CaptureTime::from_nanos;
        let mut breaks = Breaks::default();
        breaks.read(FromInitiator, at(1));
        breaks.gap(Some(FromInitiator), at(5));
        breaks.gap(Some(FromInitiator), at(7));
        breaks.read(FromRecipient, at(8));
        breaks.read(FromInitiator, at(9));
        breaks.gap(None, at(20));
        breaks.read(FromRecipient, at(22));
        assert_eq!(
            breaks.spans(at(30)),
            [(at(5), at(9)), (at(20), at(22)), (at(20), at(30))]
        );
        assert_eq!(
            breaks.before_first((at(0), at(30))),
            [(at(0), at(1)), (at(0), at(8))]
        );
        for time in 100..100 + 3 * MOST as i64 {
            breaks.gap(Some(FromInitiator), at(time));
            breaks.read(FromInitiator, at(time));
        }
        assert!(breaks.spans(at(10_000)).len() <= MOST + 2);
    }
}
