//! Blocks and messages of other nodes, read so that they can be judged, kept and passed on.
//!
//! A header keeps its items as they came: what forks have added behind the known ones is part of its hash, and must come out again
//! as it went in.

use std::sync::Arc;

use bftap_ibft_decode::encode::{List, write_list, write_string};
use bftap_ibft_decode::istanbul::{LOCAL_CODE, committed_seal_hash};
use bftap_ibft_decode::klaytn::Klaytn;
use bftap_ibft_decode::quorum_ibft::{ISTANBUL_DIGEST, QuorumIbft};
use bftap_ibft_decode::rlp_view::Item;
use bftap_ibft_decode::{
    CommitSeal, DecodeError, DecodeErrorKind, Dialect as _, IstanbulExtra, Kind, SIGNATURE_LEN,
    SignatureCheck, VANITY_LEN, Validity, recover,
};
use bftap_model::{Address, Hash256, keccak256};

use super::proposal::Header;
use super::{Dialect, NodeSet, Proposal, SignedMessage};
use crate::rlpx::frame::compress;

/// A block's header as it came, and what of it matters here.
#[derive(Clone, Debug)]
pub(super) struct ReadHeader {
    pub(super) dialect: Dialect,
    pub(super) parent: Hash256,
    pub(super) number: u64,
    centis: u64,
    /// The items before and behind the extra data, encoded.
    before: Vec<u8>,
    pub(super) extra: IstanbulExtra,
    behind: Vec<u8>,
    /// GoQuorum takes a header for Istanbul's by its mix digest, and hashes others as they are.
    marked: bool,
}

/// A block that someone else made, with what was decided about it.
#[derive(Clone, Debug)]
pub struct ReceivedBlock {
    /// The block.
    pub block: Arc<Proposal>,
    /// Round in the header; 0 where the dialect has none there.
    pub round: u64,
    /// Seals of those who committed it; those that are not 65 bytes are left out.
    pub seals: Vec<[u8; SIGNATURE_LEN]>,
}

impl ReceivedBlock {
    /// Reads a block: header, transactions, and in GoQuorum uncles.
    ///
    /// # Errors
    /// When it is not one, or nobody's seal.
    pub fn read(dialect: Dialect, block: &Item<'_>) -> Result<Self, DecodeError> {
        let mut parts = block.items("Block")?;
        let mut part = |field| {
            parts
                .next()
                .unwrap_or_else(|| Item::first(&[], block.offset(), field))
        };
        let (header, transactions) = (part("Header")?, part("Block.Transactions")?);
        transactions.items("Block.Transactions")?.count_rest()?;
        Self::from_parts(dialect, &header, transactions.content())
    }

    /// From a header and the encoded transactions of a body.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn from_parts(dialect: Dialect, header: &Item<'_>, transactions: &[u8]) -> Result<Self, DecodeError> {
        let header_item = header;
        let header = ReadHeader::read(dialect, header_item)?;
        let proposer = recover(&header.seal_hash(), &header.extra.seal).ok_or_else(|| {
            DecodeErrorKind::BadLength {
                expected: SIGNATURE_LEN,
                found: header.extra.seal.len(),
            }
            .at(header_item.offset(), "Header.Extra.Seal")
        })?;
        let round = match dialect {
            Dialect::Klaytn => header.extra.vanity[VANITY_LEN - 1].into(),
            Dialect::QuorumIbft => 0,
        };
        let seals = header
            .extra
            .committed_seals
            .iter()
            .filter_map(|seal| seal.as_slice().try_into().ok())
            .collect();
        let hash = header.hash();
        let count = count_transactions(dialect, transactions)?;
        let block = Proposal::from_header(Header::Read(header), hash, proposer, transactions.to_vec(), count);
        Ok(Self {
            block: Arc::new(block),
            round,
            seals,
        })
    }

    /// How many of `validators` (ascending) sealed it, each counted once.
    pub fn sealed_by(&self, validators: &[Address]) -> usize {
        let signed = committed_seal_hash(&self.block.hash());
        let mut by = NodeSet::default();
        // A header may hold any number of seals; as many as there are validators can count.
        for seal in self.seals.iter().take(validators.len()) {
            if let Some(index) =
                recover(&signed, seal).and_then(|signer| validators.binary_search(&signer).ok())
            {
                by.insert(index);
            }
        }
        by.len()
    }
}

