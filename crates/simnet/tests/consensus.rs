//! Validators without a network: what they decide, refuse, and keep for later.

use std::collections::VecDeque;
use std::sync::Arc;

use bftap_ibft_decode::{Kind, View};
use bftap_model::{Address, Hash256, Nanos};
use bftap_simnet::consensus::{
    Action, BlockPlan, Config, Core, Dialect, Head, HeaderForm, Phase, Proposal, Rejection, SignedMessage,
    TimerToken,
};
use bftap_simnet::key::NodeKey;
use bftap_simnet::prng::Prng;

/// Validators in the order of their addresses, each with a queue of messages.
struct Committee {
    config: Arc<Config>,
    keys: Vec<NodeKey>,
    cores: Vec<Core>,
    queues: Vec<VecDeque<Arc<SignedMessage>>>,
    timers: Vec<Option<TimerToken>>,
    /// Takes no messages and sends none.
    down: Vec<bool>,
    sent: Vec<Arc<SignedMessage>>,
}

const GENESIS: Head = Head {
    number: 0,
    hash: Hash256([1; 32]),
    proposer: None,
};

impl Committee {
    fn new(count: usize) -> Self {
        Self::with(count, false)
    }

    fn with(count: usize, commits_prepare: bool) -> Self {
        let mut prng = Prng::new(count as u64);
        let mut keys: Vec<NodeKey> = (0..count).map(|_| NodeKey::draw(&mut prng)).collect();
        keys.sort_by_key(NodeKey::address);
        let config = Arc::new(Config {
            dialect: Dialect::Klaytn,
            validators: keys.iter().map(NodeKey::address).collect(),
            commits_prepare,
            quorum: 2 * (count.div_ceil(3) - 1) + 1,
            round_timeout: Nanos::from_secs(10),
        });
        let mut cores: Vec<Core> = keys
            .iter()
            .map(|key| Core::new(Arc::clone(&config), key.clone(), GENESIS))
            .collect();
        cores.iter_mut().for_each(Core::start);
        Self {
            queues: vec![VecDeque::new(); count],
            timers: vec![None; count],
            down: vec![false; count],
            sent: Vec::new(),
            config,
            keys,
            cores,
        }
    }

    fn address(&self, index: usize) -> Address {
        self.keys[index].address()
    }

    fn block(&self, index: usize, entropy: u8) -> Arc<Proposal> {
        let head = self.cores[index].head();
        let plan = BlockPlan {
            form: HeaderForm::Klaytn,
            parent: head.hash,
            number: head.number + 1,
            centis: 100 * head.number,
            validators: &self.config.validators,
            transactions: Vec::new(),
            transaction_count: 0,
            entropy: [entropy; 32],
        };
        Arc::new(Proposal::seal(plan, &self.keys[index]))
    }

    /// Lets all that are up speak until nobody has anything to say.
    fn settle(&mut self) {
        loop {
            let mut quiet = true;
            for index in 0..self.cores.len() {
                while let Some(action) = self.cores[index].poll() {
                    quiet = false;
                    self.act(index, action);
                }
                if let Some(message) = self.queues[index].pop_front() {
                    quiet = false;
                    if !self.down[index] {
                        let _ = self.cores[index].handle(&message);
                    }
                }
            }
            if quiet {
                return;
            }
        }
    }

    fn act(&mut self, index: usize, action: Action) {
        match action {
            Action::Send(message) => {
                self.sent.push(Arc::clone(&message));
                if self.down[index] {
                    self.queues[index].push_back(message);
                } else {
                    self.queues
                        .iter_mut()
                        .for_each(|queue| queue.push_back(Arc::clone(&message)));
                }
            }
            Action::Again(message) => self.queues[index].push_back(message),
            Action::Propose(_) => {
                let block = self.block(index, index as u8);
                self.cores[index].propose(block);
            }
            Action::Timer(token, _) => self.timers[index] = Some(token),
            Action::Commit(committed) => {
                assert!(committed.seals.len() >= self.config.quorum);
                self.cores[index].import(Head {
                    number: committed.block.number(),
                    hash: committed.block.hash(),
                    proposer: Some(committed.block.proposer()),
                });
            }
        }
    }

    fn request_all(&mut self) {
        self.cores.iter_mut().for_each(Core::request);
        self.settle();
    }

    fn time_out_all(&mut self) {
        for index in 0..self.cores.len() {
            if let Some(token) = self.timers[index].take() {
                self.cores[index].timeout(token);
            }
        }
        self.settle();
    }

