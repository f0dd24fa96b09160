//! Writing GoQuorum IBFT messages; the way to do it is told in the [module above](super).

use bftap_model::{Address, Hash256, keccak256};

use crate::encode::{List, string};
use crate::istanbul;
use crate::signature::SIGNATURE_LEN;
use crate::{Kind, View};

/// A message (WIRE-FORMATS 5.2) that wants its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsignedMessage {
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
            .uint(istanbul::code(self.kind))
            .bytes(&self.body)
            .bytes(&self.address.0)
            .bytes(signature)
            .bytes(&self.committed_seal)
            .finish()
    }
}

/// Body of a prepare, commit or roundchange: `[View, Digest]`.
pub fn subject(view: View, digest: &Hash256) -> Vec<u8> {
    List::new().list(&istanbul::view(view)).bytes(&digest.0).finish()
}

/// Body of a preprepare: `[View, Block]`.
pub fn preprepare(view: View, block: &[u8]) -> Vec<u8> {
    List::new().list(&istanbul::view(view)).raw(block).finish()
}

/// A block: `[Header, [tx...], []]`. `transactions` are encoded already, behind each other.
pub fn block(header: &[u8], transactions: &[u8]) -> Vec<u8> {
    List::new()
        .raw(header)
        .list(&List::new().raw(transactions))
        .list(&List::new())
        .finish()
}

/// The message on the wire (local code 0x11): the payload as an RLP string.
pub fn envelope(payload: &[u8]) -> Vec<u8> {
    string(payload)
}