impl ReadHeader {
    fn read(dialect: Dialect, header: &Item<'_>) -> Result<Self, DecodeError> {
        let places = Places::of(dialect);
        let items = header.items("Header")?.collect::<Result<Vec<_>, _>>()?;
        if items.len() < places.required {
            let kind = DecodeErrorKind::WrongItemCount {
                expected: places.required,
                found: items.len(),
            };
            return Err(kind.at(header.offset(), "Header"));
        }
        let extra = items[places.extra];
        let start = extra.offset() - header.content_offset();
        let seconds = items[places.time].uint(MAX_SECONDS, "Header.Time")?;
        let hundredths = match dialect {
            Dialect::Klaytn => items[places.time + 1].uint(99, "Header.TimeFoS")?,
            Dialect::QuorumIbft => 0,
        };
        Ok(Self {
            dialect,
            parent: Hash256(items[0].fixed("Header.ParentHash")?),
            number: items[places.number].uint(i64::MAX as u64, "Header.Number")?,
            centis: seconds * 100 + hundredths,
            before: header.content()[..start].to_vec(),
            extra: read_extra(&extra)?,
            behind: header.content()[start + extra.raw().len()..].to_vec(),
            marked: places
                .mark
                .is_none_or(|mark| items[mark].content() == ISTANBUL_DIGEST.0),
        })
    }

    /// Time in the header, in hundredths of seconds since the epoch.
    pub(super) const fn centis(&self) -> u64 {
        self.centis
    }

    pub(super) fn rlp(&self) -> Vec<u8> {
        self.with_extra(&self.extra)
    }

    /// Writes the round where the dialect keeps it.
    pub(super) fn set_round(&mut self, round: u64) {
        if self.dialect == Dialect::Klaytn {
            self.extra.vanity[VANITY_LEN - 1] = round as u8;
        }
    }

    pub(super) fn hash(&self) -> Hash256 {
        if self.marked {
            keccak256(&self.with_extra(&self.filtered(true)))
        } else {
            keccak256(&self.rlp())
        }
    }

    pub(super) fn seal_hash(&self) -> Hash256 {
        keccak256(&keccak256(&self.with_extra(&self.filtered(false))).0)
    }

    fn filtered(&self, keep_seal: bool) -> IstanbulExtra {
        let mut extra = self.extra.clone();
        if self.dialect == Dialect::Klaytn {
            extra.vanity[VANITY_LEN - 1] = 0;
        }
        extra.committed_seals.clear();
        if !keep_seal {
            extra.seal.clear();
        }
        extra
    }

    fn with_extra(&self, extra: &IstanbulExtra) -> Vec<u8> {
        let mut items = self.before.clone();
        write_string(&mut items, &extra.encode());
        items.extend_from_slice(&self.behind);
        let mut out = Vec::with_capacity(items.len() + 9);
        write_list(&mut out, &items);
        out
    }
}

impl SignedMessage {
    /// Reads a message behind its code, and recovers its signer.
    ///
    /// # Errors
    /// When a node of the dialect could not decode it either.
    pub fn read(dialect: Dialect, wire: &[u8]) -> Result<Self, DecodeError> {
        let decoder: &dyn bftap_ibft_decode::Dialect = match dialect {
            Dialect::Klaytn => &Klaytn,
            Dialect::QuorumIbft => &QuorumIbft,
        };
        // Nodes read one value, and write it anew when they pass it on: what stood behind it goes no further.
        let wire = Item::first(wire, 0, "message")?.raw();
        let payload = decoder.open(LOCAL_CODE, wire)?.payload;
        let message = decoder.decode(LOCAL_CODE, payload, SignatureCheck::Recover)?;
        let block = match message.kind {
            Kind::Preprepare => Some(read_proposed(dialect, payload)?),
            _ => None,
        };
        Ok(Self {
            kind: message.kind,
            view: message.view,
            digest: message.digest.unwrap_or(Hash256::ZERO),
            claimed: message.claimed.unwrap_or(Address([0; Address::LEN])),
            signer: message.signer,
            parent: message.parent.unwrap_or(Hash256::ZERO),
            committed_seal: message.commit_seal.as_ref().and_then(CommitSeal::bytes).copied(),
            payload_hash: keccak256(payload),
            compressed: compress(wire).unwrap_or_default(),
            wire: wire.to_vec(),
            block,
            honest: message.validity == Validity::Valid,
        })
    }

