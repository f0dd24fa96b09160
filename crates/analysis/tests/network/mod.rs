//! A hand-made network of observations: n validators, a session between each two, votes on the way.

pub(crate) mod hundred;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use bftap_analysis::facts::{FactSink, HeightFacts, LinkCountFact, RunFacts, SessionState};
use bftap_analysis::{
    Aggregator, AnalysisOptions, ChainId, KnownNode, Observation, Occurrence, Payload, ReadFacts, SessionEnd,
    SessionInfo, SessionKey, SessionNetwork, Spoken, WorkerTotals,
};
use bftap_ibft_decode::{ConsensusMessage, Justification, Kind, Proposal, Validity, View};
use bftap_model::{Address, CaptureTime, Direction, Endpoint, Hash256, MacState, NodeId, keccak256};

/// IP address of a node.
pub(crate) fn ip(node: u8) -> IpAddr {
    [10, 0, 0, node].into()
}

/// Whose ports are captured.
pub(crate) enum Tap {
    /// Everybody's.
    All,
    /// One node's.
    Of(u8),
}

/// See the module's documentation. Validators sorted by address are numbered as the nodes are.
#[derive(Clone)]
pub(crate) struct Network {
    ids: Vec<NodeId>,
    chain: u64,
    sessions: BTreeMap<(u64, u8, u8), SessionInfo>,
    messages: Vec<Occurrence>,
    extra: Vec<Observation>,
    clock: i64,
    spans: BTreeMap<u64, (i64, i64)>,
    open: BTreeMap<(u64, u8, u8), (i64, i64)>,
}

impl Network {
    pub(crate) fn new(nodes: u8) -> Self {
        let mut ids: Vec<NodeId> = (0..nodes).map(|node| NodeId([node + 1; 64])).collect();
        ids.sort_by_key(NodeId::address);
        let mut network = Self {
            ids,
            chain: 1,
            sessions: BTreeMap::new(),
            messages: Vec::new(),
            extra: Vec::new(),
            clock: 1_000_000_000,
            spans: BTreeMap::new(),
            open: BTreeMap::new(),
        };
        network.connect();
        network
    }

    fn connect(&mut self) {
        let nodes = self.ids.len() as u8;
        for a in 0..nodes {
            for b in a + 1..nodes {
                let end = |node: u8, port| Endpoint { ip: ip(node), port };
                let info = SessionInfo {
                    ends: [
                        end(a, 40_000 + u16::from(b) + 100 * self.chain as u16),
                        end(b, 32_323),
                    ],
                    node_ids: [Some(self.ids[a as usize]), Some(self.ids[b as usize])],
                    accepted: [true; 2],
                    clients: [const { Some(String::new()) }; 2]
                        .map(|_| Some("Klaytn/v1.4.2/linux".to_owned())),
                    chain: Some(ChainId {
                        network_id: 1000,
                        genesis: Hash256([self.chain as u8; 32]),
                    }),
                };
                self.sessions.insert((self.chain, a, b), info);
            }
        }
    }

    /// The same nodes on another chain, by new sessions.
    pub(crate) fn reinitialise(&mut self) {
        self.chain += 1;
        self.connect();
    }

    pub(crate) fn addresses(&self) -> Vec<Address> {
        self.ids.iter().map(NodeId::address).collect()
    }

    pub(crate) fn names(&self) -> Vec<KnownNode> {
        let name = |(node, id): (usize, &NodeId)| KnownNode {
            name: format!("cn{node}"),
            node_id: Some(*id),
            ..KnownNode::default()
        };
        self.ids.iter().enumerate().map(name).collect()
    }

    pub(crate) fn forget_chain(&mut self, a: u8, b: u8) {
        self.sessions.get_mut(&(self.chain, a, b)).unwrap().chain = None;
    }

    pub(crate) fn forget_all_chains(&mut self) {
        for info in self.sessions.values_mut() {
            info.chain = None;
        }
    }

