//! Messages made with the encoders and signed with made-up keys: forks that no captured network ran, and malformed input.

// Each test binary uses its own part of this.
#![allow(dead_code)]

use bftap_ibft_decode::encode::{List, string};
use bftap_ibft_decode::klaytn::{self, HeaderTail, KlaytnHeader, TransactionKind};
use bftap_ibft_decode::quorum_ibft::{self, EthHeader, ISTANBUL_DIGEST, NO_UNCLES};
use bftap_ibft_decode::{IstanbulExtra, Kind, View, istanbul};
use bftap_model::{Address, Hash256, NodeId, keccak256};
use secp256k1::ecdsa::RecoverableSignature;
use secp256k1::{Message, SecretKey};

/// A key that signs.
pub(crate) struct Key(SecretKey);

impl Key {
    /// The key number `n`.
    pub(crate) fn new(n: u8) -> Self {
        Self(SecretKey::from_secret_bytes(keccak256(&[n]).0).unwrap())
    }

    pub(crate) fn address(&self) -> Address {
        let uncompressed = self.0.public_key().serialize_uncompressed();
        NodeId::from_slice(&uncompressed[1..]).unwrap().address()
    }

    pub(crate) fn sign(&self, hash: Hash256) -> [u8; 65] {
        let signature = RecoverableSignature::sign_ecdsa_recoverable(Message::from_digest(hash.0), &self.0);
        let (id, compact) = signature.serialize_compact();
        let mut bytes = [0; 65];
        bytes[..64].copy_from_slice(&compact);
        bytes[64] = id.to_u8();
        bytes
    }
}

/// The same signature with the other s, as anyone can make it: `n - s`, and v turned over.
pub(crate) fn high_s(mut signature: [u8; 65]) -> [u8; 65] {
    let order = secp256k1::constants::CURVE_ORDER;
    let mut borrow = 0;
    for place in (0..32).rev() {
        let difference = i16::from(order[place]) - i16::from(signature[32 + place]) - borrow;
        borrow = i16::from(difference < 0);
        signature[32 + place] = difference.rem_euclid(256) as u8;
    }
    signature[64] ^= 1;
    signature
}

pub(crate) const PARENT: Hash256 = Hash256([0x11; 32]);
pub(crate) const DIGEST: Hash256 = Hash256([0x22; 32]);
pub(crate) const VIEW: View = View {
    sequence: 1_000_000,
    round: 3,
};

pub(crate) fn klaytn_header(tail: HeaderTail, validators: Vec<Address>) -> KlaytnHeader {
    let mut header = KlaytnHeader {
        parent_hash: PARENT,
        rewardbase: Address([0x33; 20]),
        root: Hash256([0x44; 32]),
        tx_hash: Hash256([0x55; 32]),
        receipt_hash: Hash256([0x66; 32]),
        bloom: Box::new([0; 256]),
        block_score: 1,
        number: VIEW.sequence,
        gas_used: 21_000,
        time: 1_700_000_000,
        time_fos: 99,
        extra: IstanbulExtra::unsealed(*b"vanity of a made-up node\x1b[31m\0\0\0", validators),
        governance: b"gov".to_vec(),
        vote: Vec::new(),
        tail,
    };
    header.set_round(VIEW.round);
    header
}

pub(crate) fn eth_header(validators: Vec<Address>) -> EthHeader {
    EthHeader {
        parent_hash: PARENT,
        uncle_hash: NO_UNCLES,
        coinbase: Address([0x33; 20]),
        root: Hash256([0x44; 32]),
        tx_hash: Hash256([0x55; 32]),
        receipt_hash: Hash256([0x66; 32]),
        bloom: Box::new([0; 256]),
        difficulty: 1,
        number: VIEW.sequence,
        gas_limit: 0xe000_0000,
        gas_used: 21_000,
        time: 1_700_000_000,
        extra: IstanbulExtra::unsealed([b'v'; 32], validators),
        mix_digest: ISTANBUL_DIGEST,
        nonce: [0xff; 8],
    }
}

