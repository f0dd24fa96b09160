//! What a node sends of consensus, and what faults make of it.

use std::sync::Arc;
use std::time::Duration;

use bftap_ibft_decode::encode::string;
use bftap_ibft_decode::{Kind, View};
use bftap_model::{Hash256, keccak256};
use bftap_simnet::Gossip;
use bftap_simnet::consensus::{BlockPlan, Dialect, Forgery, NodeSet, Proposal, SignedMessage};
use bftap_simnet::key::NodeKey;
use bftap_simnet::rlpx::frame::compress;

use crate::clock;
use crate::faults::{FaultKind, FloodOf};
use crate::node::{Node, Timer};
use crate::outbox::Outgoing;
use crate::record::Entry;

impl Node {
    /// The faults that are on.
    pub(crate) fn faults(&self) -> Vec<FaultKind> {
        self.shared.faults().collect()
    }

    pub(crate) fn has_fault(&self, kind: FaultKind) -> bool {
        self.faults().contains(&kind)
    }

    /// How much longer each message takes.
    pub(crate) fn delay(&self) -> Duration {
        self.faults()
            .into_iter()
            .filter_map(|fault| match fault {
                FaultKind::Slow(by) => Some(by),
                _ => None,
            })
            .sum()
    }

    /// A message of its own: sends it, if it is to leave at once, and hands it to its own consensus.
    pub(crate) fn send_own(&mut self, message: Arc<SignedMessage>) {
        let faults = self.faults();
        if message.kind == Kind::RoundChange {
            self.shared.record.tell(Entry::RoundChange {
                sequence: message.view.sequence,
                round: message.view.round,
            });
        }
        let everyone = NodeSet::first(self.peers.len());
        let left_out = self.connected.without(self.allowed());
        if !left_out.is_empty()
            && let Some(partial) = faults.iter().find(|fault| matches!(fault, FaultKind::Partial(_)))
        {
            self.deed(*partial, &message, left_out);
        }
        if faults.contains(&FaultKind::Silent) {
            self.deed(FaultKind::Silent, &message, self.connected);
            self.relay.forward(&message.payload_hash, everyone);
        } else if message.kind == Kind::Preprepare {
            // The half that got another proposal does not get this one.
            let half = std::mem::take(&mut self.second_proposal);
            self.relay.forward(&message.payload_hash, half);
        } else {
            self.send_forged(&message, &faults);
            self.last_vote = Some(Arc::clone(&message));
        }
        // Klaytn's own messages leave once its own consensus has accepted them.
        let at_once = self.shared.options.gossip == Gossip::Direct
            || self.shared.options.client.dialect() == Dialect::QuorumIbft;
        if at_once {
            let targets = self.relay.forward(&message.payload_hash, self.connected);
            self.send_to(targets, &message);
        }
        self.inbox.push_back(message);
    }

    /// What goes out instead of an honest vote, or besides it.
    fn send_forged(&mut self, message: &Arc<SignedMessage>, faults: &[FaultKind]) {
        let forgery = faults.iter().find_map(|&fault| match fault {
            FaultKind::WrongSignatures => {
                let mut signature = self.prng.bytes();
                // A v that is none: nobody recovers a key.
                signature[64] = 2;
                Some((fault, Forgery::RandomSignature(signature)))
            }
            FaultKind::WrongAddresses => {
                let other = (self.shared.ours + 1) % self.peers.len();
                let claimed = self.shared.validator(other).address;
                Some((fault, Forgery::ClaimedAddress(claimed)))
            }
            _ => None,
        });
        if let Some((fault, forgery)) = forgery {
            let forged = self.vote(
                message.kind,
                message.view,
                message.digest,
                message.parent,
                Some(forgery),
            );
            // Nobody gets the honest one.
            self.relay
                .forward(&message.payload_hash, NodeSet::first(self.peers.len()));
            self.commit_deed(fault, self.connected, &forged);
        }
        for fault in faults {
            match *fault {
                FaultKind::StrangeVotes => {
                    let strange = self.vote_of(
                        &self.stranger,
                        message.kind,
                        message.view,
                        message.digest,
                        message.parent,
                        None,
                    );
                    self.commit_deed(*fault, self.connected, &strange);
                }
                FaultKind::Oversized(bytes) => self.send_padded(*fault, bytes, message),
                _ => {}
            }
        }
        if faults.contains(&FaultKind::Equivocation) && message.kind != Kind::RoundChange {
            let other = keccak256(&message.digest.0);
            let forged = self.vote(message.kind, message.view, other, message.parent, None);
            let half = NodeSet(self.connected.0 & EVERY_OTHER);
            self.relay.forward(&message.payload_hash, half);
            self.commit_deed(FaultKind::Equivocation, half, &forged);
        }
        if faults.contains(&FaultKind::ConflictingCommits) && message.kind == Kind::Commit {
            let view = View {
                sequence: message.view.sequence,
                round: message.view.round.checked_sub(1).unwrap_or(1),
            };
            let other = keccak256(&message.digest.0);
            let forged = self.vote(Kind::Commit, view, other, message.parent, None);
            self.commit_deed(FaultKind::ConflictingCommits, self.connected, &forged);
        }
        if faults.contains(&FaultKind::StaleRounds) && message.view.sequence > 1 {
            let view = View {
                sequence: message.view.sequence - 1,
                round: message.view.round,
            };
            let stale = self.vote(message.kind, view, message.parent, message.parent, None);
            self.commit_deed(FaultKind::StaleRounds, self.connected, &stale);
        }
    }

