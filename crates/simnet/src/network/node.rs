//! Nodes: a validator with its queue, its gossip, its peers, and its chain.

use std::sync::Arc;

use bftap_model::Hash256;

use super::Network;
use super::blocks::ChainHead;
use super::event::{ConnIndex, Event, NodeIndex, Time};
use super::session::Session;
use super::truth::ChainIndex;
use crate::client::Client;
use crate::consensus::{Core, Head, NodeSet, Relay, SignedMessage};
use crate::key::NodeKey;
use crate::options::Role;
use crate::prng::Prng;

/// A host with a node on it.
pub(super) struct Node {
    pub(super) name: String,
    pub(super) ip: std::net::IpAddr,
    pub(super) mac: [u8; 6],
    pub(super) key: NodeKey,
    pub(super) client: Client,
    /// What its connections are for.
    pub(super) role: Role,
    /// Its place among the validators.
    pub(super) validator: usize,
    /// Where its port is captured.
    pub(super) tap: Option<Tap>,
    /// The host has power.
    pub(super) powered: bool,
    /// The process runs.
    pub(super) running: bool,
    /// It will not come back.
    pub(super) gone: bool,
    /// Counts starts: events of an earlier life are void.
    pub(super) epoch: u32,
    pub(super) paused_until: Time,
    pub(super) chain: ChainIndex,
    pub(super) head: ChainHead,
    pub(super) peers: Vec<Peer>,
    /// Validators with a ready session.
    pub(super) connected: NodeSet,
    pub(super) core: Option<Core>,
    pub(super) relay: Relay,
    /// When the consensus thread is done with what it has.
    pub(super) busy_until: Time,
    /// Fetching blocks since.
    pub(super) syncing: Option<Time>,
    /// Who got another proposal than the one that comes next.
    pub(super) second_proposal: NodeSet,
    /// Its last vote.
    pub(super) last_vote: Option<Arc<SignedMessage>>,
    /// Height and round that it asked for last in a storm of round changes.
    pub(super) asked_round: (u64, u64),
    last_port: u16,
}

/// Where a node's port is captured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tap {
    pub(super) file: usize,
    pub(super) interface: u32,
}

/// What a node knows of another.
#[derive(Clone, Default)]
pub(super) struct Peer {
    /// Session on each channel.
    pub(super) sessions: [Option<ConnIndex>; 2],
    pub(super) dialing: [bool; 2],
    /// How often in a row dials on each channel ended with the word that there is a connection already.
    sent_away: [u32; 2],
    /// Highest block it is known to have.
    pub(super) height: u64,
}

impl Node {
    pub(super) fn new(
        name: String,
        ip: std::net::IpAddr,
        mac: [u8; 6],
        key: NodeKey,
        client: Client,
    ) -> Self {
        Self {
            name,
            ip,
            mac,
            key,
            client,
            role: Role::Consensus,
            validator: 0,
            tap: None,
            powered: true,
            running: false,
            gone: false,
            epoch: 0,
            paused_until: 0,
            chain: 0,
            head: ChainHead {
                number: 0,
                hash: Hash256::ZERO,
                proposer: None,
                time: 0,
            },
            peers: Vec::new(),
            connected: NodeSet::default(),
            core: None,
            relay: Relay::new(client.gossip_cache()),
            busy_until: 0,
            syncing: None,
            second_proposal: NodeSet::default(),
            last_vote: None,
            asked_round: (0, 0),
            last_port: 0,
        }
    }

    /// A port to dial from: none is used twice before all were.
    pub(super) fn next_port(&mut self, prng: &mut Prng) -> u16 {
        self.last_port = match self.last_port {
            0 => FIRST_PORT + prng.below(u64::from(LAST_PORT - FIRST_PORT)) as u16,
            LAST_PORT.. => FIRST_PORT,
            last => last + 1,
        };
        self.last_port
    }

    pub(super) fn core_head(&self) -> Head {
        Head {
            number: self.head.number,
            hash: self.head.hash,
            proposer: self.head.proposer,
        }
    }
}

