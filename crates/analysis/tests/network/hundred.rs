//! A hundred validators as one tapped node sees them, height after height: what memory is measured with.

use std::collections::BTreeSet;
use std::sync::Arc;

use bftap_analysis::facts::SessionState;
use bftap_analysis::{
    ChainId, Observation, Occurrence, Payload, ReadFacts, SessionEnd, SessionInfo, SessionKey,
};
use bftap_ibft_decode::{ConsensusMessage, Justification, Kind, Proposal, Validity, View};
use bftap_model::{Address, CaptureTime, Direction, Endpoint, Hash256, NodeId};

use super::{ip, session_end};

/// See the module's documentation.
pub(crate) struct Hundred {
    ids: Vec<NodeId>,
    addresses: Vec<Address>,
}

/// Nanoseconds between heights.
const SECOND: i64 = 1_000_000_000;

impl Hundred {
    /// Node 0 is the tapped one; each has a session with it.
    pub(crate) fn new(nodes: u8) -> Self {
        let mut ids: Vec<NodeId> = (0..nodes).map(|node| NodeId([node + 1; 64])).collect();
        ids.sort_by_key(NodeId::address);
        Self {
            addresses: ids.iter().map(NodeId::address).collect(),
            ids,
        }
    }

    /// What the reading side would have counted.
    pub(crate) fn read(&self) -> ReadFacts {
        ReadFacts {
            tap_ends: vec![BTreeSet::from([ip(0)])],
            ..ReadFacts::default()
        }
    }

    fn info(&self, peer: u8) -> SessionInfo {
        SessionInfo {
            ends: [
                Endpoint {
                    ip: ip(0),
                    port: 40_000 + u16::from(peer),
                },
                Endpoint {
                    ip: ip(peer),
                    port: 32_323,
                },
            ],
            node_ids: [Some(self.ids[0]), Some(self.ids[usize::from(peer)])],
            accepted: [true; 2],
            clients: [0, 1].map(|_| Some("Klaytn/v1.4.2/linux".to_owned())),
            chain: Some(ChainId {
                network_id: 1000,
                genesis: Hash256([7; 32]),
            }),
        }
    }

    fn peers(&self) -> impl Iterator<Item = u8> + use<> {
        1..self.ids.len() as u8
    }

    fn key(peer: u8) -> SessionKey {
        SessionKey {
            worker: 0,
            connection: peer.into(),
        }
    }

    /// All sessions begin.
    pub(crate) fn sessions(&self) -> Vec<Observation> {
        self.peers()
            .map(|peer| Observation::Session(Self::key(peer), Box::new(self.info(peer))))
            .collect()
    }

    /// How they stand behind so many heights.
    pub(crate) fn ends(&self, heights: u64) -> Vec<SessionEnd> {
        let span = (0, (heights as i64 + 2) * SECOND);
        self.peers()
            .map(|peer| session_end(&self.info(peer), SessionState::Decrypted, span))
            .collect()
    }

    /// All sessions end.
    pub(crate) fn over(&self, heights: u64) -> Vec<Observation> {
        let ends = self.ends(heights).into_iter();
        self.peers()
            .zip(ends)
            .map(|(peer, end)| Observation::End(Self::key(peer), Box::new(end)))
            .collect()
    }

    /// One height: each payload from its signer, and once more from another one; the node's own to one peer.
    pub(crate) fn height(&self, sequence: u64, take: &mut dyn FnMut(Observation)) {
        let count = self.ids.len() as u64;
        let proposer = (sequence % count) as u8;
        let begin = (sequence as i64 + 1) * SECOND;
        let mut step = 0;
        for (kind, after) in [(Kind::Preprepare, 0), (Kind::Prepare, 20), (Kind::Commit, 60)] {
            for signer in 0..count as u8 {
                if kind == Kind::Preprepare && signer != proposer {
                    continue;
                }
                let payload = self.payload(kind, sequence, signer);
                let relay = 1 + (u64::from(signer) + sequence) % (count - 1);
                for (sender, late) in [(signer, 0), (relay as u8, 5)] {
                    step += 1;
                    let time = begin + (after + late) * 1_000_000 + step * 1_000;
                    let (peer, direction) = match sender {
                        // It keeps its own from nobody; one peer stands for all.
                        0 => (relay as u8, Direction::FromInitiator),
                        peer => (peer, Direction::FromRecipient),
                    };
                    take(Observation::Message(Occurrence {
                        session: Self::key(peer),
                        direction,
                        payload: Arc::clone(&payload),
                        seen: CaptureTime::from_nanos(time),
                        arrived: None,
                        wire_len: 304,
                        stale: false,
                    }));
                }
            }
        }
    }

    fn payload(&self, kind: Kind, sequence: u64, signer: u8) -> Arc<Payload> {
        let signed_by = self.addresses[usize::from(signer)];
        let mut digest = Hash256([0xd1; 32]);
        digest.0[..8].copy_from_slice(&sequence.to_le_bytes());
        let mut hash = digest;
        (hash.0[8], hash.0[9]) = (kind.index() as u8, signer);
        let proposal = (kind == Kind::Preprepare).then(|| {
            Box::new(Proposal {
                number: sequence,
                hash: digest,
                parent: Hash256::ZERO,
                proposer: Some(signed_by),
                transactions: 0,
                size: 600,
                time: 0,
                time_fos: 0,
                validators: self.addresses.clone(),
                committed_seals: 0,
                round_in_header: None,
                vanity: None,
                extra_error: None,
            })
        });
        Arc::new(Payload {
            hash,
            dialect: "klaytn",
            message: ConsensusMessage {
                kind,
                view: View { sequence, round: 0 },
                claimed: Some(signed_by),
                signer: Some(signed_by),
                validity: Validity::Valid,
                digest: Some(digest),
                parent: None,
                subject_parent: None,
                commit_seal: None,
                proposal,
                justification: Justification::default(),
            },
        })
    }
}