    pub(crate) fn unread_session(&mut self, a: u8, b: u8, state: SessionState, from: i64, to: i64) {
        let mut info = self.sessions[&(self.chain, a, b)].clone();
        info.ends[0].port += 1000;
        info.chain = None;
        info.node_ids = [None, None];
        let key = SessionKey {
            worker: 7,
            connection: self.extra.len() as u64,
        };
        let mut end = session_end(&info, state, (from, to));
        end.losses = vec![(CaptureTime::from_nanos(from), CaptureTime::from_nanos(to))];
        self.extra.push(Observation::End(key, Box::new(end)));
    }

    /// As if the session and all it carried had not been captured.
    pub(crate) fn hide(&mut self, a: u8, b: u8) {
        let key = self.key(self.chain, a, b);
        self.sessions.remove(&(self.chain, a, b));
        self.messages.retain(|message| message.session != key);
    }

    pub(crate) fn candidate(&mut self, node: u8, port: u16) {
        let info = SessionInfo {
            ends: [
                Endpoint {
                    ip: ip(100),
                    port: 50_000,
                },
                Endpoint { ip: ip(node), port },
            ],
            node_ids: [None, None],
            accepted: [false; 2],
            clients: [None, None],
            chain: None,
        };
        let key = SessionKey {
            worker: 8,
            connection: self.extra.len() as u64,
        };
        let mut end = session_end(&info, SessionState::NoSecret, (0, 1));
        end.candidate = true;
        self.extra.push(Observation::End(key, Box::new(end)));
    }

    /// Who proposes: round robin over the sorted validators.
    pub(crate) fn proposer(&self, sequence: u64, round: u64) -> u8 {
        ((sequence + round) % self.ids.len() as u64) as u8
    }

    pub(crate) fn vote(&self, kind: Kind, sequence: u64, round: u64, signer: u8, block: u8) -> Arc<Payload> {
        self.signed(kind, sequence, round, signer, block, true)
    }

    fn signed(
        &self,
        kind: Kind,
        sequence: u64,
        round: u64,
        signer: u8,
        block: u8,
        good: bool,
    ) -> Arc<Payload> {
        let address = self.ids[signer as usize].address();
        let digest = keccak256(&[self.chain as u8, block, sequence as u8]);
        let proposal = (kind == Kind::Preprepare).then(|| {
            Box::new(Proposal {
                number: sequence,
                hash: digest,
                parent: Hash256::ZERO,
                proposer: Some(address),
                transactions: 0,
                size: 600,
                time: 0,
                time_fos: 0,
                validators: self.addresses(),
                committed_seals: 0,
                round_in_header: None,
                vanity: None,
                extra_error: None,
            })
        });
        let text = format!("{kind} {sequence} {round} {signer} {block} {} {good}", self.chain);
        Arc::new(Payload {
            hash: keccak256(text.as_bytes()),
            dialect: "klaytn",
            message: ConsensusMessage {
                kind,
                view: View { sequence, round },
                claimed: Some(address),
                signer: if good { Some(address) } else { None },
                validity: if good {
                    Validity::Valid
                } else {
                    Validity::Unrecoverable
                },
                digest: Some(digest),
                parent: None,
                subject_parent: None,
                commit_seal: None,
                proposal,
                justification: Justification::default(),
            },
        })
    }

    pub(crate) fn deliver(&mut self, payload: &Arc<Payload>, sender: u8, receiver: u8, time: i64) {
        self.deliver_by(payload, sender, receiver, time, None);
    }

    /// As [`deliver`](Self::deliver), seen once more where it arrived.
    pub(crate) fn deliver_by(
        &mut self,
        payload: &Arc<Payload>,
        sender: u8,
        receiver: u8,
        time: i64,
        arrived: Option<i64>,
    ) {
        let (a, b) = (sender.min(receiver), sender.max(receiver));
        self.messages.push(Occurrence {
            session: self.key(self.chain, a, b),
            direction: if sender == a {
                Direction::FromInitiator
            } else {
                Direction::FromRecipient
            },
            payload: payload.clone(),
            seen: CaptureTime::from_nanos(time),
            arrived: arrived.map(CaptureTime::from_nanos),
            wire_len: 304,
            stale: false,
        });
    }

