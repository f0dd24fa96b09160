//! What the encoders write, the dialects read back: all fields, signers, hashes.

mod forge;

use bftap_ibft_decode::encode::{self, List};
use bftap_ibft_decode::klaytn::{self, HeaderTail, Klaytn, TransactionKind};
use bftap_ibft_decode::quorum_ibft::{self, ISTANBUL_DIGEST, QuorumIbft};
use bftap_ibft_decode::rlp_view::{Item, ItemKind};
use bftap_ibft_decode::{
    CommitSeal, ConsensusMessage, Dialect, IstanbulExtra, Kind, SignatureCheck, Validity, View, What,
    dissect, istanbul,
};
use bftap_model::{Address, Hash256, keccak256};
use forge::Key;
use proptest::collection::vec;
use proptest::prelude::*;

const LOCAL: u64 = 0x11;

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn klaytn_votes(
        (kind, view, digest, key, liar) in (vote(), view(), hash(), 0_u8..20, 0_u8..20),
        (envelope_parent, parent, subject_parent) in (hash(), hash(), hash()),
    ) {
        let (key, liar) = (Key::new(key), Key::new(liar));
        let mut message = klaytn::UnsignedMessage {
            parent,
            kind,
            body: klaytn::subject(view, &digest, &subject_parent),
            address: liar.address(),
            committed_seal: Vec::new(),
        };
        let seal = key.sign(istanbul::committed_seal_hash(&digest));
        if kind == Kind::Commit {
            message.committed_seal = seal.to_vec();
        }
        let payload = message.with_signature(&key.sign(message.signing_hash()));
        let wire = klaytn::envelope(&envelope_parent, &payload);

        let envelope = Klaytn.open(LOCAL, &wire).unwrap();
        prop_assert_eq!(envelope.payload, &payload[..]);
        prop_assert_eq!((envelope.parent, envelope.trailing), (Some(envelope_parent), 0));
        let decoded = Klaytn.decode(LOCAL, &payload, SignatureCheck::Recover).unwrap();
        prop_assert_eq!(decoded.parent, Some(parent));
        prop_assert_eq!(decoded.subject_parent, Some(subject_parent));
        check_vote(&decoded, kind, view, digest, &key, &liar, seal)?;
        let claimed = Klaytn.decode(LOCAL, &payload, SignatureCheck::Claimed).unwrap();
        prop_assert_eq!((claimed.signer, claimed.validity), (Some(liar.address()), Validity::NotChecked));
    }

    #[test]
    fn quorum_votes(
        (kind, view, digest, key, liar) in (vote(), view(), hash(), 0_u8..20, 0_u8..20),
    ) {
        let (key, liar) = (Key::new(key), Key::new(liar));
        let mut message = quorum_ibft::UnsignedMessage {
            kind,
            body: quorum_ibft::subject(view, &digest),
            address: liar.address(),
            committed_seal: Vec::new(),
        };
        let seal = key.sign(istanbul::committed_seal_hash(&digest));
        if kind == Kind::Commit {
            message.committed_seal = seal.to_vec();
        }
        let payload = message.with_signature(&key.sign(message.signing_hash()));
        let wire = quorum_ibft::envelope(&payload);

        let envelope = QuorumIbft.open(LOCAL, &wire).unwrap();
        prop_assert_eq!(envelope.payload, &payload[..]);
        prop_assert_eq!(envelope.parent, None);
        let decoded = QuorumIbft.decode(LOCAL, &payload, SignatureCheck::Recover).unwrap();
        prop_assert_eq!(decoded.parent, None);
        check_vote(&decoded, kind, view, digest, &key, &liar, seal)?;
    }

    #[test]
    fn klaytn_proposals(
        (view, tail, extra, key) in (view(), tail(), extra(), 0_u8..20),
        (number, time, time_fos, fee) in (0..=i64::MAX as u64, 0..=i64::MAX as u64, any::<u8>(), any::<u64>()),
        (governance, vote) in (vec(any::<u8>(), 0..80), vec(any::<u8>(), 0..80)),
        transactions in vec((transaction_kind(), any::<u64>()), 0..6),
    ) {
        let key = Key::new(key);
        let mut header = forge::klaytn_header(tail, Vec::new());
        header.extra = extra;
        (header.number, header.time, header.time_fos, header.gas_used) = (number, time, time_fos, fee);
        (header.governance, header.vote) = (governance, vote);
        header.extra.seal = key.sign(header.proposer_seal_hash()).to_vec();
        let hash = header.hash();
        header.set_round(view.round);
        prop_assert_eq!(header.hash(), hash, "the round is not part of the hash");
        header.extra.committed_seals.push(vec![1; 65]);
        prop_assert_eq!(header.hash(), hash, "committed seals are not part of the hash");

        let encoded: Vec<Vec<u8>> = transactions
            .iter()
            .map(|(kind, nonce)| klaytn::transaction(*kind, &List::new().uint(*nonce)))
            .collect();
        let block = klaytn::block(&header.rlp(), &encoded.concat());
        let message = klaytn::UnsignedMessage {
            parent: header.parent_hash,
            kind: Kind::Preprepare,
            body: klaytn::preprepare(view, &block),
            address: key.address(),
            committed_seal: Vec::new(),
        };
        let payload = message.with_signature(&key.sign(message.signing_hash()));
        let decoded = Klaytn.decode(LOCAL, &payload, SignatureCheck::Recover).unwrap();
        prop_assert_eq!((decoded.kind, decoded.view), (Kind::Preprepare, view));
        prop_assert_eq!((decoded.signer, decoded.validity), (Some(key.address()), Validity::Valid));
        prop_assert_eq!(decoded.digest, Some(hash));
        let proposal = decoded.proposal.unwrap();
        prop_assert_eq!(proposal.hash, hash);
        prop_assert_eq!((proposal.number, proposal.time, proposal.time_fos), (number, time, time_fos));
        prop_assert_eq!(proposal.parent, header.parent_hash);
        prop_assert_eq!(proposal.proposer, Some(key.address()));
        prop_assert_eq!(proposal.transactions, transactions.len() as u64);
        prop_assert_eq!(proposal.size, block.len() as u64);
        prop_assert_eq!(proposal.validators, header.extra.validators);
        prop_assert_eq!(proposal.committed_seals, header.extra.committed_seals.len());
        prop_assert_eq!(proposal.round_in_header, Some(view.round & 0xff));
        prop_assert_eq!(proposal.vanity, Some(header.extra.vanity));
        prop_assert_eq!(proposal.extra_error, None);
    }

    #[test]
    fn quorum_proposals(
        (view, extra, key, is_marked) in (view(), extra(), 0_u8..20, any::<bool>()),
        (number, time) in (0..=i64::MAX as u64, 0..=i64::MAX as u64),
        (typed, legacy) in (0_u64..4, 0_u64..4),
    ) {
        let key = Key::new(key);
        let mut header = forge::eth_header(Vec::new());
        header.extra = extra;
        (header.number, header.time) = (number, time);
        header.mix_digest = if is_marked { ISTANBUL_DIGEST } else { Hash256::ZERO };
        header.extra.seal = key.sign(header.proposer_seal_hash()).to_vec();
        let hash = header.hash();
        prop_assert_eq!(is_marked || hash == keccak256(&header.rlp()), true);

        let mut transactions = Vec::new();
        for nonce in 0..typed {
            transactions.extend(encode::string(&[2, 0xc1, nonce as u8]));
        }
        for nonce in 0..legacy {
            transactions.extend(List::new().uint(nonce).finish());
        }
        let block = quorum_ibft::block(&header.rlp(), &transactions);
        let message = quorum_ibft::UnsignedMessage {
            kind: Kind::Preprepare,
            body: quorum_ibft::preprepare(view, &block),
            address: key.address(),
            committed_seal: Vec::new(),
        };
        let payload = message.with_signature(&key.sign(message.signing_hash()));
        let decoded = QuorumIbft.decode(LOCAL, &payload, SignatureCheck::Recover).unwrap();
        prop_assert_eq!((decoded.kind, decoded.view), (Kind::Preprepare, view));
        prop_assert_eq!(decoded.validity, Validity::Valid);
        prop_assert_eq!(decoded.parent, Some(header.parent_hash));
        let proposal = decoded.proposal.unwrap();
        prop_assert_eq!(proposal.hash, hash);
        prop_assert_eq!((proposal.number, proposal.time), (number, time));
        prop_assert_eq!(proposal.proposer, Some(key.address()));
        prop_assert_eq!(proposal.transactions, typed + legacy);
        prop_assert_eq!(proposal.size, block.len() as u64);
        prop_assert_eq!(proposal.validators, header.extra.validators);
        prop_assert_eq!(proposal.committed_seals, header.extra.committed_seals.len());
        prop_assert_eq!(proposal.round_in_header, None);
    }

    /// Our RLP against the `rlp` crate, which is somebody else's.
    #[test]
    fn rlp_is_what_others_write_and_read(strings in vec(vec(any::<u8>(), 0..300), 0..8), number in any::<u64>()) {
        let mut theirs = rlp::RlpStream::new_list(strings.len() + 2);
        let mut ours = List::new();
        for string in &strings {
            theirs.append(string);
            ours = ours.bytes(string);
        }
        theirs.append(&number);
        ours = ours.uint(number);
        theirs.begin_list(strings.len()).append_raw(&strings.iter().flat_map(|s| encode::string(s)).collect::<Vec<_>>(), strings.len());
        let inner = strings.iter().fold(List::new(), |list, string| list.bytes(string));
        let ours = ours.list(&inner).finish();
        prop_assert_eq!(&ours[..], &theirs.out()[..]);

        let list = Item::only(&ours, 0, "list").unwrap();
        let items: Vec<_> = list.items("list").unwrap().map(Result::unwrap).collect();
        prop_assert_eq!(items.len(), strings.len() + 2);
        for (item, string) in items.iter().zip(&strings) {
            prop_assert_eq!(item.bytes("string").unwrap(), &string[..]);
            prop_assert_eq!(&ours[item.offset()..item.offset() + item.raw().len()], item.raw());
        }
        prop_assert_eq!(items[strings.len()].uint(u64::MAX, "number").unwrap(), number);
        prop_assert_eq!(items[strings.len() + 1].kind(), ItemKind::List);
    }

    /// Whatever reads as an item writes back to the same bytes: there is one encoding of a value, as in the nodes.
    #[test]
    fn only_the_shortest_form_is_read(bytes in vec(any::<u8>(), 0..70)) {
        if let Ok(item) = Item::first(&bytes, 0, "item") {
            let written = match item.kind() {
                ItemKind::String => encode::string(item.content()),
                ItemKind::List => List::new().raw(item.content()).finish(),
            };
            prop_assert_eq!(&written[..], item.raw());
        }
    }
}

