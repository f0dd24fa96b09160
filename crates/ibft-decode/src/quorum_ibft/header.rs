//! GoQuorum IBFT block headers, and the hashes taken of them.

use bftap_model::{Address, Hash256, keccak256};

use crate::encode::List;
use crate::extra::IstanbulExtra;
use crate::klaytn::BLOOM_LEN;

/// A header to be written (GoQuorum v24.4.0 `core/types/block.go` `Header`: the 15 fields of Ethereum's).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EthHeader {
    /// Hash of the parent block.
    pub parent_hash: Hash256,
    /// Hash of the list of uncles.
    pub uncle_hash: Hash256,
    /// Account that is voted on; not the proposer, who stands nowhere but in the seal.
    pub coinbase: Address,
    /// Root of the state.
    pub root: Hash256,
    /// Root of the transactions.
    pub tx_hash: Hash256,
    /// Root of the receipts.
    pub receipt_hash: Hash256,
    /// Filter of the logs.
    pub bloom: Box<[u8; BLOOM_LEN]>,
    /// Always 1.
    pub difficulty: u64,
    /// Height.
    pub number: u64,
    /// Gas limit.
    pub gas_limit: u64,
    /// Gas used.
    pub gas_used: u64,
    /// Seconds since the epoch.
    pub time: u64,
    /// Vanity, validators, seals.
    pub extra: IstanbulExtra,
    /// [`ISTANBUL_DIGEST`], else the header is not one of Istanbul's.
    pub mix_digest: Hash256,
    /// The vote: all ones to add, zeros to drop.
    pub nonce: [u8; 8],
}

impl EthHeader {
    /// The encoding, as it stands in blocks.
    pub fn rlp(&self) -> Vec<u8> {
        self.rlp_with_extra(&self.extra.encode())
    }

    /// The block's hash: over the header without committed seals, but with the proposer's seal; over all of it when
    /// [`mix_digest`](Self::mix_digest) is another one.
    pub fn hash(&self) -> Hash256 {
        if self.mix_digest == ISTANBUL_DIGEST {
            keccak256(&self.rlp_with_extra(&self.filtered_extra(true)))
        } else {
            keccak256(&self.rlp())
        }
    }

    /// What the proposer signs for its seal. A double hash: Keccak-256 of the header's hash without any seal.
    pub fn proposer_seal_hash(&self) -> Hash256 {
        let unsealed = keccak256(&self.rlp_with_extra(&self.filtered_extra(false)));
        keccak256(&unsealed.0)
    }

    fn filtered_extra(&self, keep_seal: bool) -> Vec<u8> {
        let mut extra = self.extra.clone();
        extra.committed_seals.clear();
        if !keep_seal {
            extra.seal.clear();
        }
        extra.encode()
    }

    fn rlp_with_extra(&self, extra: &[u8]) -> Vec<u8> {
        List::new()
            .bytes(&self.parent_hash.0)
            .bytes(&self.uncle_hash.0)
            .bytes(&self.coinbase.0)
            .bytes(&self.root.0)
            .bytes(&self.tx_hash.0)
            .bytes(&self.receipt_hash.0)
            .bytes(&self.bloom[..])
            .uint(self.difficulty)
            .uint(self.number)
            .uint(self.gas_limit)
            .uint(self.gas_used)
            .uint(self.time)
            .bytes(extra)
            .bytes(&self.mix_digest.0)
            .bytes(&self.nonce)
            .finish()
    }
}

/// Keccak-256 of the empty list's encoding: the uncle hash of every block without uncles.
pub const NO_UNCLES: Hash256 = Hash256([
    0x1d, 0xcc, 0x4d, 0xe8, 0xde, 0xc7, 0x5d, 0x7a, 0xab, 0x85, 0xb5, 0x67, 0xb6, 0xcc, 0xd4, 0x1a, 0xd3,
    0x12, 0x45, 0x1b, 0x94, 0x8a, 0x74, 0x13, 0xf0, 0xa1, 0x42, 0xfd, 0x40, 0xd4, 0x93, 0x47,
]);

/// What marks a header as Istanbul's: ASCII `ctical byzantine fault tolerance` (`types.IstanbulDigest`).
pub const ISTANBUL_DIGEST: Hash256 = Hash256(*b"ctical byzantine fault tolerance");