    fn key(&self, chain: u64, a: u8, b: u8) -> SessionKey {
        SessionKey {
            worker: u16::from(a % 2),
            connection: chain * 10_000 + u64::from(a) * 100 + u64::from(b),
        }
    }

    /// Loss at a node, in a session to somebody outside.
    pub(crate) fn lose(&mut self, node: u8, from: i64, to: i64) {
        let end = |node: u8, port| Endpoint { ip: ip(node), port };
        let info = SessionInfo {
            ends: [end(node, 50_000), end(200, 32_323)],
            node_ids: [None, None],
            accepted: [false; 2],
            clients: [None, None],
            chain: None,
        };
        let key = SessionKey {
            worker: 9,
            connection: self.extra.len() as u64,
        };
        let span = (from, to);
        let mut end = session_end(&info, SessionState::Lost, span);
        end.losses = vec![(CaptureTime::from_nanos(from), CaptureTime::from_nanos(to))];
        self.extra.push(Observation::End(key, Box::new(end)));
    }

    /// A session that was open in this span of time only.
    pub(crate) fn open_from_to(&mut self, a: u8, b: u8, span: (i64, i64)) {
        self.open.insert((self.chain, a, b), span);
    }

    /// A whole height in these rounds, everybody to everybody, with one re-gossip of each vote.
    pub(crate) fn height(&mut self, sequence: u64, rounds: &[u64]) {
        self.height_signed(sequence, rounds, |_| true);
    }

    /// As [`height`](Self::height); `good` says whose signatures are right.
    pub(crate) fn height_signed(&mut self, sequence: u64, rounds: &[u64], good: impl Fn(u8) -> bool) {
        let nodes = self.ids.len() as u8;
        let from = self.clock;
        for &round in rounds {
            for kind in [Kind::Preprepare, Kind::Prepare, Kind::Commit] {
                for signer in 0..nodes {
                    if kind == Kind::Preprepare && signer != self.proposer(sequence, round) {
                        continue;
                    }
                    let payload = self.signed(kind, sequence, round, signer, 1, good(signer));
                    for receiver in (0..nodes).filter(|&receiver| receiver != signer) {
                        self.clock += 1000;
                        self.deliver(&payload, signer, receiver, self.clock);
                        let forward = (receiver + 1) % nodes;
                        if forward != signer {
                            self.deliver(&payload, receiver, forward, self.clock + 500);
                        }
                    }
                }
                self.clock += 50_000_000;
            }
        }
        self.spans.insert(sequence, (from, self.clock));
        self.clock += 1_000_000_000;
    }

    /// Takes back messages.
    pub(crate) fn retain(&mut self, keep: impl Fn(&Occurrence) -> bool) {
        self.messages.retain(keep);
    }

    /// A message in place of one that was made with [`vote`](Self::vote).
    pub(crate) fn with(payload: &Arc<Payload>, change: impl Fn(&mut ConsensusMessage)) -> Arc<Payload> {
        let mut changed = Payload::clone(payload);
        change(&mut changed.message);
        let text = format!("{:?}", changed.message);
        changed.hash = keccak256(text.as_bytes());
        Arc::new(changed)
    }

    /// Only one node's port was captured.
    pub(crate) fn tap_only(&mut self, node: u8) {
        let nodes = self.ids.len() as u8;
        for a in (0..nodes).filter(|a| *a != node) {
            for b in (a + 1..nodes).filter(|b| *b != node) {
                self.hide(a, b);
            }
        }
    }

    /// The two nodes of a session, the initiator first.
    pub(crate) fn ends_of(&self, session: SessionKey) -> (u8, u8) {
        let pair = session.connection % 10_000;
        ((pair / 100) as u8, (pair % 100) as u8)
    }

    /// Now, by the clock of heights.
    pub(crate) fn now(&self) -> i64 {
        self.clock
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, nanos: i64) {
        self.clock += nanos;
    }