fn check_vote(
    decoded: &ConsensusMessage,
    kind: Kind,
    view: View,
    digest: Hash256,
    key: &Key,
    claimed: &Key,
    seal: [u8; 65],
) -> Result<(), TestCaseError> {
    let signer = key.address();
    prop_assert_eq!(
        (decoded.kind, decoded.view, decoded.digest),
        (kind, view, Some(digest))
    );
    prop_assert_eq!(
        (decoded.claimed, decoded.signer),
        (Some(claimed.address()), Some(signer))
    );
    let honest = signer == claimed.address();
    prop_assert_eq!(
        decoded.validity,
        if honest {
            Validity::Valid
        } else {
            Validity::NotClaimed
        }
    );
    let bytes = seal;
    let seal = (kind == Kind::Commit).then_some(CommitSeal::Recovered { bytes, signer });
    prop_assert_eq!(decoded.commit_seal, seal);
    prop_assert!(decoded.proposal.is_none());
    Ok(())
}

fn vote() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Prepare), Just(Kind::Commit), Just(Kind::RoundChange)]
}

fn view() -> impl Strategy<Value = View> {
    // small numbers and the borders of their encoding as well as all others
    let number = prop_oneof![0_u64..300, Just(i64::MAX as u64), 0..=i64::MAX as u64];
    (number.clone(), number).prop_map(|(sequence, round)| View { sequence, round })
}

