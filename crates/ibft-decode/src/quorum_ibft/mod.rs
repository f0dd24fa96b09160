//! Istanbul BFT of GoQuorum v2.x to v24.4 (WIRE-FORMATS 5.2): wire code 0x21 under `istanbul/64` and `istanbul/99`, 0x32
//! under `istanbul/100`.
//!
//! # Writing a message
//!
//! As in [`klaytn`](crate::klaytn), but without parent hashes, and the message on the wire is the payload as a string:
//!
//! ```
//! use bftap_ibft_decode::quorum_ibft::{UnsignedMessage, envelope, subject};
//! use bftap_ibft_decode::{Kind, View};
//! use bftap_model::{Address, Hash256};
//!
//! # let sign = |_: Hash256| [0_u8; 65];
//! # let (address, digest) = (Address([7; 20]), Hash256([1; 32]));
//! let message = UnsignedMessage {
//!     kind: Kind::Prepare,
//!     body: subject(View { sequence: 8, round: 0 }, &digest),
//!     address,
//!     committed_seal: Vec::new(),
//! };
//! let payload = message.with_signature(&sign(message.signing_hash()));
//! let wire = envelope(&payload); // the message of local code 0x11
//! # use bftap_ibft_decode::Dialect;
//! # assert_eq!(bftap_ibft_decode::quorum_ibft::QuorumIbft.open(0x11, &wire).unwrap().payload, payload);
//! ```
//!
//! A proposal holds a block: fill an [`EthHeader`], sign [`proposer_seal_hash`](EthHeader::proposer_seal_hash) into
//! `extra.seal`, then [`block`] and [`preprepare`].

mod decode;
mod encode;
mod header;
mod layout;

pub use decode::QuorumIbft;
pub use encode::{UnsignedMessage, block, envelope, preprepare, subject};
pub use header::{EthHeader, ISTANBUL_DIGEST, NO_UNCLES};