impl Network<'_> {
    /// A node's process starts.
    pub(super) fn start_node(&mut self, index: NodeIndex) {
        let warm_up = if self.now < self.consensus_start {
            // On a new chain all begin together, so that no proposal meets a node that does not listen yet.
            self.consensus_start - self.now
        } else {
            self.options.warm_up.0.cast_unsigned()
        };
        let peers = self.options.hosts();
        let observer = index >= self.options.nodes;
        let node = &mut self.nodes[index];
        node.powered = true;
        node.running = true;
        node.epoch += 1;
        node.peers = vec![Peer::default(); peers];
        node.connected = NodeSet::default();
        node.relay = Relay::new(node.client.gossip_cache());
        node.busy_until = 0;
        node.syncing = None;
        node.last_vote = None;
        node.core = (!observer).then(|| {
            Core::new(
                Arc::clone(&self.configs[index]),
                node.key.clone(),
                node.core_head(),
            )
        });
        let epoch = node.epoch;
        if !observer {
            self.queue
                .push(self.now + warm_up, Event::CoreStart { node: index, epoch });
        }
        for peer in 0..peers {
            if self.dials(index, peer) {
                let wait = if self.options.simultaneous_dials && !observer {
                    // As soon as the last node listens.
                    self.dial_start.saturating_sub(self.now) + self.prng.below(400_000)
                } else {
                    20_000_000 + self.prng.below(200_000_000)
                };
                self.schedule_dials(index, peer, wait);
            }
        }
    }

    /// Whether a node dials another. Observers dial all validators; nobody dials them.
    fn dials(&self, node: NodeIndex, peer: NodeIndex) -> bool {
        let validators = self.options.nodes;
        match (node < validators, peer < validators) {
            (true, true) => node < peer || (self.options.simultaneous_dials && node != peer),
            (false, true) => true,
            (_, false) => false,
        }
    }

    /// A node dials a peer, unless it has a session.
    pub(super) fn dial_peer(&mut self, index: NodeIndex, epoch: u32, peer: NodeIndex, channel: u8) {
        let node = &self.nodes[index];
        if !node.running || node.epoch != epoch {
            return;
        }
        if node.paused_until > self.now {
            let event = Event::Dial {
                node: index,
                epoch,
                peer,
                channel,
            };
            self.queue.push(node.paused_until, event);
            return;
        }
        if self.only_visits(index) {
            self.schedule_dials(index, peer, VISITORS_WAIT);
            return;
        }
        let node = &self.nodes[index];
        let known = &node.peers[peer];
        if known.sessions[usize::from(channel)].is_some() || known.dialing[usize::from(channel)] {
            return;
        }
        let clients = [node.client, self.nodes[peer].client];
        let port = clients[1].port() + u16::from(channel);
        self.nodes[index].peers[peer].dialing[usize::from(channel)] = true;
        self.dial(index, peer, port, Session::rlpx(clients, channel));
    }

    /// A session, or the attempt at one, is over for `index`.
    pub(super) fn session_over(&mut self, conn: ConnIndex, index: NodeIndex, peer: NodeIndex, channel: u8) {
        let dialled = self.conn(conn).is_some_and(|conn| conn.ends[0].node == index);
        let sent_away = dialled
            && self
                .conn(conn)
                .is_some_and(|conn| conn.session.sides[0].sent_away);
        let validator = self.nodes[peer].validator;
        let node = &mut self.nodes[index];
        if !node.running || node.peers.is_empty() {
            return;
        }
        let known = &mut node.peers[peer];
        let slot = &mut known.sessions[usize::from(channel)];
        let was_session = *slot == Some(conn);
        if was_session {
            *slot = None;
        }
        if dialled {
            known.dialing[usize::from(channel)] = false;
        }
        let times = &mut known.sent_away[usize::from(channel)];
        if sent_away {
            *times += 1;
        } else if dialled || was_session {
            *times = 0;
        }
        let times = *times;
        let mut twin = None;
        if was_session && channel == 0 {
            twin = known.sessions[1];
            node.connected.remove(validator);
            node.syncing = None;
        }
        if dialled || was_session {
            let wait = if was_session {
                2_000_000_000 + self.prng.below(2_500_000_000)
            } else {
                400_000_000 + self.prng.below(600_000_000)
            };
            // Once may be two dials at a time; whose host lost power is sent away until its peers give up the session of before, and
            // clients do not hurry then.
            let wait = wait << times.saturating_sub(1).min(MOST_DOUBLINGS);
            if self.dials(index, peer) {
                self.schedule_dials(index, peer, wait);
            }
        }
        if let Some(twin) = twin {
            let side = self
                .conn(twin)
                .map_or(0, |conn| usize::from(conn.ends[1].node == index));
            self.close(twin, side);
        }
    }

    fn schedule_dials(&mut self, node: NodeIndex, peer: NodeIndex, wait: Time) {
        let epoch = self.nodes[node].epoch;
        for channel in 0..self.options.channels {
            let wait = wait + u64::from(channel) * 1_500_000;
            self.queue.push(
                self.now + wait,
                Event::Dial {
                    node,
                    epoch,
                    peer,
                    channel,
                },
            );
        }
    }

    pub(super) fn side_of(&self, conn: ConnIndex, node: NodeIndex) -> usize {
        self.conn(conn)
            .map_or(0, |conn| usize::from(conn.ends[1].node == node))
    }
}

/// Who only comes to go again looks so often whether it may stay.
const VISITORS_WAIT: Time = 1_000_000_000;
/// Who is sent away again and again waits twice as long each time, up to half a minute or so, as clients do from the first time on.
const MOST_DOUBLINGS: u32 = 5;
/// Ports that Linux dials from.
const FIRST_PORT: u16 = 32_768;
const LAST_PORT: u16 = 60_999;