fn klaytn_message(kind: Kind, body: Vec<u8>) -> klaytn::UnsignedMessage {
    let address = Key::new(1).address();
    klaytn::UnsignedMessage {
        parent: PARENT,
        kind,
        body,
        address,
        committed_seal: Vec::new(),
    }
}

fn klaytn_wire(message: &klaytn::UnsignedMessage) -> Vec<u8> {
    let signature = Key::new(1).sign(message.signing_hash());
    klaytn::envelope(&PARENT, &message.with_signature(&signature))
}

fn klaytn_prepare() -> klaytn::UnsignedMessage {
    klaytn_message(Kind::Prepare, klaytn::subject(VIEW, &DIGEST, &PARENT))
}

fn klaytn_proposal(header: &[u8], transactions: &[u8]) -> Vec<u8> {
    let block = klaytn::block(header, transactions);
    klaytn_wire(&klaytn_message(
        Kind::Preprepare,
        klaytn::preprepare(VIEW, &block),
    ))
}

fn sealed_klaytn_header(tail: HeaderTail) -> KlaytnHeader {
    let mut header = klaytn_header(tail, (1..=4).map(|n| Key::new(n).address()).collect());
    header.extra.seal = Key::new(1).sign(header.proposer_seal_hash()).to_vec();
    header
}

/// Adds an item behind the last one of an encoded list.
fn with_item(list: &[u8], item: &[u8]) -> Vec<u8> {
    let list = bftap_ibft_decode::rlp_view::Item::only(list, 0, "list").unwrap();
    List::new().raw(list.content()).raw(item).finish()
}

/// A sealed header with a field that no client of today knows.
fn header_of_a_later_fork(tail: HeaderTail) -> Vec<u8> {
    let new_field = string(b"new");
    let mut header = klaytn_header(tail, Vec::new());
    header.set_round(0);
    let unsealed = with_item(&header.rlp(), &new_field);
    header.extra.seal = Key::new(1).sign(keccak256(&keccak256(&unsealed).0)).to_vec();
    header.set_round(VIEW.round);
    with_item(&header.rlp(), &new_field)
}