    /// One peer gets the vote with random bytes behind it, and no other copy of it.
    fn send_padded(&mut self, fault: FaultKind, bytes: u32, message: &Arc<SignedMessage>) {
        let turn = (message.view.sequence % self.connected.len().max(1) as u64) as usize;
        let Some(peer) = self.connected.iter().nth(turn) else {
            return;
        };
        let mut padding = vec![0; bytes as usize];
        self.prng.fill(&mut padding);
        let Ok(content) = compress(&[&message.wire[..], &padding].concat()) else {
            return;
        };
        let target = self.relay.forward(&message.payload_hash, NodeSet(1 << peer));
        if target.contains(peer) && self.allowed().contains(peer) {
            self.deed(fault, message, target);
            self.send(peer, 0, Outgoing::Padded(Arc::clone(message), content.into()));
        }
    }

    /// Sends a message that it should not send, and records that it did.
    fn commit_deed(&mut self, fault: FaultKind, targets: NodeSet, message: &Arc<SignedMessage>) {
        let reached = NodeSet(targets.0 & self.connected.0 & self.allowed().0);
        self.deed(fault, message, reached);
        self.send_to(targets, message);
    }

    fn deed(&self, fault: FaultKind, message: &SignedMessage, peers: NodeSet) {
        let about = (Some(message.kind), Some(message.view));
        self.shared.deed(fault, about, Some(message), peers.iter());
    }

    fn vote(
        &self,
        kind: Kind,
        view: View,
        digest: Hash256,
        parent: Hash256,
        forgery: Option<Forgery>,
    ) -> Arc<SignedMessage> {
        let key = &self.shared.options.key;
        self.vote_of(key, kind, view, digest, parent, forgery)
    }

    fn vote_of(
        &self,
        key: &NodeKey,
        kind: Kind,
        view: View,
        digest: Hash256,
        parent: Hash256,
        forgery: Option<Forgery>,
    ) -> Arc<SignedMessage> {
        let dialect = self.shared.dialect();
        Arc::new(SignedMessage::vote(
            dialect, key, kind, view, digest, parent, forgery,
        ))
    }

    /// Passes a message on to all who are not known to have it.
    pub(crate) fn gossip(&mut self, message: &Arc<SignedMessage>) {
        if !self.has_fault(FaultKind::Silent) {
            let targets = self.relay.forward(&message.payload_hash, self.connected);
            self.send_to(targets, message);
        }
    }

    /// Queues a message for peers, whatever they are known to have.
    pub(crate) fn send_to(&mut self, targets: NodeSet, message: &Arc<SignedMessage>) {
        let allowed = self.allowed();
        let targets = NodeSet(targets.0 & allowed.0);
        // Go walks its peers in no order.
        let turn = self.prng.below(targets.len().max(1) as u64) as usize;
        for peer in targets.iter().cycle().skip(turn).take(targets.len()) {
            self.send(peer, 0, Outgoing::Consensus(Arc::clone(message)));
        }
    }

    /// To whom consensus messages may go: `partial` leaves so many behind the node itself.
    fn allowed(&self) -> NodeSet {
        let count = self.peers.len();
        let most = self.faults().into_iter().filter_map(|fault| match fault {
            FaultKind::Partial(peers) => Some(peers as usize),
            _ => None,
        });
        let Some(most) = most.min().filter(|&most| most < count) else {
            return NodeSet::first(count);
        };
        let mut allowed = NodeSet::default();
        for step in 1..=most {
            allowed.insert((self.shared.ours + step) % count);
        }
        allowed
    }

