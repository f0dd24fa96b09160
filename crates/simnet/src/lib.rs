//! The sending side: handshakes, frames, messages, and a simulated network that writes captures and their truth.
//!
//! | module | what | uses |
//! |---|---|---|
//! | [`rlpx`] | handshakes and frames of one session | keys |
//! | [`devp2p`], [`client`] | payloads beside consensus; what tells client versions apart | |
//! | [`transaction`] | made-up transactions | |
//! | [`consensus`] | one validator: votes, rounds, gossip caches | keys, the encoders of `bftap-ibft-decode` |
//! | [`simulate`] | many of them in virtual time, their packets, captures and truth | all of these |
//!
//! Nothing here reads a clock, a socket or a file: what a live validator needs besides is its transport.

mod capture;
pub mod client;
pub mod consensus;
pub mod devp2p;
pub mod key;
mod network;
mod options;
pub mod prng;
pub mod rlpx;
pub mod transaction;

pub use capture::{CaptureFormat, SecretsPlace};
pub use network::{
    LoggedFrame, LoggedMessage, SimulateError, Sinks, Summary, simulate, simulate_with_frames,
};
pub use options::{
    CaptureLayout, ClockStep, Ending, Fault, FaultKind, FloodOf, Gossip, MAX_NODES, MAX_OBSERVERS, MIN_NODES,
    OptionsError, Role, SimulateOptions, Taps,
};