    /// The payload of a message behind its code, without looking into it: its hash tells copies.
    ///
    /// # Errors
    /// When the message has not the envelope of the dialect.
    pub fn payload_of(dialect: Dialect, wire: &[u8]) -> Result<&[u8], DecodeError> {
        Ok(match dialect {
            Dialect::Klaytn => Klaytn.open(LOCAL_CODE, wire)?.payload,
            Dialect::QuorumIbft => QuorumIbft.open(LOCAL_CODE, wire)?.payload,
        })
    }
}

/// The block inside a preprepare's payload.
fn read_proposed(dialect: Dialect, payload: &[u8]) -> Result<Arc<Proposal>, DecodeError> {
    let message = Item::only(payload, 0, "message")?;
    let place = match dialect {
        Dialect::Klaytn => 2,
        Dialect::QuorumIbft => 1,
    };
    let missing = || Item::first(&[], message.offset(), "message.Msg");
    let body = message.items("message")?.nth(place).unwrap_or_else(missing)?;
    let [_, block] = body.wrapped("message.Msg")?.exactly("Preprepare")?;
    Ok(ReceivedBlock::read(dialect, &block)?.block)
}

/// Takes extra data apart.
fn read_extra(item: &Item<'_>) -> Result<IstanbulExtra, DecodeError> {
    let bytes = item.bytes("Header.Extra")?;
    let Some((vanity, fields)) = bytes.split_first_chunk::<VANITY_LEN>() else {
        let kind = DecodeErrorKind::BadLength {
            expected: VANITY_LEN,
            found: bytes.len(),
        };
        return Err(kind.at(item.offset(), "Header.Extra"));
    };
    let fields = Item::only(fields, item.content_offset() + VANITY_LEN, "Header.Extra")?;
    let [validators, seal, seals] = fields.exactly("Header.Extra")?;
    Ok(IstanbulExtra {
        vanity: *vanity,
        validators: validators
            .items("Header.Extra.Validators")?
            .map(|address| Ok(Address(address?.fixed("Header.Extra.Validators")?)))
            .collect::<Result<_, DecodeError>>()?,
        seal: seal.bytes("Header.Extra.Seal")?.to_vec(),
        committed_seals: seals
            .items("Header.Extra.CommittedSeal")?
            .map(|seal| Ok(seal?.bytes("Header.Extra.CommittedSeal")?.to_vec()))
            .collect::<Result<_, DecodeError>>()?,
    })
}

/// Transactions in a list's content: in Klaytn strings before a list tell its type (WIRE-FORMATS 5.1.4).
fn count_transactions(dialect: Dialect, transactions: &[u8]) -> Result<usize, DecodeError> {
    let list = List::new().raw(transactions).finish();
    let mut count = 0;
    for item in Item::only(&list, 0, "Block.Transactions")?.items("Block.Transactions")? {
        let is_list = item?.kind() == bftap_ibft_decode::rlp_view::ItemKind::List;
        count += usize::from(is_list || dialect == Dialect::QuorumIbft);
    }
    Ok(count)
}

/// Where things stand in a header (WIRE-FORMATS 5.1.3, 5.2).
struct Places {
    required: usize,
    number: usize,
    time: usize,
    extra: usize,
    mark: Option<usize>,
}

impl Places {
    const fn of(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Klaytn => Self {
                required: 14,
                number: 7,
                time: 9,
                extra: 11,
                mark: None,
            },
            Dialect::QuorumIbft => Self {
                required: 15,
                number: 8,
                time: 11,
                extra: 12,
                mark: Some(13),
            },
        }
    }
}

