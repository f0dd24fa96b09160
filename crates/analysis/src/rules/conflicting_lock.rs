//! `conflicting_lock`: commits for different blocks in different rounds of one height.
//!
//! A node that was prepared is locked on that block and sends a commit for it; in later rounds it takes no other block.
//!
//! **Condition**, two of them, for messages of one chain (as for `equivocation`):
//! 1. *Nodes are locked on different blocks*: the latest commits of two validators are for different blocks, in different rounds.
//!    Honest nodes get there without anybody's fault (GoQuorum issue 305: some are prepared in round 0 just before it is left, the others
//!    accept a new block in round 1), and if neither side has a quorum the chain stands still for good. Nobody is blamed.
//!    **Severity** critical; warning where the height was decided all the same. Never suspicious. One event a height.
//! 2. *One validator commits to two blocks*, in two rounds. **Blame**: the signer, and suspicious, if nothing honest explains it. An honest
//!    node commits to a block only when 2F+1 validators, itself among them, have prepared or committed it in one round; where all that it
//!    was sent was seen since the block before, and fewer stood behind one of the two blocks, it made that up, whatever became of the other
//!    one. Else it may be explained by a start in between (locks are in memory only), or by a first block that a quorum committed and that could not be
//!    imported, which unlocks honest nodes. The latter is excluded only where all validators' traffic was seen and two commits and more
//!    are lacking to a quorum.
//!    **Severity** critical. One event a signer and height.

use std::collections::{BTreeMap, BTreeSet};

use bftap_ibft_decode::Kind;
use bftap_model::{Address, CaptureTime, Hash256};
use hashbrown::HashMap;

use crate::facts::EventFact;

use super::view::{HeightView, number, show};

pub(super) const RULE: &str = "conflicting_lock";

/// A commit: who, in which round, seen when, its hash, for which block, and its place among the payloads.
type Commit = (Address, u64, CaptureTime, Hash256, Hash256, usize);

pub(super) fn judge(view: &HeightView<'_>, events: &mut Vec<EventFact>) {
    let mut commits: Vec<Commit> = Vec::new();
    for (at, entry) in view.height.payloads.iter().enumerate() {
        if let (Kind::Commit, Some(signer), Some(digest)) = (entry.kind, entry.signer, entry.digest)
            && !entry.invalid
            && entry.checked
            && view.is_validator(signer)
        {
            commits.push((signer, entry.round, view.sights[at].first, entry.hash, digest, at));
        }
    }
    let one_block = commits
        .first()
        .is_none_or(|first| commits.iter().all(|commit| commit.4 == first.4));
    if one_block {
        return;
    }
    commits.sort_unstable();
    let mut backers: Option<Backers> = None;
    let mut latest: Vec<Commit> = Vec::new();
    for own in commits.chunk_by(|a, b| a.0 == b.0) {
        let last = *own.last().expect("a group is not empty");
        // Two blocks in one round are equivocation, and say nothing of a lock.
        if own.iter().any(|commit| commit.1 == last.1 && commit.4 != last.4) {
            continue;
        }
        let payloads = &view.height.payloads;
        let broken = own.iter().find(|commit| {
            commit.1 != last.1 && commit.4 != last.4 && view.one_chain(&payloads[commit.5], &payloads[last.5])
        });
        match broken {
            Some(first) => {
                let backers = backers.get_or_insert_with(|| Backers::of(view));
                events.push(broken_lock(view, backers, first, &last));
            }
            None => latest.push(last),
        }
    }
    locked_apart(view, &latest, events);
}

/// Validators that stand behind blocks.
#[derive(Debug, Default)]
struct Backers {
    /// Those that committed to a block, in any round.
    committed: HashMap<Hash256, BTreeSet<Address>>,
    /// Those that prepared or committed it, round by round.
    prepared: HashMap<Hash256, BTreeMap<u64, BTreeSet<Address>>>,
}

impl Backers {
    fn of(view: &HeightView<'_>) -> Self {
        let mut backers = Self::default();
        for (signer, entry, _) in view.votes() {
            let Some(digest) = entry
                .digest
                .filter(|_| matches!(entry.kind, Kind::Prepare | Kind::Commit))
            else {
                continue;
            };
            if entry.kind == Kind::Commit {
                backers.committed.entry(digest).or_default().insert(signer);
            }
            let rounds = backers.prepared.entry(digest).or_default();
            rounds.entry(entry.round).or_default().insert(signer);
        }
        backers
    }

    fn committed(&self, digest: Hash256) -> usize {
        self.committed.get(&digest).map_or(0, BTreeSet::len)
    }

