//! Who talks to whom.

use std::fmt;
use std::net::IpAddr;

/// One end of a TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// Address as it stands in the IP header.
    pub ip: IpAddr,
    /// TCP port.
    pub port: u16,
}

impl fmt::Display for Endpoint {
    /// `10.0.0.1:32323`, `[fe80::1]:32323`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        std::net::SocketAddr::new(self.ip, self.port).fmt(f)
    }
}

/// The two ends of a TCP connection, the same whichever end sent the packet: `low <= high`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowKey {
    /// The smaller endpoint.
    pub low: Endpoint,
    /// The larger endpoint.
    pub high: Endpoint,
}

impl FlowKey {
    /// The key of a packet's flow, and the side that sent the packet.
    #[inline]
    pub fn of(source: Endpoint, destination: Endpoint) -> (Self, Side) {
        if source <= destination {
            (
                Self {
                    low: source,
                    high: destination,
                },
                Side::Low,
            )
        } else {
            (
                Self {
                    low: destination,
                    high: source,
                },
                Side::High,
            )
        }
    }

    /// The endpoint of a side.
    #[inline]
    pub fn endpoint(&self, side: Side) -> Endpoint {
        match side {
            Side::Low => self.low,
            Side::High => self.high,
        }
    }
}

impl fmt::Display for FlowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} - {}", self.low, self.high)
    }
}

/// An end of a [`FlowKey`]. Says nothing about who opened the connection; that is [`Direction`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// [`FlowKey::low`].
    Low,
    /// [`FlowKey::high`].
    High,
}

impl Side {
    /// Both sides, in order of [`index`](Self::index).
    pub const BOTH: [Self; 2] = [Self::Low, Self::High];

    /// The other end.
    #[inline]
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Low => Self::High,
            Self::High => Self::Low,
        }
    }

    /// 0 or 1, to index a pair kept per side.
    #[inline]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Which way bytes of a session go, in the terms of devp2p's `rlpx.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// From the end that dialled.
    FromInitiator,
    /// From the end that listened.
    FromRecipient,
}

impl Direction {
    /// The opposite way.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::FromInitiator => Self::FromRecipient,
            Self::FromRecipient => Self::FromInitiator,
        }
    }

    /// 0 or 1, to index a pair kept per direction, the initiator's first.
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// One TCP connection inside one flow table: a flow key that is used again gets another id.
///
/// Ids are handed out by the flow table and never used twice by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// Where a packet was captured: one input file or one interface of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TapId(pub u16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_has_one_key_for_both_directions() {
        let a = Endpoint {
            ip: [10, 0, 0, 1].into(),
            port: 40_000,
        };
        let b = Endpoint {
            ip: [10, 0, 0, 2].into(),
            port: 32_323,
        };
        let (there, from_a) = FlowKey::of(a, b);
        let (back, from_b) = FlowKey::of(b, a);
        assert_eq!(there, back);
        assert_eq!(from_a.other(), from_b);
        assert_eq!(there.endpoint(from_a), a);
    }
}
