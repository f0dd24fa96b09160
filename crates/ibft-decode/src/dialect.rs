//! Which dialect a session speaks, and what every dialect can do.

use std::fmt::Debug;

use bftap_model::{Capability, Hash256};

use crate::dissect::{Field, Resemblance, What};
use crate::error::DecodeError;
use crate::message::{BlockHeader, ConsensusMessage, Envelope, SignatureCheck};

/// The family of clients at a session's ends, from the shape of Hello's `ListenPort` (WIRE-FORMATS 3.2).
///
/// Needed because `istanbul` names three different protocols (traps 15, 16 and 31).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// A list: Klaytn and Kaia.
    Klaytn,
    /// A number: geth, GoQuorum, Besu.
    Ethereum,
    /// No Hello was seen.
    Unknown,
}

/// One way of putting Istanbul BFT into devp2p messages.
///
/// A dialect is a value without state: everything here is a function of its arguments.
pub trait Dialect: Sync + Debug {
    /// The word of `--dialect`.
    fn name(&self) -> &'static str;

    /// Whether a session with this capability speaks this dialect under it.
    fn applies(&self, capability: &Capability, family: Family) -> bool;

    /// Codes at which its capability can begin (WIRE-FORMATS 4.2), the usual one first; for sessions without Hello.
    fn offsets(&self) -> &'static [u64];

    /// The family of the clients that speak it.
    fn family(&self) -> Family;

    /// Whether a message of this code, the capability's offset taken off, is one of consensus.
    fn is_consensus(&self, local: u64) -> bool;

    /// Takes a message apart into payload and envelope, without allocating; runs for every copy.
    ///
    /// # Errors
    /// When the message has not the envelope of this dialect. The payload is not looked into.
    fn open<'a>(&self, local: u64, message: &'a [u8]) -> Result<Envelope<'a>, DecodeError>;

    /// Decodes a payload. A pure function, so the result can be kept for all copies of the payload.
    ///
    /// A wrong or malformed signature is not an error: it is told by [`ConsensusMessage::validity`].
    ///
    /// # Errors
    /// When a node of this dialect could not decode the payload either, or a number is beyond `i64::MAX`.
    fn decode(
        &self,
        local: u64,
        payload: &[u8],
        check: SignatureCheck,
    ) -> Result<ConsensusMessage, DecodeError>;

    /// The header of the block that a payload proposes, as it stands there; `None` if it proposes none.
    ///
    /// # Errors
    /// When the payload does not decode so far.
    fn header_in<'a>(&self, local: u64, payload: &'a [u8]) -> Result<Option<&'a [u8]>, DecodeError>;

    /// Reads a block's header that stands by itself.
    ///
    /// # Errors
    /// When it is none of this dialect's blocks.
    fn read_header(&self, header: &[u8], check: SignatureCheck) -> Result<BlockHeader, DecodeError>;

    /// What a validator signs to seal the block of this hash in a header.
    fn committed_seal_hash(&self, block: &Hash256) -> Hash256;

    /// Shows every field of a message or payload, as far as it goes.
    fn dissect(&self, what: What, local: u64, bytes: &[u8]) -> Vec<Field>;

    /// Whether bytes of unknown origin look like a message or payload of this dialect.
    fn resemblance(&self, bytes: &[u8]) -> Option<Resemblance>;
}

/// All dialects.
pub fn dialects() -> &'static [&'static dyn Dialect] {
    &[&crate::klaytn::Klaytn, &crate::quorum_ibft::QuorumIbft]
}

/// The dialect in which a message of this code under this capability is one of consensus.
pub fn dialect_for(capability: &Capability, family: Family, local: u64) -> Option<&'static dyn Dialect> {
    dialects()
        .iter()
        .copied()
        .find(|dialect| dialect.applies(capability, family) && dialect.is_consensus(local))
}

/// The dialect of a name, as `--dialect` gives it.
pub fn dialect_named(name: &str) -> Option<&'static dyn Dialect> {
    dialects().iter().copied().find(|dialect| dialect.name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// WIRE-FORMATS 4 and 4.2, and traps 15, 16 and 31.
    #[test]
    fn istanbul_is_told_apart_by_family_version_and_length() {
        let capability = |name: &str, version, len| Capability {
            name: name.into(),
            version,
            offset: 0x10,
            len,
        };
        let name = |capability: &Capability, family, local| {
            dialect_for(capability, family, local).map(Dialect::name)
        };
        for (version, len, klaytn, ethereum, unknown) in [
            (64, Some(21), Some("klaytn"), Some("quorum-ibft"), Some("klaytn")),
            (
                64,
                Some(18),
                Some("klaytn"),
                Some("quorum-ibft"),
                Some("quorum-ibft"),
            ),
            (64, None, Some("klaytn"), Some("quorum-ibft"), None),
            (65, Some(23), Some("klaytn"), None, Some("klaytn")),
            (67, Some(26), Some("klaytn"), None, Some("klaytn")),
            (68, None, Some("klaytn"), None, None),
            (
                99,
                Some(18),
                Some("klaytn"),
                Some("quorum-ibft"),
                Some("quorum-ibft"),
            ),
            (
                100,
                Some(22),
                Some("klaytn"),
                Some("quorum-ibft"),
                Some("quorum-ibft"),
            ),
        ] {
            let istanbul = capability("istanbul", version, len);
            assert_eq!(name(&istanbul, Family::Klaytn, 0x11), klaytn, "{version} {len:?}");
            assert_eq!(
                name(&istanbul, Family::Ethereum, 0x11),
                ethereum,
                "{version} {len:?}"
            );
            assert_eq!(
                name(&istanbul, Family::Unknown, 0x11),
                unknown,
                "{version} {len:?}"
            );
            for local in [0x00, 0x10, 0x12, 0x15] {
                assert_eq!(
                    name(&istanbul, Family::Ethereum, local),
                    None,
                    "QBFT's, or no consensus at all"
                );
            }
        }
        assert_eq!(
            name(&capability("eth", 66, Some(17)), Family::Ethereum, 0x11),
            None
        );
        assert_eq!(
            name(&capability("Istanbul", 64, Some(21)), Family::Klaytn, 0x11),
            None
        );
    }

    #[test]
    fn dialects_are_found_by_their_names() {
        for dialect in dialects() {
            assert_eq!(
                dialect_named(dialect.name()).map(Dialect::name),
                Some(dialect.name())
            );
        }
        assert!(dialect_named("tendermint").is_none());
    }
}
