//! The sending side: handshakes, frames, messages, and a simulated network that writes captures and their truth.

pub mod client;
pub mod consensus;
pub mod devp2p;
pub mod key;
pub mod prng;
pub mod rlpx;
