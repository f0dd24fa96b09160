//! What Klaytn/Kaia and GoQuorum IBFT have in common: codes, views, signing rules.
//!
//! Sources: Klaytn `consensus/istanbul/core/{types,core}.go`, GoQuorum `consensus/istanbul/ibft/types/message.go`,
//! `consensus/istanbul/types.go`; WIRE-FORMATS 5.1.5 and 5.2.

use bftap_model::{Address, Hash256, keccak256};

use crate::encode::{List, write_list, write_string};
use crate::error::{DecodeError, DecodeErrorKind};
use crate::layout::{FieldLayout, ListLayout, Shape};
use crate::message::{CommitSeal, SignatureCheck, Validity};
use crate::rlp_view::Item;
use crate::signature::{SIGNATURE_LEN, recover};
use crate::{Kind, View};

/// Local code of the one message that all kinds travel in (`IstanbulMsg`, GoQuorum's `istanbulMsg`).
pub const LOCAL_CODE: u64 = 0x11;

/// The code of a kind, in a message's field `Code`.
pub const fn code(kind: Kind) -> u64 {
    match kind {
        Kind::Preprepare => 0,
        Kind::Prepare => 1,
        Kind::Commit => 2,
        Kind::RoundChange => 3,
    }
}

/// What a validator signs with its committed seal: Keccak-256 of block hash and the commit code (5.1.5).
///
/// The same in Klaytn and GoQuorum IBFT (`PrepareCommittedSeal`).
pub fn committed_seal_hash(block: &Hash256) -> Hash256 {
    let mut signed = [0; Hash256::LEN + 1];
    signed[..Hash256::LEN].copy_from_slice(&block.0);
    signed[Hash256::LEN] = code(Kind::Commit) as u8;
    keccak256(&signed)
}

/// A view as it stands in messages: **round first**.
pub(crate) fn view(view: View) -> List {
    List::new().uint(view.round).uint(view.sequence)
}

/// The kind that a field `Code` names.
pub(crate) fn kind(item: &Item<'_>) -> Result<Kind, DecodeError> {
    let value = item.uint(u64::MAX, "message.Code")?;
    Kind::ALL
        .into_iter()
        .find(|&kind| code(kind) == value)
        .ok_or_else(|| DecodeErrorKind::UnknownCode { code: value }.at(item.offset(), "message.Code"))
}

/// Reads a view.
pub(crate) fn read_view(item: &Item<'_>) -> Result<View, DecodeError> {
    let [round, sequence] = item.exactly("View")?;
    Ok(View {
        round: round.uint(MAX_NUMBER, "View.Round")?,
        sequence: sequence.uint(MAX_NUMBER, "View.Sequence")?,
    })
}

/// Who signed a message, and whether it is who the message claims.
///
/// `message` is the payload's list, `signature` the item in it that was empty when the message was signed.
pub(crate) fn judge(
    message: &Item<'_>,
    signature: &Item<'_>,
    claimed: Address,
    check: SignatureCheck,
) -> (Option<Address>, Validity) {
    if check == SignatureCheck::Claimed {
        return (Some(claimed), Validity::NotChecked);
    }
    // The length is looked at first, so that a megabyte of signature is not hashed.
    let signer = Some(signature.content())
        .filter(|bytes| bytes.len() == SIGNATURE_LEN)
        .and_then(|bytes| recover(&signing_hash(message, signature), bytes));
    match signer {
        Some(address) if address == claimed => (signer, Validity::Valid),
        Some(_) => (signer, Validity::NotClaimed),
        None => (None, Validity::Unrecoverable),
    }
}

/// Keccak-256 of the message with this item replaced by the empty string.
fn signing_hash(message: &Item<'_>, signature: &Item<'_>) -> Hash256 {
    let content = message.content();
    let start = signature.offset() - message.content_offset();
    let mut fields = Vec::with_capacity(content.len());
    fields.extend_from_slice(&content[..start]);
    write_string(&mut fields, &[]);
    fields.extend_from_slice(&content[start + signature.raw().len()..]);
    let mut unsigned = Vec::with_capacity(fields.len() + 9);
    write_list(&mut unsigned, &fields);
    keccak256(&unsigned)
}

/// What a message brings in its field `CommittedSeal`; only a commit's is recovered.
pub(crate) fn commit_seal(
    seal: &[u8],
    kind: Kind,
    digest: &Hash256,
    check: SignatureCheck,
) -> Option<CommitSeal> {
    if seal.is_empty() {
        return None;
    }
    let Ok(bytes) = <[u8; SIGNATURE_LEN]>::try_from(seal) else {
        return Some(CommitSeal::WrongLength { len: seal.len() });
    };
    Some(if kind != Kind::Commit || check == SignatureCheck::Claimed {
        CommitSeal::NotChecked { bytes }
    } else if let Some(signer) = recover(&committed_seal_hash(digest), &bytes) {
        CommitSeal::Recovered { bytes, signer }
    } else {
        CommitSeal::Unrecoverable { bytes }
    })
}

/// Layout of a view.
pub(crate) const VIEW: FieldLayout = FieldLayout::new(
    "View",
    Shape::List(&ListLayout {
        fields: &[
            FieldLayout::new("View.Round", Shape::Uint(MAX_NUMBER)),
            FieldLayout::new("View.Sequence", Shape::Uint(MAX_NUMBER)),
        ],
        required: 2,
        open: false,
    }),
);

/// Largest height, round or time that is accepted: every store can hold it.
pub(crate) const MAX_NUMBER: u64 = i64::MAX as u64;
