//! Words shared by all stages of `bftap`, one meaning each. No I/O, no clock, no async.
//!
//! | word | meaning |
//! |---|---|
//! | packet | bytes of one capture record |
//! | segment | TCP payload of one packet, with its [`SeqNumber`] |
//! | stream | ordered bytes of one direction of a TCP connection |
//! | flow | the TCP connection: both streams; its ends are *initiator* and *recipient* |
//! | frame | one decrypted RLPx frame |
//! | message | one devp2p message, after Snappy |
//! | consensus message | what a message means in a dialect of Istanbul BFT |
//! | sequence, round, view | block height under agreement, attempt at it, the pair |
//!
//! "TCP sequence number" is always [`SeqNumber`]; a bare *sequence* is always consensus.

mod flow;
mod hash;
mod message;
mod origin;
mod seq;
mod stream;
mod text;
mod time;
mod way;

pub use flow::{ConnId, Direction, Endpoint, FlowKey, Side, TapId};
pub use hash::{Address, Hash256, NodeId, ParseHexError, keccak256};
pub use message::{Capability, MacState, Meaning, WireMessage};
pub use origin::Origin;
pub use seq::SeqNumber;
pub use stream::{SETTLE, StreamChunk, StreamGap, StreamItem, StreamOffset};
pub use text::{MAX_PEER_TEXT, escape_peer_text, is_harmless};
pub use time::{CaptureTime, Nanos};
pub use way::{Passages, RoundTrips, Spread, WaySums};
