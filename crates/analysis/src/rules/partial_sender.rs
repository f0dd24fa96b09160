//! `partial_sender`: a validator whose votes reach some and not others, height after height.
//!
//! **Condition**: in `partial_heights` (3) of its heights in a row, a prepare or commit of it reached some validators and not another that
//! was captured without a loss, took part in that round itself, got that kind of vote from more than half of all other validators, and
//! exchanged messages of that height with it: two nodes between which nothing passes either way are not connected, and neither chose that.
//! Where nodes pass votes on, a vote that leaves its author reaches all.
//! **Blame**: the validator, not suspicious. **Severity**: warning. One event for heights in a row: `heights`, `not_reached`.

use bftap_ibft_decode::Kind;
use bftap_model::{Address, CaptureTime};
use hashbrown::HashMap;

use crate::facts::EventFact;

use super::RuleOptions;
use super::state::{PARTIAL, RuleState, Trouble};
use super::troubles::over;
use super::view::{HeightView, number};

pub(super) const RULE: &str = "partial_sender";

/// Which validators' votes of one round and kind are at which validators' nodes.
#[derive(Debug)]
struct Table {
    validators: usize,
    /// By voter and node.
    has: Vec<bool>,
}

impl Table {
    fn reached(&self, voter: usize) -> &[bool] {
        &self.has[voter * self.validators..][..self.validators]
    }
}

pub(super) fn judge(view: &HeightView<'_>, state: &mut RuleState, events: &mut Vec<EventFact>) {
    let validators = view.validators.len();
    // Tables grow with the square; no Istanbul network has more.
    if !view.all_vote() || !(3..=MOST_VALIDATORS).contains(&validators) {
        return;
    }
    let index_of = |address: Option<Address>| view.validators.binary_search(&address?).ok();
    let parties: Vec<Option<usize>> = view
        .chain
        .who
        .parties
        .iter()
        .map(|party| index_of(party.address))
        .collect();
    let voters: Vec<Option<usize>> = view
        .height
        .payloads
        .iter()
        .map(|entry| {
            let vote = matches!(entry.kind, Kind::Prepare | Kind::Commit) && !entry.invalid;
            index_of(entry.signer.filter(|_| vote))
        })
        .collect();
    let mut tables: HashMap<(u64, Kind), Table> = HashMap::new();
    // By node and node: whether anything passed between the two, either way.
    let mut connected = vec![false; validators * validators];
    let (mut from, mut to) = (CaptureTime::MAX, CaptureTime::MIN);
    for (key, delivery) in &view.height.deliveries {
        let ends = [key.receiver, key.sender].map(|party| parties[party as usize]);
        if let [Some(a), Some(b)] = ends {
            connected[a * validators + b] = true;
            connected[b * validators + a] = true;
        }
        let Some(voter) = voters[key.payload as usize] else {
            continue;
        };
        let entry = &view.height.payloads[key.payload as usize];
        let table = tables.entry((entry.round, entry.kind)).or_insert_with(|| Table {
            validators,
            has: vec![false; validators * validators],
        });
        for node in ends.into_iter().flatten() {
            table.has[voter * validators + node] = true;
        }
        from = from.min(delivery.first_seen);
        to = to.max(delivery.last_seen);
    }
    let mut judged: Vec<(Address, Option<(u64, i64)>)> = Vec::new();
    let covered: Vec<bool> = if tables.is_empty() {
        return;
    } else {
        let covered = |node: &Address| {
            view.chain
                .places
                .visible(*node, (from, to), view.chain.coverage, view.chain.losses)
        };
        view.validators.iter().map(covered).collect()
    };
    let mut rounds: Vec<(u64, Kind, &Table)> = tables
        .iter()
        .map(|(&(round, kind), table)| (round, kind, table))
        .collect();
    rounds.sort_unstable_by_key(|&(round, kind, _)| (round, kind));
    for voter in 0..validators {
        let mut missed: Option<(u64, i64)> = None;
        let mut voted = false;
        for &(round, _, table) in &rounds {
            let reached = table.reached(voter);
            let others = reached
                .iter()
                .enumerate()
                .filter(|(node, has)| **has && *node != voter);
            if others.count() == 0 {
                continue;
            }
            voted = true;
            let without = |node: &usize| {
                let votes = (0..validators)
                    .filter(|&other| other != *node && other != voter && table.reached(other)[*node])
                    .count();
                // It took part itself, and got most of the others' votes.
                table.reached(*node)[*node] && votes * 2 > validators - 2
            };
            let not_reached = (0..validators)
                .filter(|&node| node != voter && covered[node] && !reached[node])
                .filter(|node| connected[voter * validators + node])
                .filter(without)
                .count();
            if not_reached > 0 {
                missed = missed.max(Some((round, not_reached as i64)));
            }
        }
        if voted {
            judged.push((view.validators[voter], missed));
        }
    }
    for (validator, missed) in judged {
        match missed {
            Some((round, nodes)) => {
                let trouble = state.trouble(validator, PARTIAL, || (from, view.sequence, round));
                trouble.count += 1;
                trouble.last = to;
                trouble.worst = trouble.worst.max(nodes);
            }
            None => {
                if let Some(trouble) = state.settle(validator, PARTIAL) {
                    events.extend(over(view, validator, &trouble, trouble.last));
                }
            }
        }
    }
}

const MOST_VALIDATORS: usize = 256;

/// Fills in what is said of partial votes, if there are enough.
pub(super) fn describe(
    options: &RuleOptions,
    mut event: EventFact,
    label: &str,
    trouble: &Trouble,
) -> Option<EventFact> {
    if trouble.count < options.partial_heights {
        return None;
    }
    event.sequence = Some(trouble.sequence);
    event.round = Some(trouble.round);
    event.detail = format!(
        "votes of {label} reached some validators and not others (up to {}) in {} of its heights in a row",
        trouble.worst, trouble.count
    );
    event.numbers.insert("heights", number(trouble.count));
    event.numbers.insert("not_reached", trouble.worst);
    event.numbers.insert("from_ns", trouble.from.nanos());
    event.numbers.insert("to_ns", trouble.last.nanos());
    Some(event)
}