/// Cases of Klaytn/Kaia.
pub(crate) fn klaytn() -> Vec<(&'static str, Vec<u8>)> {
    let (base_fee, random_reveal, mix_hash) = (25_000_000_000, Box::new([0x77; 96]), Hash256([0x88; 32]));
    let randao = HeaderTail::Randao {
        base_fee,
        random_reveal: random_reveal.clone(),
        mix_hash,
    };
    let blobs = HeaderTail::Blobs {
        base_fee,
        random_reveal,
        mix_hash,
        blob_gas_used: 131_072,
        excess_blob_gas: 0,
    };
    let fields = List::new().uint(7).uint(25).bytes(&[0x99; 20]);
    let transactions = [
        klaytn::transaction(TransactionKind::Legacy, &fields),
        klaytn::transaction(TransactionKind::Klaytn(0x08), &fields),
        klaytn::transaction(TransactionKind::Ethereum(0x02), &fields),
    ]
    .concat();
    let mut decided = sealed_klaytn_header(HeaderTail::Istanbul);
    let commit_hash = istanbul::committed_seal_hash(&decided.hash());
    decided.extra.committed_seals = (1..=3).map(|n| Key::new(n).sign(commit_hash).to_vec()).collect();

    let prepare = klaytn_prepare();
    let signature = Key::new(1).sign(prepare.signing_hash());
    let payload = prepare.with_signature(&signature);
    let envelope = |payload: &[u8]| klaytn::envelope(&PARENT, payload);
    let signed = |signature: &[u8]| envelope(&prepare.with_raw_signature(signature));
    let prepare_with = |body: Vec<u8>| klaytn_wire(&klaytn_message(Kind::Prepare, body));
    let view = |round: &[u8], sequence: &[u8]| List::new().raw(round).raw(sequence);
    let subject = |view: &List| List::new().list(view).bytes(&DIGEST.0).bytes(&PARENT.0).finish();
    let commit = |seal: Vec<u8>| {
        let mut message = klaytn_message(Kind::Commit, klaytn::subject(VIEW, &DIGEST, &PARENT));
        message.committed_seal = seal;
        klaytn_wire(&message)
    };
    let mut v27 = signature;
    v27[64] += 27;
    let mut off_curve = signature;
    off_curve[..32].fill(0xff);
    let plain = sealed_klaytn_header(HeaderTail::Istanbul);
    let mut claims_other = prepare.clone();
    claims_other.address = Key::new(2).address();

    vec![
        (
            "header-magma",
            klaytn_proposal(&sealed_klaytn_header(HeaderTail::Magma { base_fee }).rlp(), &[]),
        ),
        (
            "header-randao",
            klaytn_proposal(&sealed_klaytn_header(randao).rlp(), &transactions),
        ),
        (
            "header-blobs",
            klaytn_proposal(&sealed_klaytn_header(blobs.clone()).rlp(), &transactions),
        ),
        (
            "header-of-a-later-fork",
            klaytn_proposal(
                &with_item(&sealed_klaytn_header(blobs).rlp(), &string(b"new")),
                &[],
            ),
        ),
        (
            "header-with-committed-seals",
            klaytn_proposal(&decided.rlp(), &[]),
        ),
        (
            "header-unsealed",
            klaytn_proposal(&klaytn_header(HeaderTail::Istanbul, Vec::new()).rlp(), &[]),
        ),
        (
            "header-13-items",
            klaytn_proposal(&without_last_item(&plain.rlp()), &[]),
        ),
        (
            "header-extra-too-short",
            klaytn_proposal(&header_with_extra(b"too short"), &[]),
        ),
        (
            "header-extra-not-rlp",
            klaytn_proposal(&header_with_extra(&[0xff; 64]), &[]),
        ),
        ("header-is-a-string", klaytn_proposal(&string(&plain.rlp()), &[])),
        (
            "block-with-uncles",
            klaytn_wire(&klaytn_message(
                Kind::Preprepare,
                klaytn::preprepare(VIEW, &quorum_ibft::block(&plain.rlp(), &[])),
            )),
        ),
        (
            "commit-with-seal",
            commit(Key::new(1).sign(istanbul::committed_seal_hash(&DIGEST)).to_vec()),
        ),
        ("commit-without-seal", commit(Vec::new())),
        (
            "commit-seal-of-another",
            commit(Key::new(2).sign(istanbul::committed_seal_hash(&DIGEST)).to_vec()),
        ),
        ("commit-seal-64-bytes", commit(vec![1; 64])),
        ("commit-seal-unrecoverable", commit(vec![0xff; 65])),
        ("signature-of-another", klaytn_wire(&claims_other)),
        ("signature-high-s", signed(&high_s(signature))),
        ("signature-v-27", signed(&v27)),
        ("signature-off-curve", signed(&off_curve)),
        ("signature-64-bytes", signed(&signature[..64])),
        ("signature-empty", signed(&[])),
        (
            "round-largest",
            prepare_with(klaytn::subject(
                View {
                    round: i64::MAX as u64,
                    ..VIEW
                },
                &DIGEST,
                &PARENT,
            )),
        ),
        (
            "round-too-large",
            prepare_with(klaytn::subject(
                View {
                    round: 1 << 63,
                    ..VIEW
                },
                &DIGEST,
                &PARENT,
            )),
        ),
        (
            "sequence-too-large",
            prepare_with(subject(&view(&[0x80], &string(&[0xff; 32])))),
        ),
        (
            "sequence-leading-zero",
            prepare_with(subject(&view(&[0x80], &string(&[0, 7])))),
        ),
        (
            "round-byte-with-prefix",
            prepare_with(subject(&view(&[0x81, 0x05], &[0x07]))),
        ),
        (
            "view-with-three-items",
            prepare_with(subject(&List::new().uint(0).uint(1).uint(2))),
        ),
        (
            "digest-31-bytes",
            prepare_with(
                List::new()
                    .list(&List::new().uint(0).uint(1))
                    .bytes(&[2; 31])
                    .bytes(&[3; 32])
                    .finish(),
            ),
        ),
        (
            "subject-without-parent",
            prepare_with(quorum_ibft::subject(VIEW, &DIGEST)),
        ),
        (
            "subject-with-bytes-behind",
            prepare_with([klaytn::subject(VIEW, &DIGEST, &PARENT), vec![0]].concat()),
        ),
        ("code-4", envelope(&recoded(&payload, 4))),
        ("code-300", envelope(&recoded(&payload, 300))),
        (
            "address-19-bytes",
            envelope(
                &List::new()
                    .bytes(&PARENT.0)
                    .uint(1)
                    .bytes(&prepare.body)
                    .bytes(&[1; 19])
                    .bytes(&signature)
                    .bytes(&[])
                    .finish(),
            ),
        ),
        ("message-of-goquorum", envelope(&without_first_item(&payload))),
        (
            "payload-with-bytes-behind",
            envelope(&[payload.clone(), vec![0x80]].concat()),
        ),
        ("payload-empty", envelope(&[])),
        (
            "payload-length-beyond-end",
            envelope(&payload[..payload.len() - 40]),
        ),
        ("payload-length-64-bit", envelope(&[0xff; 60])),
        (
            "envelope-with-bytes-behind",
            [envelope(&payload), b"behind".to_vec()].concat(),
        ),
        ("envelope-of-three", with_item(&envelope(&payload), &[0x80])),
        ("envelope-long-form-length", [&[0xb8, 0x01][..], &[0x80]].concat()),
        ("envelope-cut-off", envelope(&payload)[..150].to_vec()),
        ("envelope-missing", payload),
        ("empty", Vec::new()),
    ]
}

