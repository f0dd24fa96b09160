//! Proposed blocks: what Klaytn/Kaia and GoQuorum IBFT read out of them, by rules that are data.

use bftap_model::{Hash256, keccak256};

use crate::encode::{write_list, write_string};
use crate::error::{DecodeError, DecodeErrorKind};
use crate::extra::{ExtraView, VANITY_LEN};
use crate::istanbul;
use crate::kind::Kind;
use crate::layout::ListLayout;
use crate::message::{BlockHeader, Proposal, SignatureCheck};
use crate::rlp_view::{Item, ItemKind};
use crate::signature::recover;

/// How a dialect puts a block together. Numbers are places in the header.
#[derive(Debug)]
pub(crate) struct BlockRules {
    /// Items of a block: header, transactions and, where there are any, uncles.
    pub(crate) parts: usize,
    /// Fields of the header.
    pub(crate) header: &'static ListLayout,
    /// Hash of the parent block.
    pub(crate) parent: usize,
    /// Height.
    pub(crate) number: usize,
    /// Seconds.
    pub(crate) time: usize,
    /// Hundredths of a second.
    pub(crate) time_fos: Option<usize>,
    /// Extra data.
    pub(crate) extra: usize,
    /// Field and value that mark a header as Istanbul's; others are hashed as they are.
    pub(crate) mark: Option<(usize, Hash256)>,
    /// Whether the last byte of the vanity is the round, and not part of the hash.
    pub(crate) round_in_vanity: bool,
    /// How transactions are counted.
    pub(crate) transactions: Transactions,
}

/// How many items of a block's list make a transaction.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Transactions {
    /// Each item is one.
    Items,
    /// Each list is one; strings before it tell its type (WIRE-FORMATS 5.1.4).
    Lists,
}

/// Reads a proposed block.
pub(crate) fn read_proposal(
    block: &Item<'_>,
    rules: &BlockRules,
    check: SignatureCheck,
) -> Result<Proposal, DecodeError> {
    let mut parts = block.items("Block")?;
    let count = parts.clone().count_rest()?;
    if count != rules.parts {
        let kind = DecodeErrorKind::WrongItemCount {
            expected: rules.parts,
            found: count,
        };
        return Err(kind.at(block.offset(), "Block"));
    }
    let mut part = || parts.next().unwrap_or(Ok(*block));
    let (header, transactions) = (Header::read(part()?, rules)?, part()?);
    if rules.parts > 2 {
        part()?.items("Block.Uncles")?;
    }

    let extra_item = header.items[rules.extra];
    let extra = ExtraView::read(extra_item.content(), extra_item.content_offset());
    let vanity = extra_item.content().first_chunk::<VANITY_LEN>().copied();
    let time_fos = rules
        .time_fos
        .map_or(Ok(0), |place| header.items[place].uint(255, "Header.TimeFoS"))?;
    let mut proposal = Proposal {
        number: header.items[rules.number].uint(u64::MAX, "Header.Number")?,
        hash: header.hash(rules, extra.as_ref().ok()),
        parent: Hash256(header.items[rules.parent].fixed("Header.ParentHash")?),
        proposer: None,
        transactions: count_transactions(&transactions, rules.transactions)?,
        size: block.raw().len() as u64,
        time: header.items[rules.time].uint(u64::MAX, "Header.Time")?,
        time_fos: time_fos as u8,
        validators: Vec::new(),
        committed_seals: 0,
        round_in_header: vanity
            .filter(|_| rules.round_in_vanity)
            .map(|vanity| u64::from(vanity[VANITY_LEN - 1])),
        vanity,
        extra_error: None,
    };
    match extra {
        Ok(extra) => {
            proposal.validators = extra.validators();
            proposal.committed_seals = extra.committed_seals();
            if check == SignatureCheck::Recover {
                proposal.proposer = recover(&header.seal_hash(rules, &extra), extra.seal);
            }
        }
        Err(error) => proposal.extra_error = Some(error),
    }
    Ok(proposal)
}

/// The header of a block as it stands there.
pub(crate) fn header_of<'a>(block: &Item<'a>) -> Result<&'a [u8], DecodeError> {
    match block.items("Block")?.next() {
        Some(header) => Ok(header?.raw()),
        None => Err(DecodeErrorKind::WrongItemCount {
            expected: 1,
            found: 0,
        }
        .at(block.offset(), "Block")),
    }
}

