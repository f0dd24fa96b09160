//! Klaytn/Kaia block headers, and the hashes taken of them.

use bftap_model::{Address, Hash256, keccak256};

use crate::encode::List;
use crate::extra::{IstanbulExtra, VANITY_LEN};

/// A header to be written (Klaytn v1.4.2 and Kaia v2.2.1 `blockchain/types/block.go` `Header`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KlaytnHeader {
    /// Hash of the parent block.
    pub parent_hash: Hash256,
    /// Account that gets the reward; not the proposer, who stands nowhere but in the seal.
    pub rewardbase: Address,
    /// Root of the state.
    pub root: Hash256,
    /// Root of the transactions.
    pub tx_hash: Hash256,
    /// Root of the receipts.
    pub receipt_hash: Hash256,
    /// Filter of the logs.
    pub bloom: Box<[u8; BLOOM_LEN]>,
    /// Always 1.
    pub block_score: u64,
    /// Height.
    pub number: u64,
    /// Gas used.
    pub gas_used: u64,
    /// Seconds since the epoch.
    pub time: u64,
    /// Hundredths of that second.
    pub time_fos: u8,
    /// Vanity with the round, validators, seals.
    pub extra: IstanbulExtra,
    /// Governance data, opaque here.
    pub governance: Vec<u8>,
    /// Governance vote, opaque here.
    pub vote: Vec<u8>,
    /// Fields that forks added.
    pub tail: HeaderTail,
}

/// Fields that forks added at a header's end; each fork keeps those before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HeaderTail {
    /// None: 14 items.
    #[default]
    Istanbul,
    /// Magma (code from v1.9.0): 15 items.
    Magma {
        /// Base fee.
        base_fee: u64,
    },
    /// Randao (code from v1.12.0): 17 items.
    Randao {
        /// Base fee.
        base_fee: u64,
        /// BLS signature, 96 bytes.
        random_reveal: Box<[u8; 96]>,
        /// Mix of the random reveals.
        mix_hash: Hash256,
    },
    /// Blobs (Kaia v2.2): 19 items.
    Blobs {
        /// Base fee.
        base_fee: u64,
        /// BLS signature, 96 bytes.
        random_reveal: Box<[u8; 96]>,
        /// Mix of the random reveals.
        mix_hash: Hash256,
        /// Gas used for blobs.
        blob_gas_used: u64,
        /// Excess of it.
        excess_blob_gas: u64,
    },
}

impl KlaytnHeader {
    /// The encoding, as it stands in blocks.
    pub fn rlp(&self) -> Vec<u8> {
        self.rlp_with_extra(&self.extra.encode())
    }

    /// The block's hash: over the header without committed seals and with round 0, but with the proposer's seal.
    pub fn hash(&self) -> Hash256 {
        keccak256(&self.rlp_with_extra(&self.filtered_extra(true)))
    }

    /// What the proposer signs for its seal. A double hash: Keccak-256 of the header's hash without any seal.
    pub fn proposer_seal_hash(&self) -> Hash256 {
        let unsealed = keccak256(&self.rlp_with_extra(&self.filtered_extra(false)));
        keccak256(&unsealed.0)
    }

    /// Writes the round into the last byte of the vanity, as `SetRoundToHeader` does: its low 8 bits.
    pub fn set_round(&mut self, round: u64) {
        self.extra.vanity[VANITY_LEN - 1] = round as u8;
    }

    fn filtered_extra(&self, keep_seal: bool) -> Vec<u8> {
        let mut extra = self.extra.clone();
        extra.vanity[VANITY_LEN - 1] = 0;
        extra.committed_seals.clear();
        if !keep_seal {
            extra.seal.clear();
        }
        extra.encode()
    }

    fn rlp_with_extra(&self, extra: &[u8]) -> Vec<u8> {
        List::new()
            .bytes(&self.parent_hash.0)
            .bytes(&self.rewardbase.0)
            .bytes(&self.root.0)
            .bytes(&self.tx_hash.0)
            .bytes(&self.receipt_hash.0)
            .bytes(&self.bloom[..])
            .uint(self.block_score)
            .uint(self.number)
            .uint(self.gas_used)
            .uint(self.time)
            .uint(self.time_fos.into())
            .bytes(extra)
            .bytes(&self.governance)
            .bytes(&self.vote)
            .raw(&self.tail.items())
            .finish()
    }
}

impl HeaderTail {
    fn items(&self) -> Vec<u8> {
        let list = match self {
            Self::Istanbul => List::new(),
            Self::Magma { base_fee } => List::new().uint(*base_fee),
            Self::Randao {
                base_fee,
                random_reveal,
                mix_hash,
            } => List::new()
                .uint(*base_fee)
                .bytes(&random_reveal[..])
                .bytes(&mix_hash.0),
            Self::Blobs {
                base_fee,
                random_reveal,
                mix_hash,
                blob_gas_used,
                excess_blob_gas,
            } => List::new()
                .uint(*base_fee)
                .bytes(&random_reveal[..])
                .bytes(&mix_hash.0)
                .uint(*blob_gas_used)
                .uint(*excess_blob_gas),
        };
        list.into_items()
    }
}

/// Bytes of a log filter.
pub const BLOOM_LEN: usize = 256;