/// A Klaytn header of the first 14 fields with this extra data.
fn header_with_extra(extra: &[u8]) -> Vec<u8> {
    let whole = klaytn_header(HeaderTail::Istanbul, Vec::new()).rlp();
    let items = items(&whole);
    let changed = string(extra);
    let replaced = items
        .iter()
        .enumerate()
        .map(|(place, item)| if place == 11 { &changed } else { item });
    replaced.fold(List::new(), |list, item| list.raw(item)).finish()
}

fn items(list: &[u8]) -> Vec<Vec<u8>> {
    let list = bftap_ibft_decode::rlp_view::Item::only(list, 0, "list").unwrap();
    list.items("list")
        .unwrap()
        .map(|item| item.unwrap().raw().to_vec())
        .collect()
}

fn without_last_item(list: &[u8]) -> Vec<u8> {
    let items = items(list);
    List::new().raw(&items[..items.len() - 1].concat()).finish()
}

fn without_first_item(list: &[u8]) -> Vec<u8> {
    List::new().raw(&items(list)[1..].concat()).finish()
}

/// A Klaytn payload with another code (the signature no longer fits).
fn recoded(payload: &[u8], code: u64) -> Vec<u8> {
    let items = items(payload);
    List::new()
        .raw(&items[0])
        .uint(code)
        .raw(&items[2..].concat())
        .finish()
}

fn quorum_message(kind: Kind, body: Vec<u8>) -> quorum_ibft::UnsignedMessage {
    quorum_ibft::UnsignedMessage {
        kind,
        body,
        address: Key::new(1).address(),
        committed_seal: Vec::new(),
    }
}

fn quorum_wire(message: &quorum_ibft::UnsignedMessage) -> Vec<u8> {
    quorum_ibft::envelope(&message.with_signature(&Key::new(1).sign(message.signing_hash())))
}

fn quorum_proposal(header: &[u8], transactions: &[u8]) -> Vec<u8> {
    let block = quorum_ibft::block(header, transactions);
    quorum_wire(&quorum_message(
        Kind::Preprepare,
        quorum_ibft::preprepare(VIEW, &block),
    ))
}

