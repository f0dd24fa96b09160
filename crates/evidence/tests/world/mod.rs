//! A made-up chain: keys, blocks, messages, and bundles of them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bftap_evidence::{
    Accusation, Bundle, CaptureEntry, CollectLimits, Collector, EventEntry, FileEntry, MANIFEST, Manifest,
    SIGNATURE, SUMS, Sight, SigningKey, build as build_bundle, choose,
};
use bftap_ibft_decode::{Kind, SignatureCheck, View, dialect_named, istanbul};
use bftap_model::{Address, CaptureTime, Endpoint, FlowKey, Hash256, MacState, SeqNumber, Side};
use bftap_simnet::consensus::{BlockPlan, Dialect, HeaderForm, Proposal, SignedMessage};
use bftap_simnet::key::NodeKey;
use bftap_simnet::prng::Prng;
use sha2::{Digest as _, Sha256};

pub(crate) struct World {
    dialect: Dialect,
    keys: Vec<NodeKey>,
    validators: Vec<Address>,
}

impl World {
    pub(crate) fn new(dialect: Dialect, nodes: usize, seed: u64) -> Self {
        let mut prng = Prng::new(seed);
        let mut keys: Vec<_> = (0..nodes).map(|_| NodeKey::draw(&mut prng)).collect();
        keys.sort_by_key(NodeKey::address);
        Self {
            dialect,
            validators: keys.iter().map(NodeKey::address).collect(),
            keys,
        }
    }

    pub(crate) fn address(&self, node: usize) -> Address {
        self.validators[node]
    }

    pub(crate) fn key(&self, node: usize) -> &NodeKey {
        &self.keys[node]
    }

    /// A block of node 0.
    pub(crate) fn block(&self, parent: Hash256, number: u64, variant: u8) -> Arc<Proposal> {
        self.block_of(0, parent, number, variant)
    }

    pub(crate) fn block_of(&self, node: usize, parent: Hash256, number: u64, variant: u8) -> Arc<Proposal> {
        let plan = BlockPlan {
            form: match self.dialect {
                Dialect::Klaytn => HeaderForm::Klaytn,
                Dialect::QuorumIbft => HeaderForm::Eth,
            },
            parent,
            number,
            centis: 179_500_000_000 + number * 100,
            validators: &self.validators,
            transactions: Vec::new(),
            transaction_count: 0,
            entropy: [variant; 32],
        };
        Arc::new(Proposal::seal(plan, &self.keys[node]))
    }

    pub(crate) fn propose(&self, node: usize, round: u64, block: &Arc<Proposal>) -> SignedMessage {
        let view = View {
            sequence: block.number(),
            round,
        };
        SignedMessage::preprepare(self.dialect, &self.keys[node], view, Arc::clone(block))
    }

    pub(crate) fn vote(
        &self,
        node: usize,
        kind: Kind,
        sequence: u64,
        round: u64,
        digest: Hash256,
        parent: Hash256,
    ) -> SignedMessage {
        let view = View { sequence, round };
        SignedMessage::vote(self.dialect, &self.keys[node], kind, view, digest, parent, None)
    }

    pub(crate) fn commits(&self, block: &Proposal, round: u64, nodes: Range<usize>) -> Vec<SignedMessage> {
        nodes
            .map(|node| {
                self.vote(
                    node,
                    Kind::Commit,
                    block.number(),
                    round,
                    block.hash(),
                    block.parent(),
                )
            })
            .collect()
    }
}

pub(crate) fn collect(messages: &[SignedMessage]) -> Collector {
    let mut collector = Collector::new(CollectLimits::default());
    collect_into(&mut collector, messages);
    collector
}

pub(crate) fn collect_into(collector: &mut Collector, messages: &[SignedMessage]) {
    for (index, message) in messages.iter().enumerate() {
        // Nothing but the dialect's envelope tells: Klaytn's is a list, GoQuorum's a string.
        let name = if message.wire[0] >= 0xc0 {
            "klaytn"
        } else {
            "quorum-ibft"
        };
        let dialect = dialect_named(name).unwrap();
        let payload = dialect.open(istanbul::LOCAL_CODE, &message.wire).unwrap().payload;
        let decoded = dialect
            .decode(istanbul::LOCAL_CODE, payload, SignatureCheck::Recover)
            .unwrap();
        let end = |last, port| Endpoint {
            ip: [10, 0, 0, last].into(),
            port,
        };
        let (flow, side) = FlowKey::of(end(1, 40_000), end(2, 32_323));
        assert_eq!(side, Side::Low);
        let sight = Sight {
            flow,
            side,
            from: None,
            to: None,
            offset: 1000 * index as u64,
            seq: Some(SeqNumber(5000 + 1000 * index as u32)),
            frame_bytes: message.compressed.len() as u32 + 48,
            seen: CaptureTime::from_nanos(1_795_000_000_000_000_000 + index as i64),
            mac: MacState::Verified,
        };
        collector.push(
            message.payload_hash,
            dialect,
            istanbul::LOCAL_CODE,
            &decoded,
            message.wire.clone(),
            sight,
        );
    }
}

pub(crate) fn build(messages: &[SignedMessage], accusation: &Accusation) -> BTreeMap<String, Vec<u8>> {
    make(messages, accusation, None)
}

pub(crate) fn build_signed(messages: &[SignedMessage], accusation: &Accusation) -> BTreeMap<String, Vec<u8>> {
    let key = SigningKey::from_bytes([0x11; 32]).unwrap();
    make(messages, accusation, Some(&key))
}

fn make(
    messages: &[SignedMessage],
    accusation: &Accusation,
    key: Option<&SigningKey>,
) -> BTreeMap<String, Vec<u8>> {
    let collector = collect(messages);
    let chosen = choose(&collector, accusation).unwrap();
    let bundle = Bundle {
        tool: "bftap 0".to_owned(),
        event: EventEntry {
            run: "night".to_owned(),
            detail: "hostile\u{1b}[2J `text`".to_owned(),
            ..EventEntry::default()
        },
        chosen: &chosen,
        collector: &collector,
        name: &|end, _| Some(format!("node at {}", end.ip)),
        captures: vec![CaptureEntry {
            name: "tap1.pcap".to_owned(),
            sha256: "00".repeat(32),
            of_the_run: true,
        }],
        packets: None,
        limits: BTreeMap::new(),
        key,
    };
    build_bundle(bundle).unwrap().0
}

/// Changes the manifest and writes right hashes.
pub(crate) fn mend(files: &mut BTreeMap<String, Vec<u8>>, change: impl Fn(&mut Manifest)) {
    let sha256 = |bytes: &[u8]| {
        Sha256::digest(bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let mut manifest = Manifest::parse(&files[MANIFEST]).unwrap();
    change(&mut manifest);
    manifest.files = files
        .iter()
        .filter(|(name, _)| ![MANIFEST, SUMS, SIGNATURE].contains(&name.as_str()))
        .map(|(name, bytes)| FileEntry {
            name: name.clone(),
            bytes: bytes.len() as u64,
            sha256: sha256(bytes),
        })
        .collect();
    let text = manifest.to_text();
    let mut sums: Vec<_> = manifest
        .files
        .iter()
        .map(|file| (file.name.clone(), file.sha256.clone()))
        .collect();
    sums.push((MANIFEST.to_owned(), sha256(text.as_bytes())));
    sums.sort();
    let sums: String = sums
        .iter()
        .map(|(name, hash)| format!("{hash}  {name}\n"))
        .collect();
    files.insert(SUMS.to_owned(), sums.into_bytes());
    files.insert(MANIFEST.to_owned(), text.into_bytes());
}