    /// The most that stood behind it in one round up to this one.
    fn prepared(&self, digest: Hash256, round: u64) -> usize {
        let rounds = self.prepared.get(&digest);
        let up_to = rounds.into_iter().flat_map(|rounds| rounds.range(..=round));
        up_to.map(|(_, backers)| backers.len()).max().unwrap_or(0)
    }
}

fn broken_lock(view: &HeightView<'_>, backers: &Backers, first: &Commit, last: &Commit) -> EventFact {
    let signer = first.0;
    let for_first = backers.committed(first.4);
    let [behind_first, behind_last] = [first, last].map(|commit| backers.prepared(commit.4, commit.1));
    let span = (first.2.min(last.2), first.2.max(last.2));
    let restarted = view.may_have_restarted(signer, first.2, last.2);
    let seen = view.chain.all_validators_covered && !view.chain.losses.overlap_anywhere(span.0, span.1);
    let imported = !seen || view.quorum().is_none_or(|quorum| for_first + 2 > quorum);
    let begin = view
        .sights
        .iter()
        .map(|sight| sight.first)
        .min()
        .unwrap_or(span.0);
    // What was said before the capture began, nobody knows.
    let from_the_start = view.last_author.is_some() && view.visible(signer, (begin, span.1));
    let unprepared =
        from_the_start && view.all_vote() && behind_first.min(behind_last) < 2 * view.faulty() + 1;
    let suspicious = unprepared || (!restarted && !imported);
    let mut detail = format!(
        "{} committed to block {} in round {} and to block {} in round {} of height {}",
        view.chain.who.names.label_of(signer),
        first.4,
        first.1,
        last.4,
        last.1,
        view.sequence
    );
    if unprepared {
        detail.push_str("; too few stood behind one of them for an honest node to commit to it");
    } else if restarted {
        detail.push_str("; it may have been started anew in between, and locks are not kept");
    } else if imported {
        detail.push_str("; the first block may have been committed by a quorum and not have been valid, which frees honest nodes");
    }
    let mut event = view.event(RULE, last.2, detail);
    event.severity = "critical";
    event.suspicious = suspicious;
    event.round = Some(last.1);
    event.kind = Some(Kind::Commit);
    view.chain.places.blame_signer(&mut event, signer, view.chain.who);
    event
        .numbers
        .insert("commits_for_first", number(for_first as u64));
    event.numbers.insert("behind_first", number(behind_first as u64));
    event.numbers.insert("behind_second", number(behind_last as u64));
    event.numbers.insert("first_round", number(first.1));
    show(&mut event, first.3);
    show(&mut event, last.3);
    event
}

fn locked_apart(view: &HeightView<'_>, latest: &[Commit], events: &mut Vec<EventFact>) {
    let payloads = &view.height.payloads;
    let apart =
        |a: &&Commit, b: &&Commit| a.4 != b.4 && a.1 != b.1 && view.one_chain(&payloads[a.5], &payloads[b.5]);
    // The earliest one of the lowest round, and the earliest one that it contradicts.
    let mut ordered: Vec<&Commit> = latest.iter().collect();
    ordered.sort_unstable_by_key(|commit| (commit.1, commit.2, commit.3));
    let pair = ordered.iter().find_map(|a| {
        let b = ordered.iter().find(|b| apart(a, b))?;
        Some((*a, *b))
    });
    let Some((a, b)) = pair else { return };
    let on = |digest| latest.iter().filter(|commit| commit.4 == digest).count() as u64;
    let mut detail = format!(
        "validators are locked on different blocks of height {}: {} on {} since round {}, {} on {} since round {}; honest nodes get there \
         without anybody's fault when a round is left while some are prepared",
        view.sequence,
        on(a.4),
        a.4,
        a.1,
        on(b.4),
        b.4,
        b.1
    );
    let decided = view.decided().is_some();
    detail.push_str(if decided {
        "; the height was decided all the same"
    } else {
        ", and the chain stands still for good if neither side has a quorum"
    });
    let mut event = view.event(RULE, a.2.max(b.2), detail);
    event.severity = if decided { "warning" } else { "critical" };
    event.round = Some(a.1.max(b.1));
    event.kind = Some(Kind::Commit);
    event.numbers.insert("on_first", number(on(a.4)));
    event.numbers.insert("on_second", number(on(b.4)));
    event.numbers.insert("first_round", number(a.1));
    event.numbers.insert("second_round", number(b.1));
    show(&mut event, a.3);
    show(&mut event, b.3);
    events.push(event);
}
