//! A node's key: its identity, its vote, and its half of every handshake.

use std::fmt;

use bftap_ibft_decode::SIGNATURE_LEN;
use bftap_model::{Address, Hash256, NodeId};
use secp256k1::ecdh::shared_secret_point;
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use secp256k1::{Message, PublicKey, SecretKey};
use zeroize::{Zeroize, Zeroizing};

use crate::prng::Prng;

/// A secp256k1 key that signs and agrees on secrets. Wiped from memory when dropped, never printed.
#[derive(Clone)]
pub struct NodeKey {
    secret: SecretKey,
    id: NodeId,
    address: Address,
}

/// Bytes that are no secret key: zero, or beyond the group order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a secp256k1 secret key: zero, or beyond the group order")]
pub struct InvalidKey;

/// A node id that is no point of the curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("node id is not a point of secp256k1")]
pub struct InvalidNodeId;

impl NodeKey {
    /// From the 32 bytes of a node key file.
    pub fn from_bytes(mut bytes: [u8; 32]) -> Result<Self, InvalidKey> {
        let secret = SecretKey::from_secret_bytes(bytes).map_err(|_| InvalidKey);
        bytes.zeroize();
        let secret = secret?;
        let uncompressed = secret.public_key().serialize_uncompressed();
        let mut id = [0; NodeId::LEN];
        id.copy_from_slice(&uncompressed[1..]);
        let id = NodeId(id);
        Ok(Self {
            secret,
            id,
            address: id.address(),
        })
    }

    /// The next key of a seeded source.
    pub fn draw(prng: &mut Prng) -> Self {
        loop {
            // A draw that is no key comes once in 2^128.
            if let Ok(key) = Self::from_bytes(prng.bytes()) {
                return key;
            }
        }
    }

    /// The public key as Hello and the node's URL show it.
    pub const fn id(&self) -> &NodeId {
        &self.id
    }

    /// The name of account and validator.
    pub const fn address(&self) -> Address {
        self.address
    }

    /// Signs a hash: `r ‖ s ‖ v` with v 0 or 1 and a low s. The nonce follows from key and hash (RFC 6979), so the same hash
    /// gives the same signature.
    pub fn sign(&self, hash: &Hash256) -> [u8; SIGNATURE_LEN] {
        let signature =
            RecoverableSignature::sign_ecdsa_recoverable(Message::from_digest(hash.0), &self.secret);
        let (v, compact) = signature.serialize_compact();
        let mut bytes = [0; SIGNATURE_LEN];
        bytes[..64].copy_from_slice(&compact);
        bytes[64] = v.to_u8();
        bytes
    }

    /// x coordinate of the point that both keys agree on (ECDH without a hash).
    pub fn agree(&self, other: &NodeId) -> Result<Zeroizing<[u8; 32]>, InvalidNodeId> {
        let mut point = shared_secret_point(&public_key(other)?, &self.secret);
        let mut x = Zeroizing::new([0; 32]);
        x.copy_from_slice(&point[..32]);
        point.zeroize();
        Ok(x)
    }
}

impl Drop for NodeKey {
    fn drop(&mut self) {
        self.secret.non_secure_erase();
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeKey")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// The key whose signature of `hash` this is; `None` when it is malformed or fits no key.
pub fn recover_id(hash: &Hash256, signature: &[u8; SIGNATURE_LEN]) -> Option<NodeId> {
    let [compact @ .., v] = signature;
    let id = RecoveryId::try_from(i32::from(*v)).ok()?;
    let signature = RecoverableSignature::from_compact(compact, id).ok()?;
    let key = signature.recover_ecdsa(Message::from_digest(hash.0)).ok()?;
    NodeId::from_slice(&key.serialize_uncompressed()[1..])
}

fn public_key(id: &NodeId) -> Result<PublicKey, InvalidNodeId> {
    let mut uncompressed = [4; 65];
    uncompressed[1..].copy_from_slice(&id.0);
    PublicKey::from_byte_array_uncompressed(uncompressed).map_err(|_| InvalidNodeId)
}

#[cfg(test)]
mod tests {
    use bftap_ibft_decode::recover;
    use bftap_model::keccak256;

    use super::*;

    #[test]
    fn a_signature_leads_back_to_its_address() {
        let key = NodeKey::draw(&mut Prng::new(1));
        let hash = keccak256(b"vote");
        let signature = key.sign(&hash);
        assert_eq!(recover(&hash, &signature), Some(key.address()));
        assert_eq!(key.sign(&hash), signature);
    }

    #[test]
    fn both_ends_agree() {
        let mut prng = Prng::new(2);
        let (a, b) = (NodeKey::draw(&mut prng), NodeKey::draw(&mut prng));
        assert_eq!(*a.agree(b.id()).unwrap(), *b.agree(a.id()).unwrap());
        assert_eq!(a.agree(&NodeId([1; 64])).unwrap_err(), InvalidNodeId);
    }

    #[test]
    fn what_is_no_key_is_refused_and_no_key_is_shown() {
        assert_eq!(NodeKey::from_bytes([0; 32]).unwrap_err(), InvalidKey);
        assert_eq!(NodeKey::from_bytes([0xff; 32]).unwrap_err(), InvalidKey);
        let key = NodeKey::from_bytes([0x11; 32]).unwrap();
        assert!(!format!("{key:?}").contains("1111"));
    }
}
