//! RLPx from the sender's side: handshake, ECIES, frames. Pure functions and state machines without I/O.

pub mod ecies;
#[cfg(test)]
mod eip8;
pub mod frame;
pub mod handshake;
