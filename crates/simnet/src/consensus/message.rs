//! Consensus messages as their authors make them.

use std::fmt;
use std::sync::Arc;

use bftap_ibft_decode::{Kind, SIGNATURE_LEN, View, istanbul, klaytn, quorum_ibft};
use bftap_model::{Address, Hash256, keccak256};

use super::proposal::Proposal;
use crate::key::NodeKey;
use crate::rlpx::frame::compress;

/// Encoding of consensus messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Klaytn and Kaia (WIRE-FORMATS 5.1).
    Klaytn,
    /// GoQuorum IBFT (5.2).
    QuorumIbft,
}

/// What is wrong with a message that a dishonest validator sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgery {
    /// 65 bytes that no key made.
    RandomSignature([u8; SIGNATURE_LEN]),
    /// Rightly signed, in the name of someone else.
    ClaimedAddress(Address),
}

/// A message with its signature: one payload, however often it is sent.
#[derive(Clone)]
pub struct SignedMessage {
    /// Kind.
    pub kind: Kind,
    /// View; of a round change the one asked for.
    pub view: View,
    /// Hash of the block voted for or proposed; zeros in a round change.
    pub digest: Hash256,
    /// Address that the message claims.
    pub claimed: Address,
    /// Address whose key signed it; `None` when no key of the network did.
    pub signer: Option<Address>,
    /// Hash of the block before the one voted for, or of the author's head in a round change.
    pub parent: Hash256,
    /// The committed seal of a commit.
    pub committed_seal: Option<[u8; SIGNATURE_LEN]>,
    /// Hash of the payload.
    pub payload_hash: Hash256,
    /// The message behind the wire code: the payload in its envelope.
    pub wire: Vec<u8>,
    /// The same after Snappy, as frames carry it.
    pub compressed: Vec<u8>,
    /// The block of a preprepare.
    pub block: Option<Arc<Proposal>>,
    /// Its signature leads to the claimed address.
    pub honest: bool,
}

impl SignedMessage {
    /// A proposal.
    pub fn preprepare(dialect: Dialect, key: &NodeKey, view: View, block: Arc<Proposal>) -> Self {
        let rlp = block.block_rlp(view.round);
        let body = match dialect {
            Dialect::Klaytn => klaytn::preprepare(view, &rlp),
            Dialect::QuorumIbft => quorum_ibft::preprepare(view, &rlp),
        };
        let draft = Draft {
            kind: Kind::Preprepare,
            view,
            digest: block.hash(),
            parent: block.parent(),
            body,
            seal: None,
            block: Some(block),
        };
        draft.sign(dialect, key, None)
    }

    /// A vote: prepare, commit (with a committed seal if there is a block to seal) or roundchange.
    ///
    /// `parent` is the hash of the block before the voted one; GoQuorum does not send it.
    pub fn vote(
        dialect: Dialect,
        key: &NodeKey,
        kind: Kind,
        view: View,
        digest: Hash256,
        parent: Hash256,
        forgery: Option<Forgery>,
    ) -> Self {
        let body = match dialect {
            Dialect::Klaytn => klaytn::subject(view, &digest, &parent),
            Dialect::QuorumIbft => quorum_ibft::subject(view, &digest),
        };
        let seal = (kind == Kind::Commit).then(|| key.sign(&istanbul::committed_seal_hash(&digest)));
        Draft {
            kind,
            view,
            digest,
            parent,
            body,
            seal,
            block: None,
        }
        .sign(dialect, key, forgery)
    }
}

impl fmt::Debug for SignedMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}/{} of {} for {}",
            self.kind, self.view.sequence, self.view.round, self.claimed, self.digest
        )
    }
}

struct Draft {
    kind: Kind,
    view: View,
    digest: Hash256,
    parent: Hash256,
    body: Vec<u8>,
    seal: Option<[u8; SIGNATURE_LEN]>,
    block: Option<Arc<Proposal>>,
}

impl Draft {
    fn sign(self, dialect: Dialect, key: &NodeKey, forgery: Option<Forgery>) -> SignedMessage {
        let address = match forgery {
            Some(Forgery::ClaimedAddress(address)) => address,
            _ => key.address(),
        };
        let committed_seal = self.seal.map_or_else(Vec::new, |seal| seal.to_vec());
        let sign = |hash| match forgery {
            Some(Forgery::RandomSignature(signature)) => signature,
            _ => key.sign(&hash),
        };
        let (kind, body) = (self.kind, self.body);
        let (payload, wire) = match dialect {
            Dialect::Klaytn => {
                let message = klaytn::UnsignedMessage {
                    parent: self.parent,
                    kind,
                    body,
                    address,
                    committed_seal,
                };
                let payload = message.with_signature(&sign(message.signing_hash()));
                let wire = klaytn::envelope(&self.parent, &payload);
                (payload, wire)
            }
            Dialect::QuorumIbft => {
                let message = quorum_ibft::UnsignedMessage {
                    kind,
                    body,
                    address,
                    committed_seal,
                };
                let payload = message.with_signature(&sign(message.signing_hash()));
                let wire = quorum_ibft::envelope(&payload);
                (payload, wire)
            }
        };
        SignedMessage {
            kind,
            view: self.view,
            digest: self.digest,
            claimed: address,
            signer: match forgery {
                Some(Forgery::RandomSignature(_)) => None,
                _ => Some(key.address()),
            },
            parent: self.parent,
            committed_seal: self.seal,
            payload_hash: keccak256(&payload),
            // Messages are far below Snappy's limit of 4 GiB; one beyond it could not be sent, and its frame is refused.
            compressed: compress(&wire).unwrap_or_default(),
            wire,
            block: self.block,
            honest: forgery.is_none(),
        }
    }
}
