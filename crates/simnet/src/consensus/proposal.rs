//! Blocks: what validators agree on.

use bftap_ibft_decode::klaytn::{BLOOM_LEN, HeaderTail, KlaytnHeader};
use bftap_ibft_decode::quorum_ibft::{EthHeader, ISTANBUL_DIGEST, NO_UNCLES};
use bftap_ibft_decode::{IstanbulExtra, SIGNATURE_LEN, VANITY_LEN, klaytn, quorum_ibft};
use bftap_model::{Address, Hash256, keccak256};

use super::Dialect;
use super::received::ReadHeader;
use crate::key::NodeKey;

/// Which fields a header has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderForm {
    /// Klaytn before its forks: 14 items.
    Klaytn,
    /// Klaytn and Kaia with Magma: a base fee behind.
    KlaytnMagma,
    /// Kaia with Randao: random reveal and mix hash behind.
    KlaytnRandao,
    /// GoQuorum: the 15 items of Ethereum.
    Eth,
}

impl HeaderForm {
    /// Whose form it is.
    pub const fn dialect(self) -> Dialect {
        match self {
            Self::Klaytn | Self::KlaytnMagma | Self::KlaytnRandao => Dialect::Klaytn,
            Self::Eth => Dialect::QuorumIbft,
        }
    }
}

/// What a block is made from.
#[derive(Clone, Debug)]
pub struct BlockPlan<'a> {
    /// Form of the header.
    pub form: HeaderForm,
    /// Hash of the block before.
    pub parent: Hash256,
    /// Height.
    pub number: u64,
    /// Hundredths of seconds since the epoch.
    pub centis: u64,
    /// All validators, ascending.
    pub validators: &'a [Address],
    /// Transactions in the encoding of a block's list, behind each other.
    pub transactions: Vec<u8>,
    /// How many they are.
    pub transaction_count: usize,
    /// 32 bytes that make roots of state and receipts differ from block to block.
    pub entropy: [u8; 32],
}

/// A block with its proposer's seal.
#[derive(Clone, Debug)]
pub struct Proposal {
    header: Header,
    hash: Hash256,
    proposer: Address,
    transactions: Vec<u8>,
    transaction_count: usize,
}

#[derive(Clone, Debug)]
pub(super) enum Header {
    Klaytn(KlaytnHeader),
    Eth(EthHeader),
    /// Someone else's.
    Read(ReadHeader),
}

impl Proposal {
    /// Builds and seals a block.
    pub fn seal(plan: BlockPlan<'_>, key: &NodeKey) -> Self {
        let proposer = key.address();
        let extra = IstanbulExtra::unsealed([0; VANITY_LEN], plan.validators.to_vec());
        let root = keccak256(&plan.entropy);
        let tx_hash = keccak256(&plan.transactions);
        let receipt_hash = keccak256(&root.0);
        let bloom = Box::new([0; BLOOM_LEN]);
        let gas_used = plan.transaction_count as u64 * TRANSFER_GAS;
        let mut header = match plan.form {
            HeaderForm::Klaytn | HeaderForm::KlaytnMagma | HeaderForm::KlaytnRandao => {
                Header::Klaytn(KlaytnHeader {
                    parent_hash: plan.parent,
                    rewardbase: proposer,
                    root,
                    tx_hash,
                    receipt_hash,
                    bloom,
                    block_score: 1,
                    number: plan.number,
                    gas_used,
                    time: plan.centis / 100,
                    time_fos: (plan.centis % 100) as u8,
                    extra,
                    governance: Vec::new(),
                    vote: Vec::new(),
                    tail: match plan.form {
                        HeaderForm::KlaytnMagma => HeaderTail::Magma { base_fee: BASE_FEE },
                        HeaderForm::KlaytnRandao => HeaderTail::Randao {
                            base_fee: BASE_FEE,
                            random_reveal: Box::new(std::array::from_fn(|at| {
                                receipt_hash.0[at % 32] ^ at as u8
                            })),
                            mix_hash: keccak256(&receipt_hash.0),
                        },
                        HeaderForm::Klaytn | HeaderForm::Eth => HeaderTail::Istanbul,
                    },
                })
            }
            HeaderForm::Eth => Header::Eth(EthHeader {
                parent_hash: plan.parent,
                uncle_hash: NO_UNCLES,
                coinbase: Address([0; Address::LEN]),
                root,
                tx_hash,
                receipt_hash,
                bloom,
                difficulty: 1,
                number: plan.number,
                gas_limit: GAS_LIMIT,
                gas_used,
                time: plan.centis / 100,
                extra,
                mix_digest: ISTANBUL_DIGEST,
                nonce: [0; 8],
            }),
        };
        header.extra_mut().seal = key.sign(&header.seal_hash()).to_vec();
        let hash = header.hash();
        Self {
            header,
            hash,
            proposer,
            transactions: plan.transactions,
            transaction_count: plan.transaction_count,
        }
    }