    fn heads(&self) -> Vec<u64> {
        self.cores.iter().map(|core| core.head().number).collect()
    }
}

#[test]
fn blocks_are_decided_and_proposers_take_turns() {
    for count in [4, 7, 10] {
        let mut committee = Committee::new(count);
        committee.settle();
        let mut proposers = Vec::new();
        for height in 1..=2 * count as u64 {
            committee.request_all();
            assert!(
                committee.heads().iter().all(|&head| head == height),
                "{:?}",
                committee.heads()
            );
            let hashes: Vec<Hash256> = committee.cores.iter().map(|core| core.head().hash).collect();
            assert!(hashes.iter().all(|hash| *hash == hashes[0]));
            proposers.push(committee.cores[0].head().proposer.unwrap());
        }
        let turns: Vec<Address> = committee
            .config
            .validators
            .iter()
            .copied()
            .cycle()
            .take(2 * count)
            .collect();
        assert_eq!(proposers, turns);
        let prepares = committee
            .sent
            .iter()
            .filter(|message| message.kind == Kind::Prepare)
            .count();
        assert_eq!(
            prepares,
            2 * count * count,
            "one of each validator for each height"
        );
    }
}

#[test]
fn a_dead_proposer_is_replaced_in_round_1() {
    let mut committee = Committee::new(4);
    committee.down[0] = true;
    committee.settle();
    committee.request_all();
    assert_eq!(committee.heads(), [0, 0, 0, 0]);
    committee.time_out_all();
    assert_eq!(committee.heads()[1..], [1, 1, 1]);
    assert_eq!(committee.cores[1].head().proposer, Some(committee.address(1)));
    let asked = committee
        .sent
        .iter()
        .filter(|message| message.kind == Kind::RoundChange);
    assert!(asked.clone().all(|message| message.view
        == View {
            sequence: 1,
            round: 1
        }));
    assert!(asked.count() >= 3);
}

#[test]
fn too_many_dead_validators_stop_the_chain_and_rounds_go_on() {
    let mut committee = Committee::new(4);
    committee.down[2] = true;
    committee.down[3] = true;
    committee.settle();
    committee.request_all();
    for round in 1..=3 {
        committee.time_out_all();
        assert_eq!(committee.cores[0].view(), View { sequence: 1, round });
    }
    assert_eq!(committee.heads(), [0, 0, 0, 0]);
}

#[test]
fn a_prepared_block_stays_locked_through_a_round_change() {
    let mut committee = Committee::new(4);
    committee.settle();
    // All are prepared, but nobody's commit arrives.
    committee.cores[0].request();
    let mut held = Vec::new();
    loop {
        let mut quiet = true;
        for index in 0..4 {
            while let Some(action) = committee.cores[index].poll() {
                quiet = false;
                match action {
                    Action::Send(message) if message.kind == Kind::Commit => held.push(message),
                    action => committee.act(index, action),
                }
            }
            if let Some(message) = committee.queues[index].pop_front() {
                quiet = false;
                committee.cores[index].handle(&message).unwrap();
            }
        }
        if quiet {
            break;
        }
    }
    assert_eq!(held.len(), 4);
    assert!(committee.cores.iter().all(|core| core.phase() == Phase::Prepared));
    let locked = held[0].digest;

    committee.sent.clear();
    committee.time_out_all();
    assert!(committee.cores.iter().all(|core| core.head().hash == locked));
    let again: Vec<_> = committee
        .sent
        .iter()
        .filter(|message| message.kind == Kind::Preprepare)
        .collect();
    assert_eq!(again.len(), 1);
    assert_eq!((again[0].view.round, again[0].digest), (1, locked));
    assert_eq!(
        again[0].claimed,
        committee.address(1),
        "another proposer, the same block"
    );
    assert_eq!(again[0].block.as_ref().unwrap().proposer(), committee.address(0));
    let prepares = committee
        .sent
        .iter()
        .filter(|message| message.kind == Kind::Prepare)
        .count();
    assert_eq!(prepares, 0, "locked validators commit at once");
}

