//! Fixed-size values of Ethereum-like chains.

use std::fmt;
use std::str::FromStr;

use sha3::{Digest, Keccak256};

macro_rules! fixed_bytes {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// Number of bytes.
            pub const LEN: usize = $len;

            /// From a slice of exactly [`LEN`](Self::LEN) bytes.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }

            /// Lower-case hex without `0x`.
            pub fn to_hex(&self) -> String {
                hex::encode(self.0)
            }
        }

        impl fmt::Display for $name {
            /// `0x` and lower-case hex.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("0x")?;
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseHexError;

            /// Hex of either case, with or without `0x`.
            fn from_str(text: &str) -> Result<Self, ParseHexError> {
                let digits = text.strip_prefix("0x").unwrap_or(text);
                let mut bytes = [0; $len];
                hex::decode_to_slice(digits, &mut bytes)
                    .map_err(|_| ParseHexError { expected: $len * 2, found: digits.len() })?;
                Ok(Self(bytes))
            }
        }
    };
}

fixed_bytes!(
    /// A Keccak-256 hash: block hash, digest, genesis, payload or session.
    Hash256,
    32
);
fixed_bytes!(
    /// Last 20 bytes of Keccak-256 of a public key: a validator's and an account's name.
    Address,
    20
);
fixed_bytes!(
    /// A node's secp256k1 public key, uncompressed without its `04` prefix, as in Hello.
    NodeId,
    64
);

impl NodeId {
    /// The address that belongs to this key.
    pub fn address(&self) -> Address {
        let hash = keccak256(&self.0);
        let mut address = [0; 20];
        address.copy_from_slice(&hash.0[12..]);
        Address(address)
    }
}

impl Hash256 {
    /// All zeros: the digest of a round change in Klaytn and GoQuorum IBFT.
    pub const ZERO: Self = Self([0; 32]);
}

/// Keccak-256 of `bytes` (the original Keccak padding, not SHA3-256).
pub fn keccak256(bytes: &[u8]) -> Hash256 {
    let digest = Keccak256::digest(bytes);
    let mut hash = [0; 32];
    hash.copy_from_slice(&digest);
    Hash256(hash)
}

/// Text that is not hex of the right length. Does not repeat the text: it may be a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseHexError {
    /// Digits wanted.
    pub expected: usize,
    /// Characters found.
    pub found: usize,
}

impl fmt::Display for ParseHexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.expected == self.found {
            write!(f, "not hexadecimal")
        } else {
            write!(
                f,
                "{} characters where {} hex digits belong",
                self.found, self.expected
            )
        }
    }
}

impl std::error::Error for ParseHexError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keccak_is_not_sha3() {
        assert_eq!(
            keccak256(b"").to_hex(),
            "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
        );
    }

    #[test]
    fn node_id_gives_the_validator_address() {
        // cn1 of captures/klaytn-7cn/nodes.json
        let id: NodeId = "2f6392bf0a207b19e63cf42cc631820fc006e7d6b56adeaee765b94191c28837\
                          bd2918549ec433ac7122d9d50750b601de2da66555974aded031eb33f5a6b50c"
            .parse()
            .unwrap();
        assert_eq!(
            id.address().to_string(),
            "0x7e3d7640ffc956d8f7024664c4506049ebd5954b"
        );
    }

    #[test]
    fn wrong_hex_is_refused_without_repeating_it() {
        let error = "zz".parse::<Address>().unwrap_err();
        assert_eq!(error.to_string(), "2 characters where 40 hex digits belong");
        assert!("g".repeat(40).parse::<Address>().is_err());
    }
}
