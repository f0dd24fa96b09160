//! Rounds as each node lived them: when its proposal came, when it had its quorums, when it asked to leave.

use std::collections::BTreeMap;

use bftap_ibft_decode::Kind;
use bftap_model::{Address, CaptureTime, Hash256};
use hashbrown::HashMap;

use crate::closing::ChainContext;
use crate::facts::{CountFact, Coverage, NodeRoundFact};
use crate::height::Height;
use crate::rows::{self, Row};

/// One round at one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lived {
    pub(crate) preprepare: Option<CaptureTime>,
    pub(crate) prepared: Option<CaptureTime>,
    pub(crate) committed: Option<CaptureTime>,
    pub(crate) roundchange: Option<CaptureTime>,
}

/// By round and rank of the node's IP address.
pub(crate) type Lives = BTreeMap<(u64, u32), Lived>;

/// A valid vote as one node has it: from a peer, or its own once seen leaving.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Vote {
    round: u64,
    /// Rank of the IP address of the node that has the vote.
    node: u32,
    /// Number of the block among those voted for: it depends on the order of arrival, so it is good for grouping only.
    block: u32,
    time: CaptureTime,
    /// Index of the signer among the validators.
    signer: u32,
    commit: bool,
}

/// How each node lived each round, as far as it was seen. Without a quorum nobody is prepared or committed.
pub(crate) fn lives(
    height: &Height,
    rows: &[Row<'_>],
    chain: &ChainContext<'_>,
    validators: &[Address],
    quorum: Option<u32>,
) -> Lives {
    let mut lives = Lives::new();
    let mut votes = Vec::with_capacity(rows.len());
    let mut blocks: HashMap<Hash256, u32> = HashMap::new();
    for group in rows::by_payload(rows) {
        let entry = &height.payloads[group[0].payload as usize];
        let (Some(signer), false) = (entry.signer, entry.invalid) else {
            continue;
        };
        let own = |row: &Row<'_>| chain.who.parties[row.sender as usize].address == Some(signer);
        let sender_ip = |row: &Row<'_>| chain.ips.of_party[row.sender as usize];
        match entry.kind {
            Kind::Preprepare | Kind::RoundChange => {
                if !validators.is_empty() && validators.binary_search(&signer).is_err() {
                    continue;
                }
                let proposal = entry.kind == Kind::Preprepare;
                let mut note = |ip: u32, time: CaptureTime| {
                    let lived = lives.entry((entry.round, ip)).or_default();
                    let known = if proposal {
                        &mut lived.preprepare
                    } else {
                        &mut lived.roundchange
                    };
                    *known = earlier(*known, Some(time));
                };
                for row in group {
                    if proposal {
                        note(row.ip, row.delivery.first_arrival);
                    }
                    if own(row) {
                        note(sender_ip(row), row.delivery.first_seen);
                    }
                }
            }
            Kind::Prepare | Kind::Commit => {
                let (Some(digest), Ok(signer)) = (entry.digest, validators.binary_search(&signer)) else {
                    continue;
                };
                let next = blocks.len() as u32;
                let block = *blocks.entry(digest).or_insert(next);
                let mut vote = |node: u32, time| {
                    votes.push(Vote {
                        round: entry.round,
                        node,
                        block,
                        time,
                        signer: signer as u32,
                        commit: entry.kind == Kind::Commit,
                    });
                };
                for row in group {
                    vote(row.ip, row.delivery.first_arrival);
                    if own(row) {
                        vote(sender_ip(row), row.delivery.first_seen);
                    }
                }
            }
        }
    }
    if let Some(quorum) = quorum {
        quorums(
            &mut lives,
            votes,
            validators.len(),
            quorum,
            chain.rule.commits_prepare,
        );
    }
    lives
}

/// Notes when nodes had their quorums.
fn quorums(lives: &mut Lives, mut votes: Vec<Vote>, validators: usize, quorum: u32, commits_prepare: bool) {
    votes.sort_unstable();
    let mut preparers = Voters::new(validators);
    let mut committers = Voters::new(validators);
    for group in votes.chunk_by(|a, b| (a.round, a.node, a.block) == (b.round, b.node, b.block)) {
        preparers.clear();
        committers.clear();
        let (mut prepared, mut committed) = (None, None);
        for vote in group {
            if vote.commit {
                committers.insert(vote.signer);
            }
            if !vote.commit || commits_prepare {
                preparers.insert(vote.signer);
            }
            if preparers.count >= quorum {
                prepared.get_or_insert(vote.time);
            }
            if committers.count >= quorum {
                committed.get_or_insert(vote.time);
                break;
            }
        }
        if prepared.is_some() || committed.is_some() {
            let lived = lives.entry((group[0].round, group[0].node)).or_default();
            lived.prepared = earlier(lived.prepared, prepared);
            lived.committed = earlier(lived.committed, committed);
        }
    }
}

/// A set of validators by their index.
struct Voters {
    seen: Vec<bool>,
    count: u32,
}

impl Voters {
    fn new(validators: usize) -> Self {
        Self {
            seen: vec![false; validators],
            count: 0,
        }
    }

    fn clear(&mut self) {
        self.seen.fill(false);
        self.count = 0;
    }

    fn insert(&mut self, index: u32) {
        let seen = &mut self.seen[index as usize];
        self.count += u32::from(!*seen);
        *seen = true;
    }
}

/// Rows of all nodes at which something of a round was seen, sorted by round and IP address.
pub(crate) fn node_rounds(
    lives: &Lives,
    counts: &[CountFact],
    sequence: u64,
    span: (CaptureTime, CaptureTime),
    chain: &ChainContext<'_>,
) -> Vec<NodeRoundFact> {
    let rank = |count: &CountFact| {
        let found = chain.ips.ips.binary_search(&count.receiver_ip);
        found.expect("each receiver's address is listed") as u32
    };
    // Ranks of IP addresses sort as the addresses do.
    let mut keys: Vec<(u64, u32)> = counts.iter().map(|count| (count.round, rank(count))).collect();
    keys.extend(lives.keys());
    keys.sort_unstable();
    keys.dedup();
    let fact = |key: (u64, u32)| {
        let (round, ip) = key;
        let lived = lives.get(&key).copied().unwrap_or_default();
        let node_ip = chain.ips.ips[ip as usize];
        NodeRoundFact {
            chain: chain.name.clone(),
            sequence,
            round,
            node_ip,
            node: chain.ips.labels[ip as usize].clone(),
            preprepare_ns: lived.preprepare,
            prepared_ns: lived.prepared,
            committed_ns: lived.committed,
            roundchange_ns: lived.roundchange,
            lower_bound: chain.coverage.of(node_ip) != Coverage::Full
                || chain.losses.overlap(node_ip, span.0, span.1),
        }
    };
    keys.into_iter().map(fact).collect()
}

pub(crate) fn earlier(a: Option<CaptureTime>, b: Option<CaptureTime>) -> Option<CaptureTime> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (known, None) | (None, known) => known,
    }
}
