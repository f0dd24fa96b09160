//! Messages, headers and seals of a bundle, read from their bytes: what findings are made of, when a bundle is made and when one is checked.

use std::collections::BTreeSet;

use bftap_ibft_decode::{
    BlockHeader, CommitSeal, ConsensusMessage, Dialect, Kind, SignatureCheck, dialect_named,
};
use bftap_model::{Address, Hash256, keccak256};

use crate::manifest::{AnchorEntry, Claim, HeaderEntry, MessageEntry, PlaceEntry};

/// Everything that findings rest on.
#[derive(Debug)]
pub(crate) struct Material {
    pub(crate) claim: Claim,
    pub(crate) messages: Vec<Message>,
    pub(crate) headers: Vec<Header>,
    pub(crate) anchors: Vec<Anchor>,
}

/// A message, decoded.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) file: String,
    pub(crate) accused: bool,
    pub(crate) dialect: &'static dyn Dialect,
    pub(crate) local: u64,
    pub(crate) payload: Hash256,
    pub(crate) message: ConsensusMessage,
}

/// A header, decoded.
#[derive(Debug)]
pub(crate) struct Header {
    pub(crate) file: String,
    pub(crate) dialect: &'static dyn Dialect,
    pub(crate) header: BlockHeader,
}

/// A header with the seals that were found for it.
#[derive(Debug)]
pub(crate) struct Anchor {
    /// Position in [`Material::headers`].
    pub(crate) header: usize,
    /// Files of the commits.
    pub(crate) seals: Vec<String>,
    pub(crate) validators: BTreeSet<Address>,
    pub(crate) sealed_by: BTreeSet<Address>,
}

impl Message {
    /// Reads a message from its bytes.
    ///
    /// # Errors
    /// In words: it is none of this dialect.
    pub(crate) fn read(
        file: &str,
        accused: bool,
        dialect: &str,
        local: u64,
        bytes: &[u8],
    ) -> Result<Self, String> {
        let dialect = dialect_named(dialect).ok_or("there is no such dialect")?;
        if !dialect.is_consensus(local) {
            return Err("its code is none of consensus".to_owned());
        }
        let told = |error: bftap_ibft_decode::DecodeError| format!("{error}: {}", error.kind);
        let envelope = dialect.open(local, bytes).map_err(told)?;
        let message = dialect
            .decode(local, envelope.payload, SignatureCheck::Recover)
            .map_err(told)?;
        Ok(Self {
            file: file.to_owned(),
            accused,
            dialect,
            local,
            payload: keccak256(envelope.payload),
            message,
        })
    }

    /// As it stands in the manifest.
    pub(crate) fn entry(&self, places: Vec<PlaceEntry>, places_left_out: u64) -> MessageEntry {
        let message = &self.message;
        MessageEntry {
            file: self.file.clone(),
            accused: self.accused,
            dialect: self.dialect.name().to_owned(),
            local_code: self.local,
            payload: self.payload,
            kind: message.kind.as_str().to_owned(),
            sequence: message.view.sequence,
            round: message.view.round,
            claimed: message.claimed,
            signer: message.signer,
            signature: message.validity.as_str().to_owned(),
            digest: message.digest,
            parent: message.parent,
            sealed_by: message.commit_seal.as_ref().and_then(CommitSeal::signer),
            places,
            places_left_out,
        }
    }
}

/// Parent blocks that a message names by itself: one, if its author is honest.
pub(crate) fn parents_named(message: &ConsensusMessage) -> BTreeSet<Hash256> {
    let proposed = message.proposal.as_ref().map(|proposal| proposal.parent);
    [message.parent, message.subject_parent, proposed]
        .into_iter()
        .flatten()
        .collect()
}

impl Header {
    /// Reads a header from its bytes.
    ///
    /// # Errors
    /// In words: it is none of this dialect.
    pub(crate) fn read(file: &str, dialect: &str, bytes: &[u8]) -> Result<Self, String> {
        let dialect = dialect_named(dialect).ok_or("there is no such dialect")?;
        let header = dialect
            .read_header(bytes, SignatureCheck::Recover)
            .map_err(|error| format!("{error}: {}", error.kind))?;
        Ok(Self {
            file: file.to_owned(),
            dialect,
            header,
        })
    }

    /// As it stands in the manifest.
    pub(crate) fn entry(&self) -> HeaderEntry {
        HeaderEntry {
            file: self.file.clone(),
            dialect: self.dialect.name().to_owned(),
            hash: self.header.hash,
            number: self.header.number,
            parent: self.header.parent,
            proposer: self.header.proposer,
            validators: self.header.validators.clone(),
        }
    }
}

impl Anchor {
    /// Counts the seals of a header: those of the commits in these files, and those in the header itself.
    ///
    /// # Errors
    /// A file is no commit of this block.
    pub(crate) fn count(
        headers: &[Header],
        index: usize,
        messages: &[Message],
        seals: &[String],
    ) -> Result<Self, String> {
        let header = headers.get(index).ok_or("there is no such header")?;
        let validators: BTreeSet<Address> = header.header.validators.iter().copied().collect();
        let own = header
            .header
            .committed_seals
            .iter()
            .filter_map(CommitSeal::signer);
        let mut sealed_by: BTreeSet<Address> = own.collect();
        for file in seals {
            let commit = messages.iter().find(|message| message.file == *file);
            let commit = commit.filter(|commit| {
                commit.dialect.name() == header.dialect.name()
                    && commit.message.kind == Kind::Commit
                    && commit.message.digest == Some(header.header.hash)
            });
            let commit = commit.ok_or("a file that is said to seal the block is no commit for it")?;
            sealed_by.extend(commit.message.commit_seal.as_ref().and_then(CommitSeal::signer));
        }
        sealed_by.retain(|address| validators.contains(address));
        Ok(Self {
            header: index,
            seals: seals.to_vec(),
            validators,
            sealed_by,
        })
    }

    pub(crate) fn needed(&self) -> usize {
        needed_of(self.validators.len())
    }

    pub(crate) fn is_sealed(&self) -> bool {
        !self.validators.is_empty() && self.sealed_by.len() >= self.needed()
    }

    /// As it stands in the manifest.
    pub(crate) fn entry(&self, headers: &[Header]) -> Option<AnchorEntry> {
        let header = headers.get(self.header)?;
        Some(AnchorEntry {
            block: header.header.hash,
            header: header.file.clone(),
            seals: self.seals.clone(),
            validators: self.validators.len() as u64,
            needed: self.needed() as u64,
            sealed_by: self.sealed_by.iter().copied().collect(),
        })
    }
}

/// How many of n validators must have sealed a block: all of up to three, else two thirds, rounded up. No client takes more (WIRE-FORMATS 7.4),
/// and older ones less.
pub(crate) const fn needed_of(validators: usize) -> usize {
    if validators < 4 {
        validators
    } else {
        (2 * validators).div_ceil(3)
    }
}
