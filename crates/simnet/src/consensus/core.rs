//! The state machine of one validator.
//!
//! Follows `consensus/istanbul/core` of Klaytn v1.4.2, which GoQuorum's IBFT shares: what is accepted, ignored, or kept for later
//! decides what is gossiped, so the cases stand here as they stand there. Locks are kept in their simple form: a
//! prepared block stays locked through round changes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bftap_ibft_decode::{Kind, SIGNATURE_LEN, View};
use bftap_model::{Address, Hash256, Nanos};

use super::relay::NodeSet;
use super::{Dialect, Proposal, SignedMessage};
use crate::key::NodeKey;

/// What all validators of a network have in common.
#[derive(Clone, Debug)]
pub struct Config {
    /// Encoding of the messages.
    pub dialect: Dialect,
    /// All validators, ascending.
    pub validators: Vec<Address>,
    /// Votes that make a block prepared, committed, and that start a new round.
    pub quorum: usize,
    /// A commit can complete the votes that make a block prepared. Without it such a node waits for another prepare, and may wait
    /// in vain when those who are locked send none.
    pub commits_prepare: bool,
    /// Time of round 0; later rounds take `2^round` seconds more.
    pub round_timeout: Nanos,
}

impl Config {
    /// Validators that may fail: `ceil(n / 3) - 1`.
    pub const fn faulty(&self) -> usize {
        self.validators.len().div_ceil(3).saturating_sub(1)
    }

    /// Who proposes: round robin from the one behind the last block's proposer (`validator/default.go`).
    pub fn proposer(&self, last: Option<Address>, round: u64) -> usize {
        let count = self.validators.len().max(1) as u64;
        let start = last
            .and_then(|address| self.validators.binary_search(&address).ok())
            .map_or(0, |index| index as u64 + 1);
        ((start + round % count) % count) as usize
    }

    /// How long a round may last.
    pub const fn timeout(&self, round: u64) -> Nanos {
        if round == 0 {
            return self.round_timeout;
        }
        let exponent = if round < 16 { round } else { 16 };
        Nanos(
            self.round_timeout
                .0
                .saturating_add(Nanos::from_secs(1 << exponent).0),
        )
    }
}

/// The last block of a node's chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Height.
    pub number: u64,
    /// Hash.
    pub hash: Hash256,
    /// Who sealed it; `None` for the genesis block.
    pub proposer: Option<Address>,
}

/// How far a round is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// No proposal yet.
    AcceptRequest,
    /// A proposal was accepted.
    Preprepared,
    /// Enough validators accepted it.
    Prepared,
    /// Enough validators committed it.
    Committed,
}

/// What a validator wants done.
#[derive(Clone, Debug)]
pub enum Action {
    /// Send a message of its own; it must come back through [`Core::handle`] like anyone else's.
    Send(Arc<SignedMessage>),
    /// A message that had come too early: give it to [`Core::handle`] again.
    Again(Arc<SignedMessage>),
    /// It is to propose: build a block on the head and give it to [`Core::propose`].
    Propose(View),
    /// Call [`Core::timeout`] after this time.
    Timer(TimerToken, Nanos),
    /// A block is decided: import it, then call [`Core::import`].
    Commit(Committed),
}

/// Which timer ran off; one that was replaced since is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerToken(u64);

/// A decided block.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The block.
    pub block: Arc<Proposal>,
    /// Round in which it was decided.
    pub round: u64,
    /// The committed seals that decided it, in the order of the validators.
    pub seals: Vec<[u8; SIGNATURE_LEN]>,
}

/// Why a message was not accepted, and so is not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Not from a validator, or wrongly signed.
    #[error("not rightly signed by a validator")]
    Unauthorized,
    /// For a view that is over.
    #[error("for a view that is over")]
    Old,
    /// For a view to come; kept.
    #[error("for a view to come")]
    Future,
    /// A proposal of someone who may not propose.
    #[error("proposal of a validator that is not the proposer")]
    NotFromProposer,
    /// A vote for another block.
    #[error("vote for another block")]
    Inconsistent,
    /// A round change without enough support yet.
    #[error("round change without enough support")]
    Ignored,
}

