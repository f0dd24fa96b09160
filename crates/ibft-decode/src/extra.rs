//! Extra data of Klaytn/Kaia and GoQuorum IBFT headers: who validates, who proposed, who committed.
//!
//! 32 bytes of vanity, then RLP of `[validators, proposer seal, committed seals]` (Klaytn
//! `blockchain/types/istanbul.go`, GoQuorum `core/types/istanbul.go`). In Klaytn the last byte of the vanity is the round.

use bftap_model::Address;

use crate::encode::{List, write_list, write_string};
use crate::error::{DecodeError, DecodeErrorKind};
use crate::rlp_view::Item;

/// Bytes of vanity before the RLP part.
pub const VANITY_LEN: usize = 32;

/// Extra data, owned: what a header is built from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IstanbulExtra {
    /// Free bytes of the proposer; in Klaytn the last one is the round.
    pub vanity: [u8; VANITY_LEN],
    /// Validators; what the list means depends on the client's version (WIRE-FORMATS 6.1).
    pub validators: Vec<Address>,
    /// The proposer's signature, 65 bytes; empty while the header is being sealed.
    pub seal: Vec<u8>,
    /// The committers' signatures, 65 bytes each; empty in a proposal.
    pub committed_seals: Vec<Vec<u8>>,
}

impl IstanbulExtra {
    /// Extra data of a proposal that is not sealed yet.
    pub const fn unsealed(vanity: [u8; VANITY_LEN], validators: Vec<Address>) -> Self {
        Self {
            vanity,
            validators,
            seal: Vec::new(),
            committed_seals: Vec::new(),
        }
    }

    /// The bytes in the header.
    pub fn encode(&self) -> Vec<u8> {
        let validators = self
            .validators
            .iter()
            .fold(List::new(), |list, address| list.bytes(&address.0));
        let seals = self
            .committed_seals
            .iter()
            .fold(List::new(), |list, seal| list.bytes(seal));
        let fields = List::new().list(&validators).bytes(&self.seal).list(&seals);
        let mut out = self.vanity.to_vec();
        out.extend_from_slice(&fields.finish());
        out
    }
}

/// Extra data, borrowed from a header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExtraView<'a> {
    pub(crate) vanity: &'a [u8; VANITY_LEN],
    validators: Item<'a>,
    pub(crate) seal: &'a [u8],
    committed_seals: Item<'a>,
}

impl<'a> ExtraView<'a> {
    /// Takes the content of a header's Extra apart; `offset` is its place.
    pub(crate) fn read(extra: &'a [u8], offset: usize) -> Result<Self, DecodeError> {
        let Some((vanity, fields)) = extra.split_first_chunk() else {
            let kind = DecodeErrorKind::BadLength {
                expected: VANITY_LEN,
                found: extra.len(),
            };
            return Err(kind.at(offset, "Header.Extra vanity"));
        };
        let fields = Item::only(fields, offset + VANITY_LEN, "Header.Extra")?;
        let [validators, seal, committed_seals] = fields.exactly("Header.Extra")?;
        let view = Self {
            vanity,
            validators,
            seal: seal.bytes("Header.Extra.Seal")?,
            committed_seals,
        };
        for address in view.validators.items("Header.Extra.Validators")? {
            address?.fixed::<{ Address::LEN }>("Header.Extra.Validators")?;
        }
        for seal in view.committed_seals.items("Header.Extra.CommittedSeal")? {
            seal?.bytes("Header.Extra.CommittedSeal")?;
        }
        Ok(view)
    }

    /// The validators in the order of the header.
    pub(crate) fn validators(&self) -> Vec<Address> {
        let items = self
            .validators
            .items("Header.Extra.Validators")
            .into_iter()
            .flatten();
        items
            .flatten()
            .filter_map(|item| Address::from_slice(item.content()))
            .collect()
    }

    /// Number of committers' signatures.
    pub(crate) fn committed_seals(&self) -> usize {
        self.seals().count()
    }

    /// Committers' signatures, whatever their length.
    pub(crate) fn seals(&self) -> impl Iterator<Item = &'a [u8]> {
        let items = self
            .committed_seals
            .items("Header.Extra.CommittedSeal")
            .into_iter()
            .flatten();
        items.flatten().map(|item| item.content())
    }

    /// The same extra data without committed seals, with this vanity, and with or without the proposer's seal: what
    /// block hash and seal hash are computed over.
    pub(crate) fn filtered(&self, vanity: &[u8; VANITY_LEN], keep_seal: bool) -> Vec<u8> {
        let mut fields = Vec::with_capacity(self.validators.raw().len() + self.seal.len() + 4);
        fields.extend_from_slice(self.validators.raw());
        write_string(&mut fields, if keep_seal { self.seal } else { &[] });
        write_list(&mut fields, &[]);
        let mut out = Vec::with_capacity(VANITY_LEN + fields.len() + 4);
        out.extend_from_slice(vanity);
        write_list(&mut out, &fields);
        out
    }
}
