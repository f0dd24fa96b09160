//! ECIES as RLPx handshakes use it (WIRE-FORMATS 2.3; devp2p `rlpx.md`, "ECIES Encryption").
//!
//! Layout: `R (65, starts with 04) ‖ IV (16) ‖ AES-128-CTR ‖ HMAC-SHA256 (32)`.

use aes::Aes128;
use bftap_model::NodeId;
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit, StreamCipher};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::key::{InvalidNodeId, NodeKey};
use crate::prng::Prng;

/// Bytes that encryption adds.
pub const OVERHEAD: usize = POINT_LEN + IV_LEN + TAG_LEN;

const POINT_LEN: usize = 65;
const IV_LEN: usize = 16;
const TAG_LEN: usize = 32;

/// A packet that does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EciesError {
    /// Shorter than the overhead alone.
    #[error("ECIES packet of {len} bytes is shorter than its overhead of {OVERHEAD}")]
    TooShort {
        /// Its length.
        len: usize,
    },
    /// It does not start with an uncompressed point of the curve.
    #[error("ECIES packet does not start with a point of the curve")]
    Point,
    /// The tag is wrong: damaged, or for another key.
    #[error("ECIES tag does not fit: damaged, or for another key")]
    Tag,
}

/// Encrypts `plaintext` for `recipient`; `associated` is authenticated with it (EIP-8: the size prefix).
pub fn encrypt(
    recipient: &NodeId,
    plaintext: &[u8],
    associated: &[u8],
    prng: &mut Prng,
) -> Result<Vec<u8>, InvalidNodeId> {
    let ephemeral = NodeKey::draw(prng);
    let keys = Keys::derive(&*ephemeral.agree(recipient)?);
    let iv: [u8; IV_LEN] = prng.bytes();
    let mut out = Vec::with_capacity(OVERHEAD + plaintext.len());
    out.push(0x04);
    out.extend_from_slice(&ephemeral.id().0);
    out.extend_from_slice(&iv);
    out.extend_from_slice(plaintext);
    keys.apply_cipher(&iv, &mut out[POINT_LEN + IV_LEN..]);
    let mac = keys.mac(&out[POINT_LEN..], associated);
    out.extend_from_slice(&mac.finalize().into_bytes());
    Ok(out)
}

/// Opens a packet that was encrypted for `key`.
pub fn decrypt(key: &NodeKey, packet: &[u8], associated: &[u8]) -> Result<Vec<u8>, EciesError> {
    let too_short = EciesError::TooShort { len: packet.len() };
    let (sealed, tag) = packet.split_last_chunk::<TAG_LEN>().ok_or(too_short)?;
    let (point, sealed) = sealed.split_first_chunk::<POINT_LEN>().ok_or(too_short)?;
    let (iv, ciphertext) = sealed.split_first_chunk::<IV_LEN>().ok_or(too_short)?;
    let [0x04, id @ ..] = point else {
        return Err(EciesError::Point);
    };
    let id = NodeId::from_slice(id).ok_or(EciesError::Point)?;
    let keys = Keys::derive(&*key.agree(&id).map_err(|_| EciesError::Point)?);
    keys.mac(sealed, associated)
        .verify_slice(tag)
        .map_err(|_| EciesError::Tag)?;
    let mut plaintext = ciphertext.to_vec();
    keys.apply_cipher(iv, &mut plaintext);
    Ok(plaintext)
}

struct Keys {
    cipher: Zeroizing<[u8; 16]>,
    mac: Zeroizing<[u8; 32]>,
}

impl Keys {
    /// NIST SP 800-56A concatenation KDF with SHA-256: one block is enough.
    fn derive(shared: &[u8; 32]) -> Self {
        let mut hash = Sha256::new();
        hash.update(1_u32.to_be_bytes());
        hash.update(shared);
        let block = Zeroizing::new(<[u8; 32]>::from(hash.finalize()));
        let mut cipher = Zeroizing::new([0; 16]);
        cipher.copy_from_slice(&block[..16]);
        let mac = Zeroizing::new(Sha256::digest(&block[16..]).into());
        Self { cipher, mac }
    }

    fn apply_cipher(&self, iv: &[u8; IV_LEN], bytes: &mut [u8]) {
        Ctr128BE::<Aes128>::new((&*self.cipher).into(), iv.into()).apply_keystream(bytes);
    }

    fn mac(&self, sealed: &[u8], associated: &[u8]) -> Hmac<Sha256> {
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&*self.mac)
            .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
        mac.update(sealed);
        mac.update(associated);
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_what_it_sealed_and_nothing_else() {
        let mut prng = Prng::new(3);
        let (ours, theirs) = (NodeKey::draw(&mut prng), NodeKey::draw(&mut prng));
        let packet = encrypt(ours.id(), b"secret word", b"\x01\x02", &mut prng).unwrap();
        assert_eq!(packet.len(), OVERHEAD + 11);
        assert_eq!(decrypt(&ours, &packet, b"\x01\x02").unwrap(), b"secret word");
        assert_eq!(decrypt(&ours, &packet, b"\x01\x03"), Err(EciesError::Tag));
        assert_eq!(decrypt(&theirs, &packet, b"\x01\x02"), Err(EciesError::Tag));
        for at in 1..packet.len() {
            let mut damaged = packet.clone();
            damaged[at] ^= 0x10;
            assert!(decrypt(&ours, &damaged, b"\x01\x02").is_err(), "byte {at}");
        }
        for len in 0..OVERHEAD {
            assert!(decrypt(&ours, &packet[..len], b"").is_err());
        }
    }
}
