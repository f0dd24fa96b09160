//! Which connection a packet of an undamaged capture is of, and where in its stream it lies.

use std::collections::HashMap;
use std::ops::Range;

use bftap_model::{Direction, Endpoint, FlowKey};

use super::headers::Segment;

/// Where a packet belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Number of the connection, in the order of their first SYNs.
    pub(super) connection: usize,
    pub(super) direction: Direction,
    /// The bytes that it carries; `None` where the direction's SYN did not pass before.
    pub(super) stream: Option<Range<u64>>,
}

struct Connection {
    number: usize,
    initiator: Endpoint,
    isn: [Option<u32>; 2],
}

/// The connections of a capture, by their SYNs.
#[derive(Default)]
pub(super) struct Connections {
    /// The latest last.
    by_ends: HashMap<FlowKey, Vec<Connection>>,
    count: usize,
}

impl Connections {
    /// Takes the next packet; `None` if it is of a connection whose SYN did not pass.
    pub(super) fn place(&mut self, segment: &Segment) -> Option<Place> {
        let (key, _) = FlowKey::of(segment.source, segment.destination);
        let known = self.by_ends.entry(key).or_default();
        let opens = segment.is_syn()
            // A SYN that is sent again opens nothing.
            && !known.iter().any(|connection| {
                connection.initiator == segment.source && connection.isn[0] == Some(segment.seq)
            });
        if opens {
            known.push(Connection {
                number: self.count,
                initiator: segment.source,
                isn: [Some(segment.seq), None],
            });
            self.count += 1;
        }
        if segment.is_syn_ack()
            && let Some(connection) = known.last_mut()
            && connection.initiator == segment.destination
        {
            connection.isn[1].get_or_insert(segment.seq);
        }
        // A late packet of an earlier connection between the same ends lies far from the later one's numbers.
        let fits = |connection: &&Connection| {
            connection
                .offset(segment)
                .is_none_or(|offset| offset.cast_signed() >= -1)
        };
        let connection = known.iter().rev().find(fits).or(known.last())?;
        let direction = connection.direction(segment);
        let stream = connection.offset(segment).map(|offset| {
            let start = u64::from(offset);
            start..start + u64::from(segment.sent)
        });
        Some(Place {
            connection: connection.number,
            direction,
            stream,
        })
    }
}

impl Connection {
    fn direction(&self, segment: &Segment) -> Direction {
        if segment.source == self.initiator {
            Direction::FromInitiator
        } else {
            Direction::FromRecipient
        }
    }

    fn offset(&self, segment: &Segment) -> Option<u32> {
        let isn = self.isn[self.direction(segment).index()]?;
        Some(segment.payload_seq().wrapping_sub(isn).wrapping_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::damage::segment;
    use crate::packet::Tcp;

    #[test]
    fn ends_that_meet_again_begin_another_connection() {
        let mut connections = Connections::default();
        let mut place = |tcp: Tcp| connections.place(&segment(&tcp.ethernet()).unwrap());
        let (there, back) = (
            || Tcp::new("10.0.0.1:1", "10.0.0.2:2"),
            || Tcp::new("10.0.0.2:2", "10.0.0.1:1"),
        );
        let at = |connection, direction, stream| {
            Some(Place {
                connection,
                direction,
                stream,
            })
        };
        assert_eq!(
            place(there().seq(5).payload(b"x")),
            None,
            "begun before the capture"
        );
        let (initiator, recipient) = (Direction::FromInitiator, Direction::FromRecipient);
        assert_eq!(
            place(there().seq(u32::MAX).flags(2)),
            at(0, initiator, Some(0..0))
        );
        assert_eq!(
            place(there().seq(u32::MAX).flags(2)),
            at(0, initiator, Some(0..0))
        );
        assert_eq!(place(back().seq(3)), at(0, recipient, None), "before its SYN");
        assert_eq!(
            place(back().seq(77).flags(2).ack(0)),
            at(0, recipient, Some(0..0))
        );
        assert_eq!(
            place(there().seq(4).payload(b"four")),
            at(0, initiator, Some(4..8))
        );
        assert_eq!(
            place(there().seq(2_000_000_000).flags(2)),
            at(1, initiator, Some(0..0))
        );
        assert_eq!(
            place(there().seq(2_000_000_001).payload(b"abc")),
            at(1, initiator, Some(0..3))
        );
        // Late, of the first one.
        assert_eq!(
            place(there().seq(8).payload(b"late")),
            at(0, initiator, Some(8..12))
        );
        // The same ends the other way round.
        assert_eq!(place(back().seq(100).flags(2)), at(2, initiator, Some(0..0)));
    }
}