/// Cases of GoQuorum IBFT.
pub(crate) fn quorum_ibft() -> Vec<(&'static str, Vec<u8>)> {
    let mut sealed = eth_header((1..=4).map(|n| Key::new(n).address()).collect());
    sealed.extra.seal = Key::new(1).sign(sealed.proposer_seal_hash()).to_vec();
    let mut foreign = sealed.clone();
    foreign.mix_digest = Hash256::ZERO;
    let mut decided = sealed.clone();
    let commit_hash = istanbul::committed_seal_hash(&sealed.hash());
    decided.extra.committed_seals = (1..=3).map(|n| Key::new(n).sign(commit_hash).to_vec()).collect();

    let prepare = quorum_message(Kind::Prepare, quorum_ibft::subject(VIEW, &DIGEST));
    let signature = Key::new(1).sign(prepare.signing_hash());
    let payload = prepare.with_signature(&signature);
    let mut commit = quorum_message(Kind::Commit, quorum_ibft::subject(VIEW, &DIGEST));
    commit.committed_seal = Key::new(1).sign(istanbul::committed_seal_hash(&DIGEST)).to_vec();
    let mut claims_other = prepare.clone();
    claims_other.address = Key::new(2).address();
    let mut v28 = signature;
    v28[64] += 28;
    // a legacy transaction is a list, a typed one a string
    let transactions = [
        List::new().uint(7).bytes(&[0x99; 20]).finish(),
        string(&[2, 0xc1, 0x80]),
    ]
    .concat();
    let too_late = quorum_ibft::subject(
        View {
            sequence: u64::MAX,
            round: 0,
        },
        &DIGEST,
    );

    vec![
        (
            "header-with-transactions",
            quorum_proposal(&sealed.rlp(), &transactions),
        ),
        (
            "header-of-a-later-fork",
            quorum_proposal(&with_item(&sealed.rlp(), &[0x07]), &[]),
        ),
        (
            "header-with-committed-seals",
            quorum_proposal(&decided.rlp(), &[]),
        ),
        (
            "header-without-istanbul-digest",
            quorum_proposal(&foreign.rlp(), &[]),
        ),
        (
            "header-14-items",
            quorum_proposal(&without_last_item(&sealed.rlp()), &[]),
        ),
        (
            "block-without-uncles",
            quorum_wire(&quorum_message(
                Kind::Preprepare,
                quorum_ibft::preprepare(VIEW, &klaytn::block(&sealed.rlp(), &[])),
            )),
        ),
        ("commit-with-seal", quorum_wire(&commit)),
        ("signature-of-another", quorum_wire(&claims_other)),
        (
            "signature-high-s",
            quorum_ibft::envelope(&prepare.with_signature(&high_s(signature))),
        ),
        (
            "signature-v-28",
            quorum_ibft::envelope(&prepare.with_signature(&v28)),
        ),
        (
            "signature-66-bytes",
            quorum_ibft::envelope(&prepare.with_raw_signature(&[1; 66])),
        ),
        (
            "sequence-too-large",
            quorum_wire(&quorum_message(Kind::RoundChange, too_late)),
        ),
        (
            "subject-of-klaytn",
            quorum_wire(&quorum_message(
                Kind::Prepare,
                klaytn::subject(VIEW, &DIGEST, &PARENT),
            )),
        ),
        (
            "message-of-six",
            quorum_ibft::envelope(&with_item(&payload, &[0x80])),
        ),
        ("message-is-a-string", quorum_ibft::envelope(&string(&payload))),
        (
            "string-with-bytes-behind",
            [quorum_ibft::envelope(&payload), vec![0]].concat(),
        ),
        ("string-cut-off", quorum_ibft::envelope(&payload)[..100].to_vec()),
        ("string-missing", payload),
        ("empty", Vec::new()),
    ]
}