/// So that hundredths of seconds fit.
const MAX_SECONDS: u64 = i64::MAX as u64 / 100 - 1;

#[cfg(test)]
mod tests {
    use bftap_ibft_decode::View;

    use super::*;
    use crate::consensus::{BlockPlan, HeaderForm};
    use crate::key::NodeKey;
    use crate::prng::Prng;
    use crate::transaction::made_up;

    const FORMS: [HeaderForm; 4] = [
        HeaderForm::Klaytn,
        HeaderForm::KlaytnMagma,
        HeaderForm::KlaytnRandao,
        HeaderForm::Eth,
    ];

    fn block(form: HeaderForm, key: &NodeKey, prng: &mut Prng) -> Proposal {
        let transactions: Vec<_> = (0..5).map(|_| made_up(form.dialect(), prng)).collect();
        let plan = BlockPlan {
            form,
            parent: Hash256(prng.bytes()),
            number: 77,
            centis: 179_500_000_012,
            validators: &[key.address()],
            transaction_count: transactions.len(),
            transactions: transactions.concat(),
            entropy: prng.bytes(),
        };
        Proposal::seal(plan, key)
    }

    #[test]
    fn blocks_come_out_as_they_went_in() {
        let mut prng = Prng::new(4);
        let keys: Vec<_> = (0..3).map(|_| NodeKey::draw(&mut prng)).collect();
        let mut validators: Vec<_> = keys.iter().map(NodeKey::address).collect();
        validators.sort_unstable();
        for form in FORMS {
            let made = block(form, &keys[0], &mut prng);
            let signed = committed_seal_hash(&made.hash());
            // One seal twice: it counts once.
            let seals: Vec<_> = [0, 1, 1]
                .iter()
                .map(|&at: &usize| keys[at].sign(&signed))
                .collect();
            let rlp = made.decided_rlp(3, &seals);
            let item = Item::only(&rlp, 0, "Block").unwrap();
            let read = ReceivedBlock::read(form.dialect(), &item).unwrap();
            assert_eq!(read.block.hash(), made.hash(), "{form:?}");
            assert_eq!(read.block.proposer(), keys[0].address());
            assert_eq!((read.block.number(), read.block.parent()), (77, made.parent()));
            assert_eq!(read.block.transaction_count(), 5);
            assert_eq!(read.block.centis() / 100, 1_795_000_000);
            assert_eq!(read.block.decided_rlp(3, &read.seals), rlp);
            assert_eq!(read.block.block_rlp(1), made.block_rlp(1));
            assert_eq!(read.sealed_by(&validators), 2);
            assert_eq!(read.round, if form == HeaderForm::Eth { 0 } else { 3 });
        }
    }

    #[test]
    fn messages_come_out_as_they_went_in() {
        let mut prng = Prng::new(5);
        let key = NodeKey::draw(&mut prng);
        let view = View {
            sequence: 77,
            round: 2,
        };
        for form in FORMS {
            let dialect = form.dialect();
            let block = Arc::new(block(form, &key, &mut prng));
            let (digest, parent) = (block.hash(), block.parent());
            let proposal = SignedMessage::preprepare(dialect, &key, view, block);
            let votes = [Kind::Prepare, Kind::Commit, Kind::RoundChange]
                .map(|kind| SignedMessage::vote(dialect, &key, kind, view, digest, parent, None));
            for made in [proposal].into_iter().chain(votes) {
                let read = SignedMessage::read(dialect, &made.wire).unwrap();
                assert_eq!(format!("{read:?}"), format!("{made:?}"));
                assert_eq!(read.payload_hash, made.payload_hash);
                assert_eq!(read.committed_seal, made.committed_seal);
                assert_eq!(read.signer, Some(key.address()));
                assert!(read.honest);
                assert_eq!(
                    read.block.map(|block| block.hash()),
                    made.block.map(|block| block.hash())
                );
                assert_eq!(
                    keccak256(SignedMessage::payload_of(dialect, &made.wire).unwrap()),
                    made.payload_hash
                );
                for len in 0..made.wire.len() {
                    assert!(SignedMessage::read(dialect, &made.wire[..len]).is_err(), "{len}");
                }
            }
        }
    }
}
