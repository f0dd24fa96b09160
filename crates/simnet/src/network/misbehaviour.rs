//! What nodes send that they should not, and what they hold back.

use std::rc::Rc;
use std::sync::Arc;

use bftap_ibft_decode::encode::string;
use bftap_ibft_decode::{Kind, SIGNATURE_LEN, View};
use bftap_model::{Hash256, Nanos, keccak256};

use super::Network;
use super::event::{Event, NodeIndex, Time};
use super::messages::Message;
use super::session::Session;
use super::truth::{Deed, DeedBy};
use crate::consensus::{Forgery, NodeSet, SignedMessage};
use crate::options::{FaultKind, FloodOf};
use crate::rlpx::frame::compress;

impl Network<'_> {
    /// Writes down what a fault does now: the node itself, or the scenario to it.
    pub(super) fn deed(&mut self, fault: usize, view: Option<View>, count: u64) {
        let entry = &self.options.faults[fault];
        let by_height = view.is_some() && !matches!(entry.kind, FaultKind::Flood(..) | FaultKind::Silent);
        let standing = matches!(
            entry.kind,
            FaultKind::Paused | FaultKind::Killed | FaultKind::PowerLoss
        );
        self.truth.deed(
            self.now,
            DeedBy::Fault(fault),
            Deed {
                chain: self.nodes[entry.node].chain,
                node: Some(entry.node),
                kind: entry.kind.to_string(),
                by_node: entry.kind.is_misbehaviour(),
                until: entry
                    .until
                    .filter(|_| standing)
                    .map(|until| until.0.cast_unsigned()),
                view,
                by_height,
                count,
            },
        );
    }

    /// What goes out instead of an honest message of the node's own, or besides it.
    pub(super) fn forge(
        &mut self,
        index: NodeIndex,
        message: &Arc<SignedMessage>,
        faults: &[(usize, FaultKind)],
    ) {
        if message.kind == Kind::Preprepare {
            return;
        }
        let connected = self.nodes[index].connected;
        let view = message.view;
        for &(fault, kind) in faults {
            match kind {
                FaultKind::WrongSignatures => {
                    let mut signature: [u8; SIGNATURE_LEN] = self.prng.bytes();
                    // No curve point has such a recovery id and a random r: nobody recovers a key.
                    signature[SIGNATURE_LEN - 1] = 2;
                    self.replace(index, message, Forgery::RandomSignature(signature));
                    self.deed(fault, Some(view), 1);
                }
                FaultKind::WrongAddresses => {
                    let other = (self.nodes[index].validator + 1) % self.options.nodes;
                    let other = self.configs[index].validators[other];
                    self.replace(index, message, Forgery::ClaimedAddress(other));
                    self.deed(fault, Some(view), 1);
                }
                FaultKind::Equivocation if message.kind != Kind::RoundChange => {
                    let digest = keccak256(&message.digest.0);
                    let forged = self.vote_of(index, message.kind, view, digest, message.parent, None);
                    let half = NodeSet(connected.0 & EVERY_OTHER);
                    // That half does not get the honest one.
                    self.nodes[index].relay.forward(&message.payload_hash, half);
                    self.send_to(index, half, &forged);
                    self.deed(fault, Some(view), 1);
                }
                FaultKind::ConflictingCommits if message.kind == Kind::Commit => {
                    let behind = View {
                        sequence: view.sequence,
                        round: view.round.checked_sub(1).unwrap_or(1),
                    };
                    let digest = keccak256(&message.digest.0);
                    let forged = self.vote_of(index, Kind::Commit, behind, digest, message.parent, None);
                    self.send_to(index, connected, &forged);
                    self.deed(fault, Some(behind), 1);
                }
                FaultKind::StaleRounds if view.sequence > 1 => {
                    let before = View {
                        sequence: view.sequence - 1,
                        round: view.round,
                    };
                    let parent = message.parent;
                    let stale = self.vote_of(index, message.kind, before, parent, parent, None);
                    self.send_to(index, connected, &stale);
                    self.deed(fault, Some(before), 1);
                }
                FaultKind::Oversized(bytes) => {
                    let turn = (view.sequence % connected.len().max(1) as u64) as usize;
                    let Some(peer) = connected.iter().nth(turn) else {
                        continue;
                    };
                    let mut padding = vec![0; bytes as usize];
                    self.prng.fill(&mut padding);
                    let content = [&message.wire[..], &padding].concat();
                    let frame: Rc<[u8]> = compress(&content).unwrap_or_default().into();
                    // That peer gets no other copy.
                    let targets = self.nodes[index]
                        .relay
                        .forward(&message.payload_hash, NodeSet(1 << peer));
                    let padded = Message::Padded(Arc::clone(message), frame);
                    self.send_each(index, targets, &padded);
                    self.deed(fault, Some(view), 1);
                }
                _ => {}
            }
        }
    }

    /// Sends a forgery of a vote to all, who then get no honest one.
    fn replace(&mut self, index: NodeIndex, message: &SignedMessage, forgery: Forgery) {
        let forged = self.vote_of(
            index,
            message.kind,
            message.view,
            message.digest,
            message.parent,
            Some(forgery),
        );
        let everyone = NodeSet::first(self.options.nodes);
        let node = &mut self.nodes[index];
        node.relay.forward(&message.payload_hash, everyone);
        let targets = node.relay.forward(&forged.payload_hash, node.connected);
        self.send_to(index, targets, &forged);
    }

    fn vote_of(
        &self,
        index: NodeIndex,
        kind: Kind,
        view: View,
        digest: Hash256,
        parent: Hash256,
        forgery: Option<Forgery>,
    ) -> Arc<SignedMessage> {
        let node = &self.nodes[index];
        let dialect = node.client.dialect();
        Arc::new(SignedMessage::vote(
            dialect, &node.key, kind, view, digest, parent, forgery,
        ))
    }

    /// To whom a node's consensus messages go: `partial` leaves so many behind itself.
    pub(super) fn allowed(&self, index: NodeIndex) -> Option<(usize, NodeSet)> {
        let (fault, most) = self.active_faults(index).find_map(|(fault, kind)| match kind {
            FaultKind::Partial(peers) => Some((fault, peers as usize)),
            _ => None,
        })?;
        let count = self.options.nodes;
        let mut allowed = NodeSet::default();
        for step in 1..=most.min(count - 1) {
            allowed.insert((self.nodes[index].validator + step) % count);
        }
        Some((fault, allowed))
    }

    /// Sends what a flood has to send since the last time, and goes on.
    pub(super) fn flood(&mut self, fault: usize) {
        let entry = &self.options.faults[fault];
        let FaultKind::Flood(rate, of) = entry.kind else {
            return;
        };
        let index = entry.node;
        let now = Nanos(self.now.cast_signed());
        if !entry.is_active(now) {
            return;
        }
        self.queue.push(self.now + FLOOD_TICK, Event::Flood(fault));
        // In 128 bits, so that neither a year nor the highest rate overflows.
        let due = (i128::from(rate) * i128::from(now.0 - entry.from.0) / 1_000_000_000) as u64;
        let count = due - self.flood_sent[fault];
        self.flood_sent[fault] = due;
        if !self.nodes[index].running || self.nodes[index].paused_until > self.now {
            return;
        }
        for _ in 0..count {
            self.flood_once(index, fault, of);
        }
    }

    fn flood_once(&mut self, index: NodeIndex, fault: usize, of: FloodOf) {
        let connected = self.nodes[index].connected;
        if connected.is_empty() {
            return;
        }
        let head = self.nodes[index].head;
        let view = |sequence, round| View { sequence, round };
        let (kind, view) = match of {
            FloodOf::Undecodable => {
                let junk = self.junk(JUNK_BYTES);
                self.send_each(index, connected, &Message::Junk(junk));
                self.deed(fault, None, 1);
                return;
            }
            FloodOf::Same => {
                if let Some(message) = self.nodes[index].last_vote.clone() {
                    let view = message.view;
                    self.send_each(index, connected, &Message::Consensus(message));
                    self.deed(fault, Some(view), 1);
                }
                return;
            }
            // In rounds of their own: two blocks in one view were another misdeed.
            FloodOf::Future => {
                let turn = self.next_turn(fault);
                (Kind::Prepare, view(head.number + 2 + turn % 100, 1 + turn / 100))
            }
            FloodOf::Stale => {
                let turn = self.next_turn(fault);
                let behind = head.number.saturating_sub(turn % head.number.clamp(1, 60));
                (Kind::Prepare, view(behind.max(1), 1 + turn))
            }
            FloodOf::RoundChanges => {
                let height = head.number + 1;
                let (of, round) = &mut self.nodes[index].asked_round;
                if *of != height {
                    (*of, *round) = (height, 0);
                }
                *round += 1;
                let round = *round;
                (Kind::RoundChange, view(height, round))
            }
        };
        let digest = match kind {
            Kind::RoundChange => Hash256::ZERO,
            _ => keccak256(&[view.sequence.to_be_bytes(), view.round.to_be_bytes()].concat()),
        };
        let message = self.vote_of(index, kind, view, digest, head.hash, None);
        self.send_each(index, connected, &Message::Consensus(message));
        self.deed(fault, Some(view), 1);
    }

    fn next_turn(&mut self, fault: usize) -> u64 {
        let turn = self.turns[fault];
        self.turns[fault] += 1;
        turn
    }

    /// Sends to peers whatever they are known to have.
    fn send_each(&mut self, index: NodeIndex, targets: NodeSet, message: &Message) {
        for validator in targets.iter() {
            let peer = self.node_of_validator[validator];
            if let Some(session) = self.nodes[index].peers[peer].sessions[0] {
                let side = self.side_of(session, index);
                let delay = self.prng.below(FLOOD_TICK / 2);
                self.send(session, side, delay, message.clone());
            }
        }
    }

    /// A message that is none, compressed: a string where every dialect has a list.
    fn junk(&mut self, bytes: usize) -> Rc<[u8]> {
        let mut content = vec![0; bytes];
        self.prng.fill(&mut content);
        compress(&string(&content)).unwrap_or_default().into()
    }

    /// Somebody connects, to say Hello and go again.
    pub(super) fn visit(&mut self, fault: usize) {
        let entry = &self.options.faults[fault];
        let FaultKind::Churn(every) = entry.kind else {
            return;
        };
        if !entry.is_active(Nanos(self.now.cast_signed())) {
            return;
        }
        self.queue
            .push(self.now + every.0.cast_unsigned(), Event::Visit(fault));
        let index = entry.node;
        if !self.nodes[index].running || self.nodes[index].paused_until > self.now {
            return;
        }
        let turn = self.next_turn(fault) as usize;
        let count = self.options.nodes;
        let peer = (0..count)
            .map(|step| (index + 1 + turn + step) % count)
            .find(|&peer| peer != index);
        let Some(peer) = peer else { return };
        let clients = [self.nodes[index].client, self.nodes[peer].client];
        let port = clients[1].port();
        self.dial(index, peer, port, Session::visit(clients));
        self.deed(fault, None, 1);
    }

    /// Whose key a node shows in Hello.
    pub(super) fn shown_key(&self, index: NodeIndex) -> NodeIndex {
        let shown = self.active_faults(index).find_map(|(_, kind)| match kind {
            FaultKind::FalseKey(other) => Some(other),
            _ => None,
        });
        shown.unwrap_or(index)
    }

    /// Somebody was sent away for a key in its Hello that is not that of its handshake.
    pub(super) fn unmasked(&mut self, index: NodeIndex) {
        let fault = self
            .active_faults(index)
            .find(|(_, kind)| matches!(kind, FaultKind::FalseKey(_)));
        if let Some((fault, _)) = fault {
            self.deed(fault, None, 1);
        }
    }

    /// Whether a node keeps its peers from having sessions with it, to connect again and again instead.
    pub(super) fn only_visits(&self, index: NodeIndex) -> bool {
        index >= self.options.nodes
            && self
                .active_faults(index)
                .any(|(_, kind)| matches!(kind, FaultKind::Churn(_)))
    }

    /// An observer has a new block: if it plays the validator, it votes for the next one.
    pub(super) fn observer_votes(&mut self, index: NodeIndex) {
        let Some(fault) = self.active_fault(index, FaultKind::Votes) else {
            return;
        };
        let (connected, head) = (self.nodes[index].connected, self.nodes[index].head);
        let view = View {
            sequence: head.number + 1,
            round: 0,
        };
        let digest = keccak256(&head.hash.0);
        for kind in [Kind::Prepare, Kind::Commit] {
            let vote = self.vote_of(index, kind, view, digest, head.hash, None);
            self.send_each(index, connected, &Message::Consensus(vote));
            self.deed(fault, Some(view), 1);
        }
    }
}

/// A flood goes out in portions.
pub(super) const FLOOD_TICK: Time = 10_000_000;
/// As long as a vote, or so.
const JUNK_BYTES: usize = 200;
/// Validators with an odd number.
pub(super) const EVERY_OTHER: u128 = u128::MAX / 3 * 2;
