//! Istanbul BFT as Klaytn and GoQuorum run it, without I/O and without a clock (WIRE-FORMATS 7).
//!
//! [`Core`] decides, [`Relay`] knows who has which payload, [`SignedMessage`] is what goes between nodes, [`Proposal`] what they agree
//! on. Whoever drives them brings the time, the peers and the wire.

mod core;
mod message;
mod proposal;
mod received;
mod relay;

pub use self::core::{Action, Committed, Config, Core, Head, Phase, Rejection, TimerToken};
pub use message::{Dialect, Forgery, SignedMessage};
pub use proposal::{BlockPlan, HeaderForm, Proposal};
pub use received::ReceivedBlock;
pub use relay::{MAX_VALIDATORS, NodeSet, Relay};
