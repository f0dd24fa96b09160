//! The truth table: who signed what in each round, whom it reached, and what is known of votes that were not seen.
//!
//! docs/rounds.md has the conditions of each [`VoteState`] in words. Two things decide on what can be said of a node: whether its traffic was
//! seen whole at the time, and whether it was connected ([`Sight`]).

use bftap_ibft_decode::Kind;
use bftap_model::{Address, CaptureTime};

use crate::closing::{ChainContext, NOBODY};
use crate::delays;
use crate::facts::{Coverage, Outcome, RoundFact, VoteFact, VoteState};
use crate::height::{Height, PayloadEntry};
use crate::lived::{Lived, earlier};
use crate::round::{RoundNotes, Rounds};
use crate::rows::{self, Row};
use crate::witnesses::Sight;

/// What the table of a height is made from.
#[derive(Debug)]
pub(crate) struct Table<'a> {
    pub(crate) height: &'a Height,
    pub(crate) rows: &'a [Row<'a>],
    pub(crate) sequence: u64,
    pub(crate) span: (CaptureTime, CaptureTime),
    pub(crate) judged: &'a Rounds,
    pub(crate) chain: &'a ChainContext<'a>,
}

/// Lines of the table with the validators' addresses, sorted by round, kind, signer, first sight.
pub(crate) fn table(table: &Table<'_>) -> Vec<(Address, VoteFact)> {
    let mut judge = Judge::new(table);
    let mut lines = judge.seen_votes();
    judge.settle();
    for (fact, notes) in &table.judged.rounds {
        judge.unseen_votes(fact, notes, &mut lines);
    }
    lines.sort_unstable_by(|(a_signer, a), (b_signer, b)| {
        let key = |fact: &VoteFact| (fact.round, fact.kind);
        key(a)
            .cmp(&key(b))
            .then_with(|| a.signer.cmp(&b.signer))
            .then_with(|| (a_signer, a.first_ns, a.digest).cmp(&(b_signer, b.first_ns, b.digest)))
            .then_with(|| (&a.first_sender, a.reached).cmp(&(&b.first_sender, b.reached)))
    });
    lines
}

/// One validator in this height.
#[derive(Clone, Copy, Debug)]
struct Member {
    /// Over the whole height.
    sight: Sight,
    /// It is not known where it is, or only some of its sessions were seen.
    uncovered: bool,
    /// Something of this height reached it: a node that gets nothing of a height is left out on purpose, or not connected to anybody.
    took_part: bool,
}

struct Judge<'t> {
    table: &'t Table<'t>,
    /// Validators, or where none are known the signers of this height; sorted.
    signers: Vec<Address>,
    members: Vec<Member>,
    /// All validators' traffic was seen, so nothing is hidden.
    all_seen: bool,
    /// All others' traffic was seen but that of the one at this index.
    all_but_one: Option<usize>,
    /// Nothing more is to be expected of the height.
    settled: bool,
    /// Votes seen: round, kind, signer, first sight; sorted once all are there.
    known: Vec<(u64, Kind, u32, CaptureTime)>,
    /// By validator: rounds that it asked for, ascending, each with when it first asked for this or a higher one.
    left: Vec<Vec<(u64, CaptureTime)>>,
}

