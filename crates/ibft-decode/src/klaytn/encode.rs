//! Writing Klaytn/Kaia messages; the way to do it is told in the [module above](super).

use bftap_model::{Address, Hash256, keccak256};

use crate::encode::{List, string};
use crate::istanbul;
use crate::signature::SIGNATURE_LEN;
use crate::{Kind, View};

/// An inner message (WIRE-FORMATS 5.1.2) that wants its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsignedMessage {
    /// Hash of the parent block (field `Hash`).
    pub parent: Hash256,
    /// Kind; gives the field `Code`.
    pub kind: Kind,
    /// Encoding of the body: [`preprepare`] or [`subject`].
    pub body: Vec<u8>,
    /// The address the sender claims; its own, if it is honest.
    pub address: Address,
    /// 65 bytes in a commit ([`istanbul::committed_seal_hash`] signed), else empty.
    pub committed_seal: Vec<u8>,
}

impl UnsignedMessage {
    /// What the sender signs: Keccak-256 of the message with an empty signature.
    pub fn signing_hash(&self) -> Hash256 {
        keccak256(&self.with_raw_signature(&[]))
    }

    /// The payload: what is gossiped, and hashed to tell copies.
    pub fn with_signature(&self, signature: &[u8; SIGNATURE_LEN]) -> Vec<u8> {
        self.with_raw_signature(signature)
    }

    /// The payload with a signature of any length: a dishonest sender's.
    pub fn with_raw_signature(&self, signature: &[u8]) -> Vec<u8> {
        List::new()
            .bytes(&self.parent.0)
            .uint(istanbul::code(self.kind))
            .bytes(&self.body)
            .bytes(&self.address.0)
            .bytes(signature)
            .bytes(&self.committed_seal)
            .finish()
    }
}

/// Body of a prepare, commit or roundchange: `[View, Digest, PrevHash]`.
pub fn subject(view: View, digest: &Hash256, prev_hash: &Hash256) -> Vec<u8> {
    List::new()
        .list(&istanbul::view(view))
        .bytes(&digest.0)
        .bytes(&prev_hash.0)
        .finish()
}

/// Body of a preprepare: `[View, Block]`.
pub fn preprepare(view: View, block: &[u8]) -> Vec<u8> {
    List::new().list(&istanbul::view(view)).raw(block).finish()
}

/// A block: `[Header, [tx...]]`. `transactions` are encoded already, behind each other, as [`transaction`] gives them.
pub fn block(header: &[u8], transactions: &[u8]) -> Vec<u8> {
    List::new()
        .raw(header)
        .list(&List::new().raw(transactions))
        .finish()
}

/// A transaction's items in a block's list (WIRE-FORMATS 5.1.4): the type's items, if it has a type, then the fields.
pub fn transaction(kind: TransactionKind, fields: &List) -> Vec<u8> {
    let mut out = match kind {
        TransactionKind::Legacy => Vec::new(),
        TransactionKind::Klaytn(kind) => string(&[kind]),
        TransactionKind::Ethereum(kind) => [string(&[ETHEREUM_TYPED]), string(&[kind])].concat(),
    };
    out.extend_from_slice(&fields.finish());
    out
}

/// How a transaction is marked in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionKind {
    /// No mark: one item.
    Legacy,
    /// A type of Klaytn's own (0x08 is a value transfer): two items.
    Klaytn(u8),
    /// A typed transaction of Ethereum's: three items.
    Ethereum(u8),
}

/// The message on the wire (local code 0x11): `[PrevHash, Payload]`.
pub fn envelope(parent: &Hash256, payload: &[u8]) -> Vec<u8> {
    List::new().bytes(&parent.0).bytes(payload).finish()
}

/// Marks a typed transaction of Ethereum's (`EthereumTxTypeEnvelope`).
const ETHEREUM_TYPED: u8 = 0x78;