    /// Builds a block and proposes it.
    pub(crate) fn propose(&mut self, view: View) {
        let about = (Some(Kind::Preprepare), Some(view));
        if self.has_fault(FaultKind::NoProposals) {
            self.shared
                .deed(FaultKind::NoProposals, about, None, self.connected.iter());
            return;
        }
        let slow = self.shared.faults().find_map(|fault| match fault {
            FaultKind::SlowProposals(by) => Some((fault, by)),
            _ => None,
        });
        match slow {
            Some((fault, by)) => {
                self.shared.deed(fault, about, None, self.connected.iter());
                self.after(by, Timer::Propose(view));
            }
            None => self.propose_now(view),
        }
    }

    /// The same without waiting.
    pub(crate) fn propose_now(&mut self, view: View) {
        let block = self.build_block();
        if self.has_fault(FaultKind::Equivocation) {
            let other = self.build_block();
            let (dialect, key) = (self.shared.dialect(), &self.shared.options.key);
            let other = Arc::new(SignedMessage::preprepare(dialect, key, view, other));
            let half = NodeSet(self.connected.0 & EVERY_OTHER);
            self.second_proposal = half;
            self.commit_deed(FaultKind::Equivocation, half, &other);
        }
        self.core.propose(block);
    }

    fn build_block(&mut self) -> Arc<Proposal> {
        let head = self.chain.head();
        let wanted = self.shared.options.transactions.min(self.mempool.len());
        let transactions: Vec<Vec<u8>> = self.mempool.drain(..wanted).collect();
        let plan = BlockPlan {
            form: self.shared.options.client.header_form(),
            parent: head.hash,
            number: head.number + 1,
            centis: clock::now_centis().max(self.chain.head_centis() + 1),
            validators: &self.addresses,
            transaction_count: transactions.len(),
            transactions: transactions.concat(),
            entropy: self.prng.bytes(),
        };
        Arc::new(Proposal::seal(plan, &self.shared.options.key))
    }

    /// Sends what a flood has to send since the last time.
    pub(crate) fn flood(&mut self, since: Duration) {
        for fault in self.faults() {
            let FaultKind::Flood(rate, of) = fault else {
                continue;
            };
            self.flood_due += f64::from(rate) * since.as_secs_f64();
            let count = self.flood_due as u32;
            self.flood_due -= f64::from(count);
            for _ in 0..count {
                let message = match of {
                    // A string where every dialect has a list.
                    FloodOf::Undecodable => Outgoing::Junk(string(&self.prng.bytes::<JUNK_BYTES>()).into()),
                    _ => match self.flood_message(of) {
                        Some(message) => Outgoing::Consensus(message),
                        None => return,
                    },
                };
                let mut reached = NodeSet::default();
                for peer in self.connected.iter() {
                    // A peer that cannot keep up is not dropped for it: the flood is to go on.
                    let room = self.peers[peer].outboxes[0]
                        .as_ref()
                        .is_some_and(|(_, outbox)| outbox.has_room(FLOOD_ROOM));
                    if room {
                        reached.insert(peer);
                        self.send(peer, 0, message.clone());
                    }
                }
                match &message {
                    Outgoing::Consensus(message) => self.deed(fault, message, reached),
                    _ => self.shared.deed(fault, (None, None), None, reached.iter()),
                }
            }
        }
    }

    fn flood_message(&mut self, of: FloodOf) -> Option<Arc<SignedMessage>> {
        let head = self.chain.head();
        // In rounds of their own: two blocks in one view were another misdeed.
        let turn = self.flood_turn;
        self.flood_turn += 1;
        let (sequence, round) = match of {
            FloodOf::Same => return self.last_vote.clone(),
            FloodOf::Undecodable => return None,
            FloodOf::Future => (head.number + 2 + turn % 100, 1 + turn / 100),
            FloodOf::Stale => {
                let behind = head.number.saturating_sub(turn % head.number.clamp(1, 60));
                (behind.max(1), 1 + turn)
            }
            FloodOf::RoundChanges => {
                let (height, round) = &mut self.asked_round;
                if *height != head.number + 1 {
                    (*height, *round) = (head.number + 1, 0);
                }
                *round += 1;
                let view = View {
                    sequence: *height,
                    round: *round,
                };
                return Some(self.vote(Kind::RoundChange, view, Hash256::ZERO, head.hash, None));
            }
        };
        let view = View { sequence, round };
        let digest = keccak256(&[sequence.to_be_bytes(), round.to_be_bytes()].concat());
        Some(self.vote(Kind::Prepare, view, digest, head.hash, None))
    }
}

/// As long as a vote, or so.
const JUNK_BYTES: usize = 200;
/// Validators with an odd place.
const EVERY_OTHER: u128 = u128::MAX / 3 * 2;
/// What a flood leaves of a peer's queue for the rest.
const FLOOD_ROOM: usize = 1024;
