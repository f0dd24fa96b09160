//! What a consensus message says, in words that all dialects share.

use bftap_model::{Address, CaptureTime, Hash256};

use crate::error::DecodeError;
use crate::signature::SIGNATURE_LEN;
use crate::{Kind, View};

/// A message taken apart into what is gossiped and what is put around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// What is gossiped unchanged, and hashed (Keccak-256) to tell copies.
    pub payload: &'a [u8],
    /// Place of the payload in the message: what [`DecodeError::shifted`] wants.
    pub offset: usize,
    /// Klaytn: parent hash that the sender selects the committee by. Not signed, and may differ among copies.
    pub parent: Option<Hash256>,
    /// Bytes behind the envelope. Nodes ignore them (they read one value and drop the rest), so they do not make a
    /// message undecodable.
    pub trailing: usize,
}

/// Whether signatures are to be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureCheck {
    /// Recover every signer: some 40 microseconds each.
    Recover,
    /// Take the claimed address for the signer's (`--no-signatures`).
    Claimed,
}

/// What the signature of a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Validity {
    /// A key was recovered, and it is the claimed one (or the dialect has no claim).
    Valid,
    /// A key was recovered, and it is not the claimed one. Klaytn up to v1.12.1 counts such a vote for the claimed address.
    NotClaimed,
    /// No key can be recovered: wrong length, v other than 0 and 1, or not a point of the curve.
    Unrecoverable,
    /// Not looked at, on the user's wish.
    NotChecked,
}

impl Validity {
    /// True when the message counts as invalid.
    pub const fn is_invalid(self) -> bool {
        matches!(self, Self::NotClaimed | Self::Unrecoverable)
    }

    /// The word used in reports and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::NotClaimed => "not_claimed",
            Self::Unrecoverable => "unrecoverable",
            Self::NotChecked => "not_checked",
        }
    }
}

/// One consensus message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsensusMessage {
    /// Kind.
    pub kind: Kind,
    /// Height and round; of a roundchange the round asked for.
    pub view: View,
    /// Address that the message claims for its sender; `None` where the dialect has no such field.
    pub claimed: Option<Address>,
    /// Address that the signature recovers to; the claimed one when signatures are not checked; `None` when none can
    /// be recovered.
    pub signer: Option<Address>,
    /// What the signature says.
    pub validity: Validity,
    /// Block that is voted for: `Subject.Digest`, of a preprepare the block's hash. All zeros in a roundchange of Klaytn
    /// and GoQuorum IBFT.
    pub digest: Option<Hash256>,
    /// Signed parent hash: Klaytn's inner field `Hash`; elsewhere that of a preprepare's block.
    pub parent: Option<Hash256>,
    /// Klaytn: `Subject.PrevHash`, which honest nodes make equal to [`parent`](Self::parent).
    pub subject_parent: Option<Hash256>,
    /// The seal that a commit brings for the header.
    pub commit_seal: Option<CommitSeal>,
    /// Content of a preprepare.
    pub proposal: Option<Box<Proposal>>,
    /// Votes of others carried as justification; they are not messages.
    pub justification: Justification,
}

impl ConsensusMessage {
    /// Who the message is put down to: the signer, or the claimed address when none can be recovered.
    pub fn author(&self) -> Option<Address> {
        self.signer.or(self.claimed)
    }
}

/// The committed seal inside a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitSeal {
    /// A key was recovered from it. Nodes do not check on receipt that it is the sender's.
    Recovered {
        /// The seal.
        bytes: [u8; SIGNATURE_LEN],
        /// Whose key made it, if it was made for this message's digest.
        signer: Address,
    },
    /// 65 bytes from which no key can be recovered.
    Unrecoverable {
        /// The seal.
        bytes: [u8; SIGNATURE_LEN],
    },
    /// Not looked at: on the user's wish, or because only a commit's seal means something.
    NotChecked {
        /// The seal.
        bytes: [u8; SIGNATURE_LEN],
    },
    /// Neither empty nor 65 bytes.
    WrongLength {
        /// Its bytes.
        len: usize,
    },
}

impl CommitSeal {
    /// The seal's bytes, if there are as many as there should be.
    pub const fn bytes(&self) -> Option<&[u8; SIGNATURE_LEN]> {
        match self {
            Self::Recovered { bytes, .. } | Self::Unrecoverable { bytes } | Self::NotChecked { bytes } => {
                Some(bytes)
            }
            Self::WrongLength { .. } => None,
        }
    }

    /// Whose key made it, if that is known.
    pub const fn signer(&self) -> Option<Address> {
        match self {
            Self::Recovered { signer, .. } => Some(*signer),
            _ => None,
        }
    }
}

/// Numbers of votes of others inside a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Justification {
    /// Prepares.
    pub prepares: u32,
    /// Round changes.
    pub round_changes: u32,
}

/// The block that a preprepare proposes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Height in the header; honest proposers make it equal to the view's sequence.
    pub number: u64,
    /// Block hash, by the rules of WIRE-FORMATS 6.2.
    pub hash: Hash256,
    /// Hash of the parent block.
    pub parent: Hash256,
    /// Who sealed the header. Not always who sent it: after a round change a locked block is proposed again.
    /// `None` when signatures are not checked, the seal recovers to no key, or the extra data is malformed.
    pub proposer: Option<Address>,
    /// Number of transactions.
    pub transactions: u64,
    /// Bytes of the block's encoding.
    pub size: u64,
    /// Time in the header: seconds since the epoch.
    pub time: u64,
    /// Klaytn: hundredths of that second; 0 elsewhere.
    pub time_fos: u8,
    /// Validators in the extra data, in its order; what the list means depends on the client's version (6.1).
    pub validators: Vec<Address>,
    /// Number of committed seals; 0 in a proposal as nodes make it.
    pub committed_seals: usize,
    /// Round in the header, where the dialect has it there. Klaytn: its low 8 bits.
    pub round_in_header: Option<u64>,
    /// First 32 bytes of the extra data.
    pub vanity: Option<[u8; 32]>,
    /// Why the extra data could not be read (place in the payload). Nodes decode such a message and refuse the block later.
    pub extra_error: Option<DecodeError>,
}

/// A block's header that stands by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockHeader {
    /// Height.
    pub number: u64,
    /// Block hash, by the rules of WIRE-FORMATS 6.2.
    pub hash: Hash256,
    /// Hash of the parent block.
    pub parent: Hash256,
    /// Who sealed it; `None` when signatures are not checked, the seal recovers to no key, or the extra data is malformed.
    pub proposer: Option<Address>,
    /// Seconds since the epoch.
    pub time: u64,
    /// Validators in the extra data, in its order; what the list means depends on the client's version (6.1).
    pub validators: Vec<Address>,
    /// Committed seals, not more than there are validators; none in a proposal as nodes make it.
    pub committed_seals: Vec<CommitSeal>,
    /// Why the extra data could not be read.
    pub extra_error: Option<DecodeError>,
}

impl Proposal {
    /// Time in the header in nanoseconds since the epoch; `None` for a time that [`CaptureTime`] cannot hold.
    pub fn time_of_header(&self) -> Option<CaptureTime> {
        let seconds = i64::try_from(self.time).ok()?.checked_mul(1_000_000_000)?;
        seconds
            .checked_add(i64::from(self.time_fos) * 10_000_000)
            .map(CaptureTime::from_nanos)
    }
}