impl<'t> Judge<'t> {
    fn new(table: &'t Table<'t>) -> Self {
        let chain = table.chain;
        let mut signers = table.judged.validators.clone();
        if signers.is_empty() {
            let valid = table.height.payloads.iter().filter(|entry| !entry.invalid);
            signers = valid.filter_map(|entry| entry.signer).collect();
            signers.sort_unstable();
            signers.dedup();
        }
        let mut members: Vec<Member> = signers
            .iter()
            .map(|signer| {
                let homes = chain.witnesses.homes(signer);
                let partial =
                    |&home: &u32| chain.coverage.of(chain.ips.ips[home as usize]) == Coverage::Partial;
                Member {
                    sight: chain
                        .witnesses
                        .sight(signer, table.span, chain.ips, chain.coverage, chain.losses),
                    uncovered: homes.is_empty() || homes.iter().any(partial),
                    took_part: false,
                }
            })
            .collect();
        let index_of = index_of_members(&signers, chain);
        for row in table.rows {
            if let Some(member) = index_at(&index_of, chain, row.receiver) {
                members[member].took_part = true;
            }
        }
        let poor: Vec<usize> = (0..members.len())
            .filter(|&member| members[member].sight == Sight::Poor)
            .collect();
        Self {
            table,
            signers,
            members,
            all_seen: poor.is_empty(),
            all_but_one: (poor.len() == 1).then(|| poor[0]),
            settled: chain.witnesses.settled(table.span.1),
            known: Vec::new(),
            left: Vec::new(),
        }
    }

    /// All votes seen are known.
    fn settle(&mut self) {
        self.known.sort_unstable();
        self.left = vec![Vec::new(); self.members.len()];
        for &(round, kind, signer, time) in &self.known {
            if kind == Kind::RoundChange {
                self.left[signer as usize].push((round, time));
            }
        }
        for left in &mut self.left {
            let mut earliest = CaptureTime::MAX;
            for (_, time) in left.iter_mut().rev() {
                earliest = earliest.min(*time);
                *time = earliest;
            }
        }
    }

    fn seen_votes(&mut self) -> Vec<(Address, VoteFact)> {
        let (table, chain) = (self.table, self.table.chain);
        let index_of = index_of_members(&self.signers, chain);
        let mut lines = Vec::with_capacity(table.height.payloads.len());
        let mut reached = vec![false; self.members.len()];
        for group in rows::by_payload(table.rows) {
            let entry = &table.height.payloads[group[0].payload as usize];
            let (Some(signer), false) = (entry.signer, entry.invalid) else {
                continue;
            };
            let Ok(own) = self.signers.binary_search(&signer) else {
                continue;
            };
            reached.fill(false);
            let mut first = &group[0];
            for row in group {
                if let Some(member) = index_at(&index_of, chain, row.receiver) {
                    reached[member] = true;
                }
                let key = |row: &Row<'_>| (row.delivery.first_seen, row.place);
                if key(row) < key(first) {
                    first = row;
                }
            }
            self.known
                .push((entry.round, entry.kind, own as u32, first.delivery.first_seen));
            let mut vote = self.seen_vote(entry, own, first, &reached);
            vote.received = delays::received(group, &signer, first.delivery.first_seen, chain);
            lines.push((signer, vote));
        }
        lines
    }

    fn seen_vote(&self, entry: &PayloadEntry, own: usize, first: &Row<'_>, reached: &[bool]) -> VoteFact {
        let chain = self.table.chain;
        let first_ns = first.delivery.first_seen;
        let vote = matches!(entry.kind, Kind::Prepare | Kind::Commit);
        let (mut of, mut not_reached) = (0, Vec::new());
        for (index, member) in self.members.iter().enumerate() {
            if index == own || member.uncovered {
                continue;
            }
            // Nobody hands on a vote for what is decided, and clients stop sending their own in the middle.
            let decided_before = || {
                vote && self
                    .lived(entry.round, index)
                    .committed
                    .is_some_and(|committed| committed <= first_ns)
            };
            if reached[index] {
                of += 1;
            } else if member.took_part && self.was_there(index, first_ns) && !decided_before() {
                of += 1;
                not_reached.push(chain.who.names.label_of(self.signers[index]));
            }
        }
        not_reached.sort_unstable();
        let everybody = || {
            let mut others = (0..reached.len()).filter(|&index| index != own);
            reached.len() > 1 && others.all(|index| reached[index])
        };
        let state = if !not_reached.is_empty() {
            VoteState::Partial
        } else if of == 0 && !everybody() {
            VoteState::Unknown
        } else if vote
            && self.all_seen
            && self
                .last_committed(entry.round)
                .is_some_and(|last| first_ns > last)
        {
            VoteState::Late
        } else {
            VoteState::Complete
        };
        VoteFact {
            chain: chain.name.clone(),
            sequence: self.table.sequence,
            round: entry.round,
            kind: entry.kind,
            signer: chain.who.names.label_of(self.signers[own]),
            digest: match entry.kind {
                Kind::RoundChange => None,
                Kind::Preprepare => entry
                    .proposal
                    .as_ref()
                    .map(|proposal| proposal.hash)
                    .or(entry.digest),
                Kind::Prepare | Kind::Commit => entry.digest,
            },
            first_ns: Some(first_ns),
            first_sender: Some(chain.who.parties[first.sender as usize].label.clone()),
            reached: of - not_reached.len() as u32,
            of,
            not_reached,
            state,
            received: Vec::new(),
        }
    }

