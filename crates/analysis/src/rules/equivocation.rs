//! `equivocation`: one validator, one view, one kind of message, two blocks.
//!
//! **Condition**: two rightly signed preprepares, prepares or commits of one validator for the same height and round with different
//! digests, of one chain: both name the same parent block, or all sessions of the chain told which it is (Istanbul's messages name no
//! chain, and a lab that begins again votes on the same heights with the same keys).
//! **Blame**: the signer. Suspicious unless the node can have started anew between any two that contradict each other one behind the other:
//! IBFT keeps no record on disk of what it proposed, so an honest proposer that crashes may propose another block in the same round. One
//! session that carried messages of the node all the time, or less than `restart_ms` between the two, rules that out. Of several messages for
//! one block only the first counts for that: whoever passes one on can make a twin of its signature, at any time.
//! **Severity**: critical; warning where a start may explain it. One event a signer and height.

use std::collections::BTreeMap;

use bftap_ibft_decode::Kind;
use bftap_model::{Address, Hash256};

use crate::facts::EventFact;

use super::view::{HeightView, number, show};

pub(super) const RULE: &str = "equivocation";

/// Two messages of one view that contradict each other, by their places among the payloads; the earlier first.
type Pair = (usize, usize);

/// A message for a block: signer, round, kind, block, and its place among the payloads.
type Vote = (Address, u64, Kind, Hash256, usize);

/// What one signer did in one view.
#[derive(Debug)]
struct Contradiction {
    signer: Address,
    /// The two messages that were seen first.
    pair: Pair,
    digests: u64,
    /// Each step from one block to the next may be one over a start.
    excused: bool,
}

pub(super) fn judge(view: &HeightView<'_>, events: &mut Vec<EventFact>) {
    let mut votes: Vec<Vote> = view
        .height
        .payloads
        .iter()
        .enumerate()
        .filter(|(_, entry)| !entry.invalid && entry.checked && entry.kind != Kind::RoundChange)
        .filter_map(|(at, entry)| Some((entry.signer?, entry.round, entry.kind, entry.digest?, at)))
        .filter(|vote| view.is_validator(vote.0))
        .collect();
    votes.sort_unstable();
    let mut found: Vec<Contradiction> = Vec::new();
    for group in votes.chunk_by(|a, b| (a.0, a.1, a.2) == (b.0, b.1, b.2)) {
        if group.first().map(|vote| vote.3) == group.last().map(|vote| vote.3) {
            continue;
        }
        found.extend(contradiction(view, group));
    }
    for group in found.chunk_by(|a, b| a.signer == b.signer) {
        events.push(event(view, group));
    }
}

/// The two messages with different digests, and of one chain, that were seen first, and whether starts explain all there are.
fn contradiction(view: &HeightView<'_>, group: &[Vote]) -> Option<Contradiction> {
    let payloads = &view.height.payloads;
    let sighted = |&(_, _, _, digest, at): &Vote| (view.sights[at].first, payloads[at].hash, digest, at);
    let mut sighted: Vec<_> = group.iter().map(sighted).collect();
    sighted.sort_unstable();
    // A flood must not take a flood of comparisons: the first ones tell; and many messages for one block hide no other block.
    let mut of_digest: BTreeMap<Hash256, usize> = BTreeMap::new();
    sighted.retain(|(_, _, digest, _)| {
        let known = of_digest.entry(*digest).or_default();
        *known += 1;
        *known <= MOST_OF_DIGEST
    });
    // No start explains so many.
    let mut excused = sighted.len() <= MOST_COMPARED;
    sighted.truncate(MOST_COMPARED);
    let mut pair = None;
    // The first message for each block that contradicts another one of its chain.
    let mut firsts: Vec<(Hash256, usize)> = Vec::new();
    for (later, &(_, _, digest, at)) in sighted.iter().enumerate() {
        if pair.is_none() {
            let contradicts =
                |a: &&(_, _, Hash256, usize)| a.2 != digest && view.one_chain(&payloads[a.3], &payloads[at]);
            pair = sighted[..later].iter().find(contradicts).map(|a| (a.3, at));
        }
        if firsts
            .iter()
            .any(|(known, first)| *known == digest && view.one_chain(&payloads[*first], &payloads[at]))
        {
            continue;
        }
        let before = firsts
            .iter()
            .rev()
            .find(|(known, first)| *known != digest && view.one_chain(&payloads[*first], &payloads[at]));
        if let Some((_, before)) = before {
            let [from, to] = [*before, at].map(|at| view.sights[at].first);
            excused &= view.may_have_restarted(group[0].0, from, to);
        }
        firsts.push((digest, at));
    }
    Some(Contradiction {
        signer: group[0].0,
        pair: pair?,
        digests: of_digest.len() as u64,
        excused,
    })
}

const MOST_COMPARED: usize = 64;
/// Messages of one signer for one block that are compared with others.
const MOST_OF_DIGEST: usize = 4;

fn event(view: &HeightView<'_>, group: &[Contradiction]) -> EventFact {
    let Contradiction {
        signer, pair: (a, b), ..
    } = *group
        .iter()
        .min_by_key(|found| {
            (
                view.sights[found.pair.1].first,
                view.height.payloads[found.pair.1].hash,
            )
        })
        .expect("a group is not empty");
    let (first, second) = (&view.height.payloads[a], &view.height.payloads[b]);
    let (from, to) = (view.sights[a].first, view.sights[b].first);
    // All of them must be explained by starts, not only the first.
    let excused = group.iter().all(|found| found.excused);
    let digest = |digest: Option<Hash256>| digest.map_or_else(String::new, |digest| digest.to_string());
    let mut detail = format!(
        "{} sent two {}s for height {}, round {}: one for block {}, one for {}",
        view.chain.who.names.label_of(signer),
        first.kind,
        view.sequence,
        first.round,
        digest(first.digest),
        digest(second.digest)
    );
    if excused {
        detail.push_str(
            "; it may have been started anew in between, and an honest node remembers nothing then",
        );
    }
    let mut event = view.event(RULE, to, detail);
    event.severity = if excused { "warning" } else { "critical" };
    event.suspicious = !excused;
    event.round = Some(first.round);
    event.kind = Some(first.kind);
    view.chain.places.blame_signer(&mut event, signer, view.chain.who);
    event.numbers.insert("views", number(group.len() as u64));
    event.numbers.insert(
        "digests",
        number(group.iter().map(|found| found.digests).max().unwrap_or(0)),
    );
    event.numbers.insert("apart_ns", to.since(from).0);
    show(&mut event, first.hash);
    show(&mut event, second.hash);
    event
}
