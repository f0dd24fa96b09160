//! What Klaytn/Kaia and GoQuorum IBFT have in common: codes, views, signing rules.
//!
//! Sources: Klaytn `consensus/istanbul/core/{types,core}.go`, GoQuorum `consensus/istanbul/ibft/types/message.go`,
//! `consensus/istanbul/types.go`; WIRE-FORMATS 5.1.5 and 5.2.

use bftap_model::{Hash256, keccak256};

use crate::encode::List;
use crate::error::{DecodeError, DecodeErrorKind};
use crate::rlp_view::Item;
use crate::{Kind, View};

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

/// Largest height, round or time that is accepted: every store can hold it.
pub(crate) const MAX_NUMBER: u64 = i64::MAX as u64;