    /// Whether what was sent at a time would have been seen to reach a validator, if it had.
    fn was_there(&self, index: usize, time: CaptureTime) -> bool {
        let chain = self.table.chain;
        self.members[index].sight == Sight::Whole
            || chain.witnesses.sight(
                &self.signers[index],
                (time, time),
                chain.ips,
                chain.coverage,
                chain.losses,
            ) == Sight::Whole
    }

    fn last_committed(&self, round: u64) -> Option<CaptureTime> {
        let rounds = &self.table.judged.rounds;
        let at = rounds.binary_search_by_key(&round, |(fact, _)| fact.round).ok()?;
        rounds[at].1.last_committed
    }

    /// Lines for votes of a round that were due and not seen.
    fn unseen_votes(&self, fact: &RoundFact, notes: &RoundNotes, lines: &mut Vec<(Address, VoteFact)>) {
        if self.table.judged.validators.is_empty() || !fact.standing.is_there() {
            return;
        }
        let mut add = |index: usize, kind: Kind, state: VoteState| {
            lines.push((
                self.signers[index],
                self.unseen_vote(fact.round, kind, index, state),
            ));
        };
        if notes.proposed_by.is_none() {
            let proposer = notes
                .expected
                .and_then(|expected| self.signers.binary_search(&expected).ok());
            if let Some(index) = proposer {
                add(index, Kind::Preprepare, self.absent(index));
            }
        }
        // Who of a larger set is in the committee of a round is not in the messages.
        if self.signers.len() > self.table.chain.committee as usize {
            return;
        }
        if notes.proposed_by.is_none() {
            // It was decided, so there was a proposal: what hides that may hide commits, too.
            let unseen = |index: &usize| self.first_sight(fact.round, Kind::Commit, *index).is_none();
            if fact.outcome == Outcome::Decided {
                for index in (0..self.signers.len()).filter(unseen) {
                    add(index, Kind::Commit, VoteState::Unknown);
                }
            }
            return;
        }
        for index in 0..self.signers.len() {
            let [prepare, commit] =
                [Kind::Prepare, Kind::Commit].map(|kind| self.first_sight(fact.round, kind, index));
            if prepare.is_some() && commit.is_some() {
                continue;
            }
            let lived = self.lived(fact.round, index);
            let left = self.left(fact.round, index);
            let decided = fact.outcome == Outcome::Decided;
            if prepare.is_none() {
                let proposed = if self.members[index].uncovered {
                    fact.preprepare_ns
                } else {
                    lived.preprepare
                };
                // Whoever has asked for a higher round takes no part in this one any more.
                let gone = left.is_some_and(|left| proposed.is_none_or(|proposed| left < proposed));
                if commit.is_some() || self.overtaken(fact.round, index, &lived) {
                    add(index, Kind::Prepare, VoteState::NotNeeded);
                } else if !gone {
                    add(index, Kind::Prepare, self.absent(index));
                }
            }
            if commit.is_none() {
                let proposed = self.first_sight(fact.round, Kind::Preprepare, index);
                let took_part = prepare.or(proposed).is_some() || self.overtaken(fact.round, index, &lived);
                let own_quorum = self.members[index].uncovered || lived.committed.is_some();
                if decided && took_part && own_quorum {
                    add(index, Kind::Commit, VoteState::NotNeeded);
                } else if decided {
                    add(index, Kind::Commit, self.absent(index));
                } else if let Some(prepared) = lived.prepared
                    && left.is_none_or(|left| left > prepared)
                {
                    add(index, Kind::Commit, self.absent(index));
                }
            }
        }
    }