    pub(crate) fn span_of(&self, sequence: u64) -> (i64, i64) {
        self.spans[&sequence]
    }

    /// Sessions first, then messages, then the ends.
    pub(crate) fn observations(&self) -> Vec<Observation> {
        let open = self.sessions.iter().map(|(&(chain, a, b), info)| {
            Observation::Session(self.key(chain, a, b), Box::new(info.clone()))
        });
        let ends = self.sessions.iter().map(|(&(chain, a, b), info)| {
            let span = self.open.get(&(chain, a, b)).copied().unwrap_or((0, i64::MAX));
            let end = session_end(info, SessionState::Decrypted, span);
            Observation::End(self.key(chain, a, b), Box::new(end))
        });
        open.chain(self.messages.iter().cloned().map(Observation::Message))
            .chain(ends)
            .chain(self.extra.iter().cloned())
            .collect()
    }
}

pub(crate) fn session_end(info: &SessionInfo, state: SessionState, span: (i64, i64)) -> SessionEnd {
    SessionEnd {
        info: info.clone(),
        state,
        candidate: false,
        attached: Some("handshake"),
        opened_by: None,
        mac: Some(MacState::Verified),
        frames: [3, 3],
        gaps: 0,
        lost_bytes: 0,
        incomplete_bytes: 0,
        capabilities: vec!["istanbul/64".to_owned()],
        stream_bytes: [1000, 1000],
        roles: [Some("cn"); 2],
        spoken: [Spoken {
            messages: 3,
            first: Some(CaptureTime::from_nanos(span.0)),
            last: Some(CaptureTime::from_nanos(span.1)),
        }; 2],
        detail: None,
        span: (CaptureTime::from_nanos(span.0), CaptureTime::from_nanos(span.1)),
        losses: Vec::new(),
        blind: Vec::new(),
        frames_lost: [0; 2],
        inferred: None,
        network: SessionNetwork::default(),
    }
}

#[derive(Default)]
pub(crate) struct Collect {
    pub(crate) heights: Vec<HeightFacts>,
    pub(crate) minutes: Vec<LinkCountFact>,
}

impl FactSink for Collect {
    type Error = Infallible;

    fn height(&mut self, height: &HeightFacts) -> Result<(), Infallible> {
        self.heights.push(height.clone());
        Ok(())
    }

    fn minute(&mut self, links: &[LinkCountFact]) -> Result<(), Infallible> {
        self.minutes.extend_from_slice(links);
        Ok(())
    }
}

/// What the reading side would have counted.
pub(crate) fn read_facts(observations: &[Observation], tap: &Tap) -> ReadFacts {
    let mut ips = BTreeSet::new();
    for observation in observations {
        if let Observation::Session(_, info) = observation {
            ips.extend(info.ends.map(|end| end.ip));
        }
    }
    let tap_ends = match tap {
        Tap::All => ips.into_iter().map(|ip| BTreeSet::from([ip])).collect(),
        Tap::Of(node) => vec![BTreeSet::from([ip(*node)])],
    };
    ReadFacts {
        tap_ends,
        ..ReadFacts::default()
    }
}

/// Runs the analysis; messages of links must add up to those of heights.
pub(crate) fn judge(
    observations: Vec<Observation>,
    options: &AnalysisOptions,
    tap: &Tap,
) -> (Vec<HeightFacts>, RunFacts) {
    let read = read_facts(&observations, tap);
    let mut aggregator = Aggregator::new(options.clone());
    for observation in observations {
        aggregator.push(observation).unwrap();
    }
    let mut sink = Collect::default();
    let facts = aggregator
        .finish(read, WorkerTotals::default(), &mut sink)
        .unwrap();
    let of_links: u64 = sink.minutes.iter().map(|link| link.messages).sum();
    let of_counts: u64 = sink
        .heights
        .iter()
        .flat_map(|height| &height.counts)
        .map(|count| count.messages)
        .sum();
    assert_eq!(of_links, of_counts);
    (sink.heights, facts)
}
