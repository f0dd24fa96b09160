//! Reading Klaytn/Kaia messages.

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

/// Istanbul BFT of Klaytn and Kaia.
#[derive(Clone, Copy, Debug)]
pub struct Klaytn;

impl Dialect for Klaytn {
    fn name(&self) -> &'static str {
        "klaytn"
    }

    /// `istanbul` of whatever version between Klaytn clients. Without Hello, versions 65 to 67 are Klaytn's alone; 64 is
    /// also GoQuorum's, but there it reserves 18 codes, not 21.
    fn applies(&self, capability: &Capability, family: Family) -> bool {
        capability.name == "istanbul"
            && match family {
                Family::Klaytn => true,
                Family::Ethereum => false,
                Family::Unknown => match capability.version {
                    64 => capability.len == Some(21),
                    65..=67 => true,
                    _ => false,
                },
            }
    }

    fn is_consensus(&self, local: u64) -> bool {
        local == LOCAL_CODE
    }

    fn offsets(&self) -> &'static [u64] {
        // One capability has it all, and it is the first one.
        &[0x10]
    }

    fn family(&self) -> Family {
        Family::Klaytn
    }

    fn open<'a>(&self, _local: u64, message: &'a [u8]) -> Result<Envelope<'a>, DecodeError> {
        let envelope = Item::first(message, 0, "ConsensusMsg")?;
        let [parent, payload] = envelope.exactly("ConsensusMsg")?;
        Ok(Envelope {
            parent: Some(Hash256(parent.fixed("ConsensusMsg.PrevHash")?)),
            payload: payload.bytes("ConsensusMsg.Payload")?,
            offset: payload.content_offset(),
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
        let [parent, code, body, address, signature, seal] = message.exactly("message")?;
        let parent = Hash256(parent.fixed("message.Hash")?);
        let kind = istanbul::kind(&code)?;
        let claimed = Address(address.fixed("message.Address")?);
        signature.bytes("message.Signature")?;
        let seal = seal.bytes("message.CommittedSeal")?;

        let body = body.wrapped("message.Msg")?;
        let (view, digest, subject_parent, proposal) = if kind == Kind::Preprepare {
            let [view, block] = body.exactly("Preprepare")?;
            let view = istanbul::read_view(&view)?;
            let proposal = read_proposal(&block, &layout::BLOCK, check)?;
            (view, proposal.hash, None, Some(Box::new(proposal)))
        } else {
            let [view, digest, parent] = body.exactly("Subject")?;
            let digest = Hash256(digest.fixed("Subject.Digest")?);
            let parent = Hash256(parent.fixed("Subject.PrevHash")?);
            (istanbul::read_view(&view)?, digest, Some(parent), None)
        };
        let (signer, validity) = istanbul::judge(&message, &signature, claimed, check);
        Ok(ConsensusMessage {
            kind,
            view,
            claimed: Some(claimed),
            signer,
            validity,
            digest: Some(digest),
            parent: Some(parent),
            subject_parent,
            commit_seal: istanbul::commit_seal(seal, kind, &digest, check),
            proposal,
            justification: Justification::default(),
        })
    }

    fn header_in<'a>(&self, _local: u64, payload: &'a [u8]) -> Result<Option<&'a [u8]>, DecodeError> {
        let [_, code, body, _, _, _] = Item::only(payload, 0, "message")?.exactly("message")?;
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
