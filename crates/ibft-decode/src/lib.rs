//! Messages to consensus messages: one module a dialect.

pub mod encode;
mod error;
mod extra;
pub mod istanbul;
mod kind;
pub mod klaytn;
pub mod quorum_ibft;
pub mod rlp_view;
mod signature;

pub use error::{DecodeError, DecodeErrorKind};
pub use extra::{IstanbulExtra, VANITY_LEN};
pub use kind::{Kind, UnknownKind, View};
pub use signature::{SIGNATURE_LEN, recover};