/// One validator.
#[derive(Debug)]
pub struct Core {
    config: Arc<Config>,
    key: NodeKey,
    head: Head,
    view: View,
    phase: Phase,
    /// Left the round by timeout; waits for others to do so.
    waiting: bool,
    accepted: Option<Arc<Proposal>>,
    locked: Option<Arc<Proposal>>,
    prepares: NodeSet,
    commits: BTreeMap<usize, [u8; SIGNATURE_LEN]>,
    /// The miner is ready to propose for this height.
    requested: bool,
    /// The view that it proposed for: one block for one view, however often it is its turn there.
    proposed: Option<View>,
    round_changes: BTreeMap<u64, NodeSet>,
    backlog: Vec<VecDeque<Arc<SignedMessage>>>,
    timer: u64,
    /// Blocks below the head, for proposals that come late.
    past: VecDeque<(u64, Hash256)>,
    actions: VecDeque<Action>,
}

impl Core {
    /// A validator that knows `head`; call [`start`](Self::start) to begin.
    pub fn new(config: Arc<Config>, key: NodeKey, head: Head) -> Self {
        let backlog = vec![VecDeque::new(); config.validators.len()];
        Self {
            config,
            key,
            view: View {
                sequence: head.number,
                round: 0,
            },
            head,
            phase: Phase::AcceptRequest,
            waiting: false,
            accepted: None,
            locked: None,
            prepares: NodeSet::default(),
            commits: BTreeMap::new(),
            requested: false,
            proposed: None,
            round_changes: BTreeMap::new(),
            backlog,
            timer: 0,
            past: VecDeque::new(),
            actions: VecDeque::new(),
        }
    }

    /// Begins with the height above the head.
    pub fn start(&mut self) {
        self.new_sequence();
    }

    /// What is to be done next; call until `None` after every other call.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The view it works on.
    pub const fn view(&self) -> View {
        self.view
    }

    /// The last block it knows.
    pub const fn head(&self) -> Head {
        self.head
    }

    /// How far the round is.
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// The miner is ready to propose for the height above the head: its block period is over.
    pub fn request(&mut self) {
        self.requested = true;
        if self.phase == Phase::AcceptRequest && self.is_proposer() {
            self.actions.push_back(Action::Propose(self.view));
        }
    }

    /// Takes the block asked for with [`Action::Propose`] and sends it.
    pub fn propose(&mut self, block: Arc<Proposal>) {
        if block.number() == self.view.sequence && self.is_proposer() && self.proposed != Some(self.view) {
            self.proposed = Some(self.view);
            self.send_preprepare(block);
        }
    }

    /// Takes a message, its own ones too. `Ok` means accepted: gossip passes it on.
    pub fn handle(&mut self, message: &Arc<SignedMessage>) -> Result<(), Rejection> {
        let source = self.config.validators.binary_search(&message.claimed);
        let (Ok(source), true) = (source, message.honest) else {
            return Err(Rejection::Unauthorized);
        };
        let result = match message.kind {
            Kind::Preprepare => self.handle_preprepare(source, message),
            Kind::Prepare => self.handle_prepare(source, message),
            Kind::Commit => self.handle_commit(source, message),
            Kind::RoundChange => self.handle_round_change(source, message),
        };
        if result == Err(Rejection::Future) && message.claimed != self.key.address() {
            let waiting = &mut self.backlog[source];
            waiting.push_back(Arc::clone(message));
            let mut bytes: usize = waiting.iter().map(|message| message.wire.len()).sum();
            while waiting.len() > BACKLOG_PER_VALIDATOR || (bytes > BACKLOG_BYTES && waiting.len() > 1) {
                bytes -= waiting.pop_front().map_or(0, |oldest| oldest.wire.len());
            }
        }
        result
    }

    /// A timer ran off.
    pub fn timeout(&mut self, token: TimerToken) {
        if token.0 != self.timer {
            return;
        }
        if !self.waiting {
            let supported = self.round_changes.iter().rev();
            let highest = supported
                .filter(|(_, votes)| votes.len() > self.config.faulty())
                .map(|(&round, _)| round)
                .next();
            if let Some(round) = highest.filter(|&round| round > self.view.round) {
                self.send_round_change(round);
                return;
            }
        }
        if self.head.number >= self.view.sequence {
            self.new_sequence();
        } else {
            self.send_round_change(self.view.round + 1);
        }
    }

    /// A block was imported, decided here or fetched from a peer.
    pub fn import(&mut self, head: Head) {
        if head.number <= self.head.number {
            return;
        }
        self.past.push_back((self.head.number, self.head.hash));
        if self.past.len() > PAST_BLOCKS {
            self.past.pop_front();
        }
        self.head = head;
        if self.timer > 0 {
            self.new_sequence();
        }
    }

