//! The operator's signature under a bundle: ECDSA with secp256k1 over the SHA-256 of `manifest.json`, which names the hashes of all other
//! files.
//!
//! A key file holds 64 hex digits, as a node's key file does, but must be a key of its own.

use std::fmt;
use std::str::FromStr;

use secp256k1::ecdsa::{self, Signature};
use secp256k1::{Message, SecretKey};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroize as _;

/// Signs bundles. Wiped from memory when dropped, never printed.
pub struct SigningKey(SecretKey);

/// The key that others check signatures with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(secp256k1::PublicKey);

/// Text or bytes that are no key. Does not repeat them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// A secret key of another form.
    #[error("not a key: 64 hex digits belong here, a number from 1 to below the order of secp256k1")]
    Secret,
    /// A public key of another form.
    #[error("not a public key: 66 hex digits belong here, a compressed point of secp256k1 (02 or 03 first)")]
    Public,
}

/// Why a `manifest.sig` does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureProblem {
    /// Its text is not what is written there.
    #[error("it has not the form of a signature")]
    Form,
    /// The signature is of another key or another manifest.
    #[error("the signature does not fit the manifest and the key")]
    DoesNotFit,
}

impl SigningKey {
    /// From 32 random bytes.
    ///
    /// # Errors
    /// Zero, or beyond the group order: a draw that is no key comes once in 2^128.
    pub fn from_bytes(mut bytes: [u8; 32]) -> Result<Self, InvalidKey> {
        let key = SecretKey::from_secret_bytes(bytes).map_err(|_| InvalidKey::Secret);
        bytes.zeroize();
        key.map(Self)
    }

    /// From the text of a key file.
    ///
    /// # Errors
    /// It is none.
    pub fn from_text(text: &str) -> Result<Self, InvalidKey> {
        let mut bytes = [0; 32];
        let read = hex::decode_to_slice(text.trim(), &mut bytes).map_err(|_| InvalidKey::Secret);
        let key = read.and_then(|()| Self::from_bytes(bytes));
        bytes.zeroize();
        key
    }

    /// Its other half.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.0.public_key())
    }

    /// The text of `manifest.sig`. The nonce follows from key and manifest (RFC 6979), so the same manifest has the same signature.
    pub fn sign(&self, manifest: &[u8]) -> String {
        let signature = ecdsa::sign(digest(manifest), &self.0);
        text(&self.public_key(), &signature)
    }
}

impl Drop for SigningKey {
    fn drop(&mut self) {
        self.0.non_secure_erase();
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("public_key", &self.public_key())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for PublicKey {
    /// The compressed point in hex.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0.serialize()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        let mut bytes = [0; 33];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| InvalidKey::Public)?;
        secp256k1::PublicKey::from_slice(&bytes)
            .map(Self)
            .map_err(|_| InvalidKey::Public)
    }
}

/// Whose signature the text of a `manifest.sig` is.
///
/// # Errors
/// It is none of this manifest.
pub(crate) fn check(signature: &[u8], manifest: &[u8]) -> Result<PublicKey, SignatureProblem> {
    let form = SignatureProblem::Form;
    let found = std::str::from_utf8(signature).map_err(|_| form)?;
    let mut lines = found.lines();
    let (_, _, key, signed) = (lines.next(), lines.next(), lines.next(), lines.next());
    let value = |line: Option<&'_ str>, name: &str| {
        let digits = line?.strip_prefix(name)?.strip_prefix(' ')?;
        (digits.len() <= MAX_DIGITS).then(|| digits.to_owned())
    };
    let key: PublicKey = value(key, KEY).ok_or(form)?.parse().map_err(|_| form)?;
    let der = hex::decode(value(signed, VALUE).ok_or(form)?).map_err(|_| form)?;
    let signed = Signature::from_der(&der).map_err(|_| form)?;
    // One way of writing it: what is not written so is not ours, in any bit.
    if text(&key, &signed) != found {
        return Err(form);
    }
    ecdsa::verify(&signed, digest(manifest), &key.0).map_err(|_| SignatureProblem::DoesNotFit)?;
    Ok(key)
}

fn digest(manifest: &[u8]) -> Message {
    let mut hash = [0; 32];
    hash.copy_from_slice(&Sha256::digest(manifest));
    Message::from_digest(hash)
}

fn text(key: &PublicKey, signature: &Signature) -> String {
    let der = hex::encode(signature.serialize_der());
    format!("bftap-evidence-signature 1\nalgorithm ecdsa-secp256k1-sha256\n{KEY} {key}\n{VALUE} {der}\n")
}

const KEY: &str = "public-key";
const VALUE: &str = "signature-der";
/// Twice the longest DER signature.
const MAX_DIGITS: usize = 2 * 72;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_manifest_and_key_alone() {
        let key = SigningKey::from_text(&format!("{}\n", "11".repeat(32))).unwrap();
        let manifest = b"{}\n";
        let signed = key.sign(manifest);
        assert_eq!(signed, key.sign(manifest));
        assert_eq!(check(signed.as_bytes(), manifest), Ok(key.public_key()));
        assert_eq!(check(signed.as_bytes(), b"{}"), Err(SignatureProblem::DoesNotFit));
        for at in 0..signed.len() {
            for bit in 0..8 {
                let mut other = signed.clone().into_bytes();
                other[at] ^= 1 << bit;
                assert!(check(&other, manifest).is_err(), "byte {at} bit {bit}");
            }
        }
        assert!(!format!("{key:?}").contains("1111"));
        assert_eq!(
            key.public_key().to_string().parse::<PublicKey>(),
            Ok(key.public_key())
        );
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for text in ["", "11", &"00".repeat(32), &"ff".repeat(32), &"zz".repeat(32)] {
            assert_eq!(SigningKey::from_text(text).unwrap_err(), InvalidKey::Secret);
        }
        assert_eq!("02ff".parse::<PublicKey>(), Err(InvalidKey::Public));
        assert_eq!("05".repeat(33).parse::<PublicKey>(), Err(InvalidKey::Public));
    }
}
