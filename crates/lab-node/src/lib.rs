//! A small validator that speaks RLPx and Istanbul BFT over TCP, rightly or wrongly, and keeps a record of it.
//!
//! It is the transport around `bftap-simnet`: sockets, timers and files. [`start`] runs one validator on the tokio runtime it is called
//! in; several may share a runtime.
//!
//! | module | what |
//! |---|---|
//! | [`options`] | who the validators are, and what this one does |
//! | [`faults`] | what it does wrong, and when |
//! | `connection`, `frames` | one TCP connection: handshake, Hello, Status, frames both ways |
//! | `shared` | what all connections know: who is connected, which payloads came before |
//! | `node`, `misbehaviour`, `sync` | the validator: one task that owns consensus, gossip and chain |
//! | `chain` | its blocks |
//! | [`record`] | what it did, a JSON object a line |
//!
//! Bounded towards peers: only listed validators get beyond the handshake, which must be over in five seconds; frames, queues, caches
//! and kept blocks have limits in number and in bytes, and a peer whose queue is full is dropped.

mod chain;
mod clock;
mod connection;
pub mod faults;
mod frames;
pub mod fuzzing;
mod misbehaviour;
mod node;
pub mod options;
mod outbox;
pub mod record;
mod shared;
mod sync;

pub use node::{LabNode, NodeStatus, StartError, start};
pub use options::{Network, NetworkError, NodeOptions, Validator};