    fn handle_preprepare(&mut self, source: usize, message: &Arc<SignedMessage>) -> Result<(), Rejection> {
        if let Err(rejection) = self.check(message) {
            if rejection == Rejection::Old && self.knows_block(message) {
                // `sendCommitForOldBlock`. Klaytn's own gossip drops that commit as old before it leaves.
                if self.config.dialect == Dialect::QuorumIbft {
                    let parent = message
                        .block
                        .as_ref()
                        .map_or(Hash256::ZERO, |block| block.parent());
                    self.send_vote(Kind::Commit, message.view, message.digest, parent);
                }
                return Ok(());
            }
            return Err(rejection);
        }
        if source != self.config.proposer(self.head.proposer, self.view.round) {
            return Err(Rejection::NotFromProposer);
        }
        let Some(block) = message
            .block
            .as_ref()
            .filter(|block| block.parent() == self.head.hash)
        else {
            self.send_round_change(self.view.round + 1);
            return Err(Rejection::Inconsistent);
        };
        if self.phase != Phase::AcceptRequest {
            return Ok(());
        }
        match &self.locked {
            Some(locked) if locked.hash() == block.hash() => {
                self.accepted = Some(Arc::clone(block));
                self.set_phase(Phase::Prepared);
                self.send_commit();
            }
            Some(_) => self.send_round_change(self.view.round + 1),
            None => {
                self.accepted = Some(Arc::clone(block));
                self.set_phase(Phase::Preprepared);
                self.send_vote(Kind::Prepare, self.view, block.hash(), block.parent());
            }
        }
        Ok(())
    }

    fn handle_prepare(&mut self, source: usize, message: &SignedMessage) -> Result<(), Rejection> {
        self.check(message)?;
        let block = self.voted_for(message)?;
        self.prepares.insert(source);
        self.prepare_if_enough(&block, message);
        Ok(())
    }

    /// Prepares and commits count alike: who is locked already sends no prepare.
    fn prepare_if_enough(&mut self, block: &Arc<Proposal>, message: &SignedMessage) {
        let locked = self
            .locked
            .as_ref()
            .is_some_and(|locked| locked.hash() == message.digest);
        if (locked || self.prepared_votes() >= self.config.quorum) && self.phase < Phase::Prepared {
            self.locked = Some(Arc::clone(block));
            self.set_phase(Phase::Prepared);
            self.send_commit();
        }
    }

    fn handle_commit(&mut self, source: usize, message: &SignedMessage) -> Result<(), Rejection> {
        self.check(message)?;
        let block = self.voted_for(message)?;
        if let Some(seal) = message.committed_seal {
            self.commits.insert(source, seal);
        }
        if self.config.commits_prepare {
            self.prepare_if_enough(&block, message);
        }
        if self.commits.len() >= self.config.quorum && self.phase < Phase::Committed {
            // A node may come here without having been prepared, where commits prepare nothing; then it never sends its own.
            self.locked = Some(Arc::clone(&block));
            self.set_phase(Phase::Committed);
            self.actions.push_back(Action::Commit(Committed {
                block,
                round: self.view.round,
                seals: self.commits.values().copied().collect(),
            }));
        }
        Ok(())
    }

    fn handle_round_change(&mut self, source: usize, message: &SignedMessage) -> Result<(), Rejection> {
        self.check(message)?;
        let round = message.view.round;
        let votes = self.round_changes.entry(round).or_default();
        votes.insert(source);
        let votes = votes.len();
        if self.waiting && votes == self.config.faulty() + 1 {
            if self.view.round < round {
                self.send_round_change(round);
            }
            Ok(())
        } else if votes == self.config.quorum && (self.waiting || self.view.round < round) {
            self.new_round(round);
            Ok(())
        } else if self.view.round < round {
            Err(Rejection::Ignored)
        } else {
            Ok(())
        }
    }

    fn check(&self, message: &SignedMessage) -> Result<(), Rejection> {
        if message.kind == Kind::RoundChange {
            return if message.view.sequence > self.view.sequence {
                Err(Rejection::Future)
            } else if message.view < self.view {
                Err(Rejection::Old)
            } else {
                Ok(())
            };
        }
        if message.view > self.view {
            Err(Rejection::Future)
        } else if message.view < self.view {
            Err(Rejection::Old)
        } else if self.waiting || (self.phase == Phase::AcceptRequest && message.kind != Kind::Preprepare) {
            Err(Rejection::Future)
        } else {
            Ok(())
        }
    }

