//! One devp2p message as it crossed the wire, after decryption and Snappy.

use std::fmt;
use std::sync::Arc;

use crate::{Direction, Origin};

/// A sub-protocol that both ends of a session agreed on, and where its codes start.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capability {
    /// Name as in Hello: `istanbul`, `eth`.
    pub name: String,
    /// Version as in Hello.
    pub version: u32,
    /// First wire code of this capability in this session.
    pub offset: u64,
    /// Number of codes reserved for it; `None` for a capability whose length is not known here, which makes
    /// the offsets of all capabilities sorted behind it unknown.
    pub len: Option<u64>,
}

impl Capability {
    /// Version of a capability that was inferred from messages; no client offers it.
    pub const UNKNOWN_VERSION: u32 = u32::MAX;
}

impl fmt::Display for Capability {
    /// `istanbul/64`; `istanbul/?` where no Hello told the version.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            Self::UNKNOWN_VERSION => write!(f, "{}/?", self.name),
            version => write!(f, "{}/{version}", self.name),
        }
    }
}

/// What a wire code means in its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// A message of the devp2p base protocol (codes 0x00 to 0x0f).
    Base {
        /// `Hello`, `Disconnect`, `Ping`, `Pong`, or `reserved`.
        name: &'static str,
    },
    /// A message of an agreed capability.
    Sub {
        /// Which one.
        capability: Arc<Capability>,
        /// Code with the capability's offset taken off.
        local: u64,
        /// Name of the message where it is known, else `unknown`.
        name: &'static str,
    },
    /// No agreed capability covers this code, or Hello was not seen.
    Unknown,
}

/// What is known of a frame's authenticity.
///
/// Ordered from best to worst, so the worst of a session is its maximum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MacState {
    /// Header and frame MAC are right.
    #[default]
    Verified,
    /// Not checked, on the user's wish.
    Skipped,
    /// Cannot be checked: no mac-secret, or the running hash was interrupted by a gap.
    Unverifiable,
    /// A MAC is wrong.
    Failed,
}

impl MacState {
    /// The word used in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Skipped => "skipped",
            Self::Unverifiable => "unverifiable",
            Self::Failed => "failed",
        }
    }
}

/// One message, borrowed from its session's buffers.
#[derive(Clone, Debug)]
pub struct WireMessage<'a> {
    /// Which way it went.
    pub direction: Direction,
    /// Code on the wire.
    pub code: u64,
    /// What the code means here.
    pub meaning: Meaning,
    /// Content behind the code, decompressed.
    pub payload: &'a [u8],
    /// Place in the stream and time of completion.
    pub origin: Origin,
    /// Key stream block of the frame's header: with endpoints, secret and direction the identity of the occurrence.
    pub block: u64,
    /// Bytes of the frame on the wire: 48 + padded body.
    pub wire_len: u32,
    /// Whether header and frame MAC held.
    pub mac: MacState,
}