/// Reads a header that stands by itself.
pub(crate) fn read_header(
    bytes: &[u8],
    rules: &BlockRules,
    check: SignatureCheck,
) -> Result<BlockHeader, DecodeError> {
    let header = Header::read(Item::only(bytes, 0, "Header")?, rules)?;
    let extra_item = header.items[rules.extra];
    let extra = ExtraView::read(extra_item.content(), extra_item.content_offset());
    let hash = header.hash(rules, extra.as_ref().ok());
    let mut read = BlockHeader {
        number: header.items[rules.number].uint(u64::MAX, "Header.Number")?,
        hash,
        parent: Hash256(header.items[rules.parent].fixed("Header.ParentHash")?),
        proposer: None,
        time: header.items[rules.time].uint(u64::MAX, "Header.Time")?,
        validators: Vec::new(),
        committed_seals: Vec::new(),
        extra_error: None,
    };
    match extra {
        Ok(extra) => {
            read.validators = extra.validators();
            // No validator seals twice, so more than there are say nothing more, whatever a stranger puts here.
            let seals = extra.seals().take(read.validators.len());
            read.committed_seals = seals
                .filter_map(|seal| istanbul::commit_seal(seal, Kind::Commit, &hash, check))
                .collect();
            if check == SignatureCheck::Recover {
                read.proposer = recover(&header.seal_hash(rules, &extra), extra.seal);
            }
        }
        Err(error) => read.extra_error = Some(error),
    }
    Ok(read)
}

fn count_transactions(list: &Item<'_>, rule: Transactions) -> Result<u64, DecodeError> {
    let mut count = 0;
    for item in list.items("Block.Transactions")? {
        let item = item?;
        count += match rule {
            Transactions::Items => 1,
            Transactions::Lists => u64::from(item.kind() == ItemKind::List),
        };
    }
    Ok(count)
}

/// A header whose known fields were checked.
struct Header<'a> {
    whole: Item<'a>,
    items: [Item<'a>; MAX_FIELDS],
}

impl<'a> Header<'a> {
    fn read(whole: Item<'a>, rules: &BlockRules) -> Result<Self, DecodeError> {
        let layout = rules.header;
        let mut header = Self {
            whole,
            items: [whole; MAX_FIELDS],
        };
        let mut found = 0;
        for item in whole.items("Header")? {
            let item = item?;
            if let Some(field) = layout.fields.get(found) {
                field.check(&item)?;
                if let Some(place) = header.items.get_mut(found) {
                    *place = item;
                }
            }
            found += 1;
        }
        if found < layout.required || (found > layout.fields.len() && !layout.open) {
            let kind = DecodeErrorKind::WrongItemCount {
                expected: layout.required,
                found,
            };
            return Err(kind.at(whole.offset(), "Header"));
        }
        Ok(header)
    }

    /// The block's hash. Without readable extra data, or without the mark of Istanbul, all of the header is hashed.
    fn hash(&self, rules: &BlockRules, extra: Option<&ExtraView<'_>>) -> Hash256 {
        let is_marked = rules
            .mark
            .is_none_or(|(place, mark)| self.items[place].content() == mark.0);
        match extra {
            Some(extra) if is_marked => self.filtered_hash(rules, extra, true),
            _ => keccak256(self.whole.raw()),
        }
    }

    /// What the proposer signed: the hash of the hash.
    fn seal_hash(&self, rules: &BlockRules, extra: &ExtraView<'_>) -> Hash256 {
        keccak256(&self.filtered_hash(rules, extra, false).0)
    }

    /// Hash with other extra data. All other fields are taken as they stand, unknown ones of later forks too.
    fn filtered_hash(&self, rules: &BlockRules, extra: &ExtraView<'_>, keep_seal: bool) -> Hash256 {
        let mut vanity = *extra.vanity;
        if rules.round_in_vanity {
            vanity[VANITY_LEN - 1] = 0;
        }
        let item = self.items[rules.extra];
        let start = item.offset() - self.whole.content_offset();
        let content = self.whole.content();
        let mut fields = Vec::with_capacity(content.len());
        fields.extend_from_slice(&content[..start]);
        write_string(&mut fields, &extra.filtered(&vanity, keep_seal));
        fields.extend_from_slice(&content[start + item.raw().len()..]);
        let mut header = Vec::with_capacity(fields.len() + 9);
        write_list(&mut header, &fields);
        keccak256(&header)
    }
}

/// Most fields of a header that any client knows of (Kaia v2.2).
const MAX_FIELDS: usize = 19;