    pub(super) const fn from_header(
        header: Header,
        hash: Hash256,
        proposer: Address,
        transactions: Vec<u8>,
        transaction_count: usize,
    ) -> Self {
        Self {
            header,
            hash,
            proposer,
            transactions,
            transaction_count,
        }
    }

    /// The block's hash; committed seals and round do not change it.
    pub const fn hash(&self) -> Hash256 {
        self.hash
    }

    /// Height.
    pub const fn number(&self) -> u64 {
        match &self.header {
            Header::Klaytn(header) => header.number,
            Header::Eth(header) => header.number,
            Header::Read(header) => header.number,
        }
    }

    /// Hash of the block before.
    pub const fn parent(&self) -> Hash256 {
        match &self.header {
            Header::Klaytn(header) => header.parent_hash,
            Header::Eth(header) => header.parent_hash,
            Header::Read(header) => header.parent,
        }
    }

    /// Time in the header, in hundredths of seconds since the epoch; GoQuorum's has whole seconds.
    pub const fn centis(&self) -> u64 {
        match &self.header {
            Header::Klaytn(header) => header.time * 100 + header.time_fos as u64,
            Header::Eth(header) => header.time * 100,
            Header::Read(header) => header.centis(),
        }
    }

    /// Who sealed it.
    pub const fn proposer(&self) -> Address {
        self.proposer
    }

    /// Number of transactions.
    pub const fn transaction_count(&self) -> usize {
        self.transaction_count
    }

    /// The block, as a preprepare of `round` holds it.
    pub fn block_rlp(&self, round: u64) -> Vec<u8> {
        self.block_with(self.header_rlp(round, &[]))
    }

    /// The block as it is once decided in `round`.
    pub fn decided_rlp(&self, round: u64, seals: &[[u8; SIGNATURE_LEN]]) -> Vec<u8> {
        self.block_with(self.header_rlp(round, seals))
    }

    /// Its header alone.
    pub fn header_rlp(&self, round: u64, seals: &[[u8; SIGNATURE_LEN]]) -> Vec<u8> {
        let mut header = self.header.clone();
        header.extra_mut().committed_seals = seals.iter().map(|seal| seal.to_vec()).collect();
        match header {
            Header::Klaytn(mut header) => {
                header.set_round(round);
                header.rlp()
            }
            Header::Eth(header) => header.rlp(),
            Header::Read(mut header) => {
                header.set_round(round);
                header.rlp()
            }
        }
    }

    /// Its transactions, in the encoding of a block's list, behind each other.
    pub fn transactions(&self) -> &[u8] {
        &self.transactions
    }

    fn block_with(&self, header: Vec<u8>) -> Vec<u8> {
        match self.header.dialect() {
            Dialect::Klaytn => klaytn::block(&header, &self.transactions),
            Dialect::QuorumIbft => quorum_ibft::block(&header, &self.transactions),
        }
    }
}

impl Header {
    const fn extra_mut(&mut self) -> &mut IstanbulExtra {
        match self {
            Self::Klaytn(header) => &mut header.extra,
            Self::Eth(header) => &mut header.extra,
            Self::Read(header) => &mut header.extra,
        }
    }

    fn seal_hash(&self) -> Hash256 {
        match self {
            Self::Klaytn(header) => header.proposer_seal_hash(),
            Self::Eth(header) => header.proposer_seal_hash(),
            Self::Read(header) => header.seal_hash(),
        }
    }

    fn hash(&self) -> Hash256 {
        match self {
            Self::Klaytn(header) => header.hash(),
            Self::Eth(header) => header.hash(),
            Self::Read(header) => header.hash(),
        }
    }

    const fn dialect(&self) -> Dialect {
        match self {
            Self::Klaytn(_) => Dialect::Klaytn,
            Self::Eth(_) => Dialect::QuorumIbft,
            Self::Read(header) => header.dialect,
        }
    }
}

/// Gas of a value transfer.
const TRANSFER_GAS: u64 = 21_000;
/// GoQuorum's usual limit for a block.
const GAS_LIMIT: u64 = 0xe000_0000;
/// Lowest base fee of Klaytn's Magma fork, 25 ston.
const BASE_FEE: u64 = 25_000_000_000;