    fn unseen_vote(&self, round: u64, kind: Kind, index: usize, state: VoteState) -> VoteFact {
        let chain = self.table.chain;
        let others = || {
            let all = self
                .members
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != index);
            all.filter(|(_, member)| member.took_part && member.sight == Sight::Whole)
                .map(|(other, _)| chain.who.names.label_of(self.signers[other]))
        };
        let mut not_reached: Vec<_> = others().collect();
        not_reached.sort_unstable();
        VoteFact {
            chain: chain.name.clone(),
            sequence: self.table.sequence,
            round,
            kind,
            signer: chain.who.names.label_of(self.signers[index]),
            digest: None,
            first_ns: None,
            first_sender: None,
            reached: 0,
            of: not_reached.len() as u32,
            not_reached,
            state,
            received: Vec::new(),
        }
    }

    /// What a vote is of which nothing was seen, although it was due.
    fn absent(&self, index: usize) -> VoteState {
        let own = self.members[index].sight != Sight::Poor;
        if self.settled && (own || self.all_but_one == Some(index)) {
            VoteState::Missing
        } else {
            VoteState::Unknown
        }
    }

    /// Whether a node had the round decided before it sent anything of it: clients do not send votes for a block that they have.
    fn overtaken(&self, round: u64, index: usize, lived: &Lived) -> bool {
        let Some(committed) = lived.committed else {
            return false;
        };
        let chain = self.table.chain;
        let own = Some(self.signers[index]);
        let rows = self.table.rows.iter().filter(|row| {
            self.table.height.payloads[row.payload as usize].round == round
                && chain.who.parties[row.sender as usize].address == own
        });
        let first = rows.map(|row| row.delivery.first_seen).min();
        first.is_some_and(|first| first > committed)
    }

    /// When a validator was first seen to ask for a round higher than this.
    fn left(&self, round: u64, index: usize) -> Option<CaptureTime> {
        let left = &self.left[index];
        left.get(left.partition_point(|(asked, _)| *asked <= round))
            .map(|(_, time)| *time)
    }

    fn first_sight(&self, round: u64, kind: Kind, index: usize) -> Option<CaptureTime> {
        let key = (round, kind, index as u32);
        let at = self
            .known
            .partition_point(|known| (known.0, known.1, known.2) < key);
        let known = self.known.get(at)?;
        ((known.0, known.1, known.2) == key).then_some(known.3)
    }

    /// How a validator lived a round, wherever it is.
    fn lived(&self, round: u64, index: usize) -> Lived {
        let homes = self.table.chain.witnesses.homes(&self.signers[index]);
        let lives = homes
            .iter()
            .filter_map(|&home| self.table.judged.lives.get(&(round, home)));
        lives.fold(Lived::default(), |sum, lived| Lived {
            preprepare: earlier(sum.preprepare, lived.preprepare),
            prepared: earlier(sum.prepared, lived.prepared),
            committed: earlier(sum.committed, lived.committed),
            roundchange: earlier(sum.roundchange, lived.roundchange),
        })
    }
}

/// Index among `signers` of each member of the chain.
pub(crate) fn index_of_members(signers: &[Address], chain: &ChainContext<'_>) -> Vec<Option<usize>> {
    let index = |member| signers.binary_search(member).ok();
    chain.members.iter().map(index).collect()
}

pub(crate) fn index_at(index_of: &[Option<usize>], chain: &ChainContext<'_>, party: u32) -> Option<usize> {
    match chain.member_of_party[party as usize] {
        NOBODY => None,
        member => index_of[member as usize],
    }
}
