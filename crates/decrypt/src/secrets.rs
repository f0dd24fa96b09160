//! What a node's key log tells of one session, wiped and never printed.

use std::fmt;

use bftap_model::keccak256;
use zeroize::{Zeroize, ZeroizeOnDrop};

macro_rules! secret_bytes {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// Wiped from memory when dropped; never printed.
        #[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
        pub struct $name([u8; 32]);

        impl $name {
            /// From the 32 bytes that the handshake derives.
            pub const fn new(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The bytes, for a cipher.
            pub const fn expose(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }
    };
}

secret_bytes!(
    /// Key of the frame cipher, `aes-secret` in devp2p's `rlpx.md`: whoever has it can read the session.
    AesSecret
);
secret_bytes!(
    /// Key of the frame MACs, `mac-secret` in devp2p's `rlpx.md`: whoever has it can forge frames.
    MacSecret
);

/// What is needed besides the AES secret to check MACs.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct MacSecrets {
    /// The MAC key.
    pub secret: MacSecret,
    /// Nonce of the end that dialled.
    pub initiator_nonce: [u8; 32],
    /// Nonce of the end that listened.
    pub recipient_nonce: [u8; 32],
}

impl fmt::Debug for MacSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MacSecrets(…)")
    }
}

/// Secrets of one session, as one line of a key log tells them.
///
/// Wiped from memory when dropped; `Debug` shows nothing of them.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionSecrets {
    /// Key of the frame cipher.
    pub aes: AesSecret,
    /// Keys of the MACs; `None` where only the AES key was exported.
    pub mac: Option<MacSecrets>,
}

impl SessionSecrets {
    /// A public name for the secret: the same for every line that holds it, telling nothing of it.
    pub fn id(&self) -> SecretId {
        let mut input = [0; LABEL.len() + 32];
        input[..LABEL.len()].copy_from_slice(LABEL);
        input[LABEL.len()..].copy_from_slice(self.aes.expose());
        let hash = keccak256(&input);
        input.zeroize();
        let (id, _) = hash
            .0
            .split_first_chunk()
            .expect("a hash is longer than its first eight bytes");
        SecretId(u64::from_be_bytes(*id))
    }
}

impl fmt::Debug for SessionSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.mac.is_some() {
            "SessionSecrets { aes: …, mac: … }"
        } else {
            "SessionSecrets { aes: … }"
        })
    }
}

/// Tells session secrets apart without revealing them: part of a hash of the AES secret.
///
/// With the endpoints, the direction and the key stream block it is the identity of an occurrence of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretId(pub u64);

impl fmt::Display for SecretId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Keeps the hash apart from any other hash of a key.
const LABEL: &[u8; 16] = b"bftap occurrence";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_secret_is_printed() {
        let secrets = SessionSecrets {
            aes: AesSecret::new([0xa5; 32]),
            mac: Some(MacSecrets {
                secret: MacSecret::new([0xa5; 32]),
                initiator_nonce: [0xa5; 32],
                recipient_nonce: [0xa5; 32],
            }),
        };
        let text = format!("{secrets:?} {:#?} {:?} {:?}", secrets, secrets.mac, secrets.aes);
        assert!(
            !text.contains("165") && !text.to_lowercase().contains("a5"),
            "{text}"
        );
        assert_eq!(
            format!("{:?}", secrets.mac.as_ref().unwrap().secret),
            "MacSecret(…)"
        );
    }

    #[test]
    fn the_id_depends_on_the_aes_secret_alone() {
        let aes_only = SessionSecrets {
            aes: AesSecret::new([1; 32]),
            mac: None,
        };
        let whole = SessionSecrets {
            mac: Some(MacSecrets {
                secret: MacSecret::new([2; 32]),
                initiator_nonce: [3; 32],
                recipient_nonce: [4; 32],
            }),
            ..aes_only.clone()
        };
        assert_eq!(aes_only.id(), whole.id());
        assert_ne!(
            aes_only.id(),
            SessionSecrets {
                aes: AesSecret::new([2; 32]),
                mac: None
            }
            .id()
        );
    }
}