fn hash() -> impl Strategy<Value = Hash256> {
    any::<[u8; 32]>().prop_map(Hash256)
}

fn extra() -> impl Strategy<Value = IstanbulExtra> {
    let validators = vec(any::<[u8; 20]>().prop_map(Address), 0..40);
    (any::<[u8; 32]>(), validators, vec(vec(any::<u8>(), 65), 0..5)).prop_map(
        |(vanity, validators, committed_seals)| IstanbulExtra {
            vanity,
            validators,
            seal: Vec::new(),
            committed_seals,
        },
    )
}

fn tail() -> impl Strategy<Value = HeaderTail> {
    (0..4, any::<u64>(), any::<u8>(), hash(), any::<u64>()).prop_map(
        |(fork, base_fee, byte, mix_hash, gas)| {
            let random_reveal = Box::new([byte; 96]);
            match fork {
                0 => HeaderTail::Istanbul,
                1 => HeaderTail::Magma { base_fee },
                2 => HeaderTail::Randao {
                    base_fee,
                    random_reveal,
                    mix_hash,
                },
                _ => HeaderTail::Blobs {
                    base_fee,
                    random_reveal,
                    mix_hash,
                    blob_gas_used: gas,
                    excess_blob_gas: gas / 2,
                },
            }
        },
    )
}

fn transaction_kind() -> impl Strategy<Value = TransactionKind> {
    prop_oneof![
        Just(TransactionKind::Legacy),
        (1_u8..0x78).prop_map(TransactionKind::Klaytn),
        (1_u8..4).prop_map(TransactionKind::Ethereum),
    ]
}

/// The largest message that Klaytn of this encoding allows is read in one pass, and shown within bounds.
#[test]
fn a_block_of_ten_megabytes_of_empty_transactions() {
    let header = forge::klaytn_header(HeaderTail::Istanbul, vec![Address([1; 20]); 1000]);
    let count = 10 * 1024 * 1024;
    let block = klaytn::block(&header.rlp(), &vec![0xc0; count]);
    let message = klaytn::UnsignedMessage {
        parent: header.parent_hash,
        kind: Kind::Preprepare,
        body: klaytn::preprepare(
            View {
                sequence: 1,
                round: 0,
            },
            &block,
        ),
        address: Key::new(1).address(),
        committed_seal: Vec::new(),
    };
    let payload = message.with_signature(&Key::new(1).sign(message.signing_hash()));
    let decoded = Klaytn.decode(LOCAL, &payload, SignatureCheck::Recover).unwrap();
    assert_eq!(decoded.validity, Validity::Valid);
    let proposal = decoded.proposal.unwrap();
    assert_eq!(
        (proposal.transactions, proposal.validators.len()),
        (count as u64, 1000)
    );

    let lines = dissect(&Klaytn, What::Payload, LOCAL, &payload);
    let more: Vec<&str> = lines
        .iter()
        .filter(|line| line.name == "more")
        .map(|line| &*line.value)
        .collect();
    assert_eq!(more, ["744 more items", "10485504 more items"]);
    assert!(lines.len() < 700, "{} lines", lines.len());
}
