//! Messages to consensus messages: one module a dialect. No I/O, no clock, no state.
//!
//! A devp2p message whose capability and code are known finds its [`Dialect`] with [`dialect_for`]. Then, in two steps,
//! because gossip brings many copies of one payload:
//!
//! 1. [`Dialect::open`] takes the envelope off, without allocating: what is left is the *payload*, whose Keccak-256
//!    tells copies.
//! 2. [`Dialect::decode`] reads a payload and recovers its signer. It is a pure function, so callers keep its
//!    result per distinct payload.
//!
//! [`dissect`] shows a message field by field, [`detect`] guesses what unknown bytes are. The dialects' modules also
//! *write* messages, headers and blocks ([`klaytn`], [`quorum_ibft`]): simulated nodes send with them, and decoding is tested
//! against them. Keys and signing are the sender's business.
//!
//! A new dialect is a new module, and a line in [`dialects`].

mod block;
mod dialect;
mod dissect;
pub mod encode;
mod error;
mod extra;
#[doc(hidden)]
pub mod fuzzing;
pub mod istanbul;
mod kind;
pub mod klaytn;
mod layout;
mod message;
pub mod quorum_ibft;
pub mod rlp_view;
mod signature;

pub use dialect::{Dialect, Family, dialect_for, dialect_named, dialects};
pub use dissect::{Field, FieldSource, Resemblance, What, detect, dissect};
pub use error::{DecodeError, DecodeErrorKind};
pub use extra::{IstanbulExtra, VANITY_LEN};
pub use kind::{Kind, UnknownKind, View};
pub use message::{
    BlockHeader, CommitSeal, ConsensusMessage, Envelope, Justification, Proposal, SignatureCheck, Validity,
};
pub use signature::{SIGNATURE_LEN, recover};
