//! Streams to messages: key logs, RLPx handshakes and frames, MACs, Hello, capabilities, Snappy.

pub mod keystream;
pub mod mac;
pub mod secrets;