    fn voted_for(&self, message: &SignedMessage) -> Result<Arc<Proposal>, Rejection> {
        let accepted = self
            .accepted
            .as_ref()
            .filter(|block| block.hash() == message.digest);
        accepted.map(Arc::clone).ok_or(Rejection::Inconsistent)
    }

    fn knows_block(&self, message: &SignedMessage) -> bool {
        let block = (message.view.sequence, message.digest);
        block == (self.head.number, self.head.hash) || self.past.contains(&block)
    }

    fn prepared_votes(&self) -> usize {
        let mut voters = self.prepares;
        for &index in self.commits.keys() {
            voters.insert(index);
        }
        voters.len()
    }

    fn is_proposer(&self) -> bool {
        let index = self.config.proposer(self.head.proposer, self.view.round);
        self.config.validators.get(index) == Some(&self.key.address())
    }

    fn send_preprepare(&mut self, block: Arc<Proposal>) {
        let message = SignedMessage::preprepare(self.config.dialect, &self.key, self.view, block);
        self.actions.push_back(Action::Send(Arc::new(message)));
    }

    fn send_commit(&mut self) {
        if let Some(block) = self.accepted.clone() {
            self.send_vote(Kind::Commit, self.view, block.hash(), block.parent());
        }
    }

    fn send_vote(&mut self, kind: Kind, view: View, digest: Hash256, parent: Hash256) {
        let message = SignedMessage::vote(self.config.dialect, &self.key, kind, view, digest, parent, None);
        self.actions.push_back(Action::Send(Arc::new(message)));
    }

    fn send_round_change(&mut self, round: u64) {
        if self.view.round >= round {
            return;
        }
        // `catchUpRound`: the node is in the new round at once, but waits for others to come along.
        self.waiting = true;
        self.reset_round(round);
        self.round_changes = self.round_changes.split_off(&round);
        self.arm_timer();
        let view = self.view;
        self.send_vote(Kind::RoundChange, view, Hash256::ZERO, self.head.hash);
    }

    fn new_sequence(&mut self) {
        self.view = View {
            sequence: self.head.number + 1,
            round: 0,
        };
        self.locked = None;
        self.requested = false;
        self.reset_round(0);
        self.enter_round();
    }

    fn new_round(&mut self, round: u64) {
        if round < self.view.round || self.head.number + 1 != self.view.sequence {
            return;
        }
        self.reset_round(round);
        self.enter_round();
        if self.is_proposer() {
            if let Some(block) = self.locked.clone() {
                self.send_preprepare(block);
            } else if self.requested {
                self.actions.push_back(Action::Propose(self.view));
            }
        }
    }

    fn enter_round(&mut self) {
        self.round_changes.clear();
        self.waiting = false;
        self.set_phase(Phase::AcceptRequest);
        self.arm_timer();
    }

    fn reset_round(&mut self, round: u64) {
        self.view.round = round;
        self.accepted = None;
        self.prepares = NodeSet::default();
        self.commits.clear();
    }

    fn set_phase(&mut self, phase: Phase) {
        self.phase = phase;
        self.process_backlog();
    }

    /// Messages whose view has come are handled again; those whose view is over are forgotten.
    fn process_backlog(&mut self) {
        for source in 0..self.backlog.len() {
            // Proposals first, then by view: `prque` sorts by view and kind.
            let mut waiting = std::mem::take(&mut self.backlog[source]);
            waiting
                .make_contiguous()
                .sort_by_key(|message| (message.view, message.kind.index()));
            while let Some(message) = waiting.pop_front() {
                match self.check(&message) {
                    Ok(()) => self.actions.push_back(Action::Again(message)),
                    Err(Rejection::Future) => {
                        waiting.push_front(message);
                        break;
                    }
                    Err(_) => {}
                }
            }
            self.backlog[source] = waiting;
        }
    }

    fn arm_timer(&mut self) {
        self.timer += 1;
        let timeout = self.config.timeout(self.view.round);
        self.actions
            .push_back(Action::Timer(TimerToken(self.timer), timeout));
    }
}

/// A validator may be this many messages ahead; the nodes themselves set no limit.
const BACKLOG_PER_VALIDATOR: usize = 256;
/// And their bytes: more than a proposal of any client, so that one can always wait.
const BACKLOG_BYTES: usize = 16 << 20;
/// A proposal may come this many blocks late.
const PAST_BLOCKS: usize = 16;