#[test]
fn each_message_out_of_place_is_refused_for_its_reason() {
    let mut committee = Committee::new(4);
    committee.settle();
    let view = |sequence, round| View { sequence, round };
    let vote = |committee: &Committee, index: usize, kind, view| {
        let (key, digest) = (&committee.keys[index], Hash256([7; 32]));
        Arc::new(SignedMessage::vote(
            Dialect::Klaytn,
            key,
            kind,
            view,
            digest,
            GENESIS.hash,
            None,
        ))
    };
    let early = vote(&committee, 1, Kind::Prepare, view(1, 0));
    assert_eq!(
        committee.cores[0].handle(&early),
        Err(Rejection::Future),
        "no proposal yet"
    );
    let later = vote(&committee, 1, Kind::Prepare, view(2, 0));
    assert_eq!(committee.cores[0].handle(&later), Err(Rejection::Future));
    let old = vote(&committee, 1, Kind::Commit, view(0, 0));
    assert_eq!(committee.cores[0].handle(&old), Err(Rejection::Old));
    let ahead = vote(&committee, 1, Kind::RoundChange, view(1, 5));
    assert_eq!(committee.cores[0].handle(&ahead), Err(Rejection::Ignored));

    let block = committee.block(2, 9);
    let usurper = SignedMessage::preprepare(Dialect::Klaytn, &committee.keys[2], view(1, 0), block);
    assert_eq!(
        committee.cores[0].handle(&Arc::new(usurper)),
        Err(Rejection::NotFromProposer)
    );

    let stranger = NodeKey::draw(&mut Prng::new(99));
    let foreign = SignedMessage::vote(
        Dialect::Klaytn,
        &stranger,
        Kind::Prepare,
        view(1, 0),
        Hash256::ZERO,
        GENESIS.hash,
        None,
    );
    assert_eq!(
        committee.cores[0].handle(&Arc::new(foreign)),
        Err(Rejection::Unauthorized)
    );

    committee.request_all();
    let inconsistent = vote(&committee, 1, Kind::Prepare, view(2, 0));
    assert_eq!(
        committee.cores[0].handle(&inconsistent),
        Err(Rejection::Future),
        "height 2 has no proposal"
    );
    assert_eq!(committee.heads(), [1, 1, 1, 1]);
}

#[test]
fn a_validator_that_was_away_goes_on_where_the_others_are() {
    let mut committee = Committee::new(4);
    committee.down[3] = true;
    committee.settle();
    committee.request_all();
    assert_eq!(committee.heads(), [1, 1, 1, 0]);
    let head = committee.cores[0].head();
    committee.down[3] = false;
    committee.queues[3].clear();
    committee.cores[3].import(head);
    committee.settle();
    committee.request_all();
    assert_eq!(committee.heads(), [2, 2, 2, 2]);
}

/// Klaytn v1.4.2 and GoQuorum look at the votes when a prepare comes, later Klaytn and Kaia when a commit does, too. A quorum of
/// commits decides in both.
#[test]
fn a_commit_can_complete_the_votes_that_prepare() {
    for commits_prepare in [false, true] {
        let mut committee = Committee::with(4, commits_prepare);
        committee.settle();
        let view = View {
            sequence: 1,
            round: 0,
        };
        let block = committee.block(0, 7);
        let proposal =
            SignedMessage::preprepare(Dialect::Klaytn, &committee.keys[0], view, Arc::clone(&block));
        let vote = |committee: &Committee, index: usize, kind| {
            let key = &committee.keys[index];
            let (digest, parent) = (block.hash(), block.parent());
            Arc::new(SignedMessage::vote(
                Dialect::Klaytn,
                key,
                kind,
                view,
                digest,
                parent,
                None,
            ))
        };
        let commit = vote(&committee, 0, Kind::Commit);
        let more = [1, 2].map(|index| vote(&committee, index, Kind::Commit));
        let prepares = [1, 3].map(|index| vote(&committee, index, Kind::Prepare));
        let core = &mut committee.cores[3];
        core.handle(&Arc::new(proposal)).unwrap();
        for prepare in &prepares {
            core.handle(prepare).unwrap();
        }
        assert_eq!(core.phase(), Phase::Preprepared, "two of three");
        core.handle(&commit).unwrap();
        let expected = if commits_prepare {
            Phase::Prepared
        } else {
            Phase::Preprepared
        };
        assert_eq!(core.phase(), expected);
        core.handle(&more[0]).unwrap();
        core.handle(&more[1]).unwrap();
        assert_eq!(core.phase(), Phase::Committed);
        let sent = std::iter::from_fn(|| core.poll());
        let own =
            sent.filter(|action| matches!(action, Action::Send(message) if message.kind == Kind::Commit));
        assert_eq!(
            own.count(),
            usize::from(commits_prepare),
            "who is not prepared sends no commit"
        );
    }
}
