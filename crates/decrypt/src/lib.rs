//! Streams to messages: key logs, RLPx handshakes and frames, MACs, Hello, capabilities, Snappy.
//!
//! [`SessionDecoder`] takes the two streams of one TCP connection and gives its messages; [`SecretStore`] holds what nodes exported.
//! Below them every layer stands alone: [`handshake`] finds auth and ack without keys, [`frame`] cuts a direction into frames with
//! [`keystream`] and [`mac`], [`hello`] and [`capability`] tell what codes mean, [`snappy`] decompresses.
//!
//! Pure: bytes and capture times go in, values come out. No clock, no I/O, no panic and no unbounded memory whatever the bytes are.

pub mod capability;
pub mod disconnect;
pub mod frame;
pub mod handshake;
pub mod hello;
pub mod keccak;
pub mod keylog;
pub mod keystream;
pub mod legacy;
pub mod locate;
pub mod mac;
pub mod problem;
pub mod search;
pub mod secret_store;
pub mod secrets;
pub mod session;
pub mod snappy;
pub mod status;

#[doc(hidden)]
pub mod fuzzing;
#[doc(hidden)]
pub mod sample;

mod backlog;
mod opened;
mod opening;

pub use frame::RememberedPlace;
pub use problem::{Problem, ProblemKind};
pub use secret_store::SecretStore;
pub use session::{
    Attached, Chain, FoundPlace, Recognised, Remembered, SessionDecoder, SessionOptions, SessionOutput,
    SessionSummary, Sought, Told, WaitingPool,
};
