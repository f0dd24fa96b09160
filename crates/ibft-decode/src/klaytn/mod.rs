//! Istanbul BFT of Klaytn v1.0 to v1.12 and Kaia v1.0 to v2.2: one encoding (WIRE-FORMATS 5.1).
//!
//! # Writing a message
//!
//! From the inside out; whoever holds the keys signs the hashes (`r ‖ s ‖ v`, v = 0 or 1):
//!
//! ```
//! use bftap_ibft_decode::klaytn::{UnsignedMessage, envelope, subject};
//! use bftap_ibft_decode::{Kind, View, istanbul};
//! use bftap_model::{Address, Hash256};
//!
//! # let sign = |_: Hash256| [0_u8; 65];
//! # let (address, digest, parent) = (Address([7; 20]), Hash256([1; 32]), Hash256([2; 32]));
//! let view = View { sequence: 8, round: 0 };
//! let message = UnsignedMessage {
//!     parent,
//!     kind: Kind::Commit,
//!     body: subject(view, &digest, &parent),
//!     address,
//!     committed_seal: sign(istanbul::committed_seal_hash(&digest)).to_vec(), // empty but in commits
//! };
//! let payload = message.with_signature(&sign(message.signing_hash()));
//! let wire = envelope(&parent, &payload); // the message of local code 0x11
//! # use bftap_ibft_decode::Dialect;
//! # assert_eq!(bftap_ibft_decode::klaytn::Klaytn.open(0x11, &wire).unwrap().payload, payload);
//! ```
//!
//! A proposal holds a block: fill a [`KlaytnHeader`] (validators in its extra data, [`set_round`](KlaytnHeader::set_round)),
//! sign [`proposer_seal_hash`](KlaytnHeader::proposer_seal_hash) into `extra.seal`, then [`block`] and [`preprepare`].
//! [`KlaytnHeader::hash`] is the digest that prepares and commits vote for. Once decided, committers' seals go into
//! `extra.committed_seals`; neither they nor the round change the hash.

mod decode;
mod encode;
mod header;
mod layout;

pub use decode::Klaytn;
pub use encode::{TransactionKind, UnsignedMessage, block, envelope, preprepare, subject, transaction};
pub use header::{BLOOM_LEN, HeaderTail, KlaytnHeader};
