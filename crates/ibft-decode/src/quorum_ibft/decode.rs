//! Reading GoQuorum IBFT messages.

use bftap_model::{Address, Capability, Hash256};

use super::layout;
use crate::Kind;
use crate::block::{self, read_proposal};
use crate::dialect::{Dialect, Family};
use crate::dissect::{self, Field, Resemblance, What};
use crate::error::DecodeError;
use crate::istanbul::{self, LOCAL_CODE};
use crate::message::{BlockHeader, ConsensusMessage, Envelope, Justification, SignatureCheck};
use crate::rlp_view::Item;

/// Istanbul BFT of GoQuorum.
#[derive(Clone, Copy, Debug)]
pub struct QuorumIbft;

impl Dialect for QuorumIbft {
    fn name(&self) -> &'static str {
        "quorum-ibft"
    }

    /// `istanbul/64`, `istanbul/99` and `istanbul/100` between Ethereum clients. Without Hello, 99 and 100 are known to be
    /// no other family's; 64 is also Klaytn's, but there it reserves 21 codes, not 18.
    fn applies(&self, capability: &Capability, family: Family) -> bool {
        capability.name == "istanbul"
            && match (family, capability.version) {
                (Family::Ethereum, 64) | (Family::Ethereum | Family::Unknown, 99 | 100) => true,
                (Family::Unknown, 64) => capability.len == Some(18),
                _ => false,
            }
    }

    /// Under `istanbul/100`, codes 0x12 to 0x15 are QBFT's.
    fn is_consensus(&self, local: u64) -> bool {
        local == LOCAL_CODE
    }

    fn offsets(&self) -> &'static [u64] {
        // Behind eth/63 to 68; alone (99 and 64); behind eth/69, 71, 72 and 62.
        &[0x21, 0x10, 0x22, 0x24, 0x26, 0x18]
    }

    fn family(&self) -> Family {
        Family::Ethereum
    }

    fn open<'a>(&self, _local: u64, message: &'a [u8]) -> Result<Envelope<'a>, DecodeError> {
        let envelope = Item::first(message, 0, "wire payload")?;
        Ok(Envelope {
            parent: None,
            payload: envelope.bytes("wire payload")?,
            offset: envelope.content_offset(),
            trailing: message.len() - envelope.raw().len(),
        })
    }

    fn decode(
        &self,
        _local: u64,
        payload: &[u8],
        check: SignatureCheck,
    ) -> Result<ConsensusMessage, DecodeError> {
        let message = Item::only(payload, 0, "message")?;
        let [code, body, address, signature, seal] = message.exactly("message")?;
        let kind = istanbul::kind(&code)?;
        let claimed = Address(address.fixed("message.Address")?);
        signature.bytes("message.Signature")?;
        let seal = seal.bytes("message.CommittedSeal")?;

        let body = body.wrapped("message.Msg")?;
        let (view, digest, proposal) = if kind == Kind::Preprepare {
            let [view, block] = body.exactly("Preprepare")?;
            let view = istanbul::read_view(&view)?;
            let proposal = read_proposal(&block, &layout::BLOCK, check)?;
            (view, proposal.hash, Some(Box::new(proposal)))
        } else {
            let [view, digest] = body.exactly("Subject")?;
            let digest = Hash256(digest.fixed("Subject.Digest")?);
            (istanbul::read_view(&view)?, digest, None)
        };
        let (signer, validity) = istanbul::judge(&message, &signature, claimed, check);
        Ok(ConsensusMessage {
            kind,
            view,
            claimed: Some(claimed),
            signer,
            validity,
            digest: Some(digest),
            parent: proposal.as_ref().map(|proposal| proposal.parent),
            subject_parent: None,
            commit_seal: istanbul::commit_seal(seal, kind, &digest, check),
            proposal,
            justification: Justification::default(),
        })
    }

    fn header_in<'a>(&self, _local: u64, payload: &'a [u8]) -> Result<Option<&'a [u8]>, DecodeError> {
        let [code, body, _, _, _] = Item::only(payload, 0, "message")?.exactly("message")?;
        if istanbul::kind(&code)? != Kind::Preprepare {
            return Ok(None);
        }
        let [_, block] = body.wrapped("message.Msg")?.exactly("Preprepare")?;
        block::header_of(&block).map(Some)
    }

    fn read_header(&self, header: &[u8], check: SignatureCheck) -> Result<BlockHeader, DecodeError> {
        block::read_header(header, &layout::BLOCK, check)
    }

    fn committed_seal_hash(&self, block: &Hash256) -> Hash256 {
        istanbul::committed_seal_hash(block)
    }

    fn dissect(&self, what: What, local: u64, bytes: &[u8]) -> Vec<Field> {
        dissect::by_layout(self, what, local, bytes, &layout::ENVELOPE, &layout::MESSAGE)
    }

    fn resemblance(&self, bytes: &[u8]) -> Option<Resemblance> {
        dissect::resemblance(self, LOCAL_CODE, bytes, &layout::ENVELOPE, &layout::MESSAGE)
    }
}
