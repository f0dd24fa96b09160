//! Nodes that misbehave, each in one way, from barely above the thresholds of its rule (`docs/rules.md`) to grossly.

use bftap_simnet::client::Client;
use bftap_simnet::prng::Prng;
use bftap_simnet::{Fault, FaultKind, FloodOf, Gossip, Role, Taps};

use super::honest::{mild, some_taps};
use super::{Expected, Scenario, from_to, ms, one_of};

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    WrongSignatures,
    WrongAddresses,
    ForeignVotes,
    Equivocation,
    ConflictingCommits,
    FutureFlood,
    StaleFlood,
    RoundChangeStorm,
    RepeatedPayload,
    Volume,
    Undecodable,
    Oversized,
    ForbiddenCode,
    Churn,
    SlowProposals,
    NoProposals,
    Silent,
    Partial,
}

impl Deed {
    const ALL: [Self; 18] = [
        Self::WrongSignatures,
        Self::WrongAddresses,
        Self::ForeignVotes,
        Self::Equivocation,
        Self::ConflictingCommits,
        Self::FutureFlood,
        Self::StaleFlood,
        Self::RoundChangeStorm,
        Self::RepeatedPayload,
        Self::Volume,
        Self::Undecodable,
        Self::Oversized,
        Self::ForbiddenCode,
        Self::Churn,
        Self::SlowProposals,
        Self::NoProposals,
        Self::Silent,
        Self::Partial,
    ];

    /// Those that neither change the network's shape nor keep another from being seen.
    const TOGETHER: [Self; 9] = [
        Self::WrongSignatures,
        Self::WrongAddresses,
        Self::FutureFlood,
        Self::RoundChangeStorm,
        Self::RepeatedPayload,
        Self::Undecodable,
        Self::Oversized,
        Self::Churn,
        Self::ConflictingCommits,
    ];
}

/// One node misbehaves.
pub(super) fn one(scenario: &mut Scenario, dice: &mut Prng) {
    let deed = one_of(dice, &Deed::ALL);
    let node = commit_to(scenario, dice, deed, None);
    // What is usual among proposals, and who lacks a vote, only the others' ports tell.
    let needs_all = matches!(deed, Deed::Partial | Deed::ForbiddenCode | Deed::SlowProposals);
    if !needs_all && dice.below(2) == 0 {
        // The node's own port shows all that it does.
        if node < scenario.options.nodes {
            scenario.options.taps = some_taps(dice, scenario.options.nodes, Some(node));
            if scenario.options.taps == Taps::Only(vec![node]) {
                // What others send to those whom it floods is not seen: nothing to compare with.
                let (unseen, must) = std::mem::take(&mut scenario.must)
                    .into_iter()
                    .partition(|expected| expected.rule == "volume");
                scenario.must = must;
                scenario.may.extend::<Vec<Expected>>(unseen);
            }
        }
    } else if dice.below(4) == 0 {
        let taps = scenario.options.taps.clone();
        mild(scenario, dice);
        scenario.options.taps = taps;
    }
}

/// Two nodes misbehave, each in its way; seven bear that.
pub(super) fn two(scenario: &mut Scenario, dice: &mut Prng) {
    scenario.options.nodes = 7;
    let first = one_of(dice, &Deed::TOGETHER);
    let node = commit_to(scenario, dice, first, None);
    let second = loop {
        let deed = one_of(dice, &Deed::TOGETHER);
        if deed != first {
            break deed;
        }
    };
    commit_to(scenario, dice, second, Some(node));
}

/// Lets a node do it, another than `not`; tells which.
fn commit_to(scenario: &mut Scenario, dice: &mut Prng, deed: Deed, not: Option<usize>) -> usize {
    let count = scenario.options.nodes;
    let mut node = dice.below(count as u64) as usize;
    if Some(node) == not {
        node = (node + 1) % count;
    }
    match deed {
        Deed::WrongSignatures | Deed::WrongAddresses => forged(scenario, dice, deed, node),
        Deed::ForeignVotes => foreign_votes(scenario, dice),
        Deed::Equivocation => equivocation(scenario, dice, node),
        Deed::ConflictingCommits => conflicting_commits(scenario, dice, node),
        Deed::FutureFlood => future_flood(scenario, dice, node),
        Deed::StaleFlood => stale_flood(scenario, dice, node),
        Deed::RoundChangeStorm => storm(scenario, dice, node),
        Deed::RepeatedPayload => repeated(scenario, dice, node),
        Deed::Volume => volume(scenario, dice, node),
        Deed::Undecodable => undecodable(scenario, dice, node),
        Deed::Oversized => oversized(scenario, dice, node),
        Deed::ForbiddenCode => forbidden(scenario, dice),
        Deed::Churn => churn(scenario, dice, node),
        Deed::SlowProposals => slow(scenario, dice, node),
        Deed::NoProposals => no_proposals(scenario, dice, node),
        Deed::Silent => silent(scenario, dice, node),
        Deed::Partial => partial(scenario, dice, node),
    }
    scenario.options.faults.last().map_or(node, |fault| fault.node)
}

/// Adds the fault.
fn fault(scenario: &mut Scenario, node: usize, kind: FaultKind, from: i64, lasts: i64) {
    let options = &mut scenario.options;
    options.faults.push(Fault {
        node,
        kind,
        from: ms(from),
        until: Some(ms(from + lasts)),
    });
    let name = options.name_of(node);
    scenario
        .about
        .push(format!("{name}: {kind} from {from} ms for {lasts} ms"));
}

/// A rule speaks of a time at which a node does something, or a little later.
fn meanwhile(rule: &'static str, node: usize, from: i64, lasts: i64) -> Expected {
    Expected::new(rule, Some(node)).between(ms(from - 200), ms(from + lasts + 500))
}

/// Forged votes count for nobody: their author may look silent.
fn forged(scenario: &mut Scenario, dice: &mut Prng, deed: Deed, node: usize) {
    let (kind, rule, word) = match deed {
        Deed::WrongSignatures => (FaultKind::WrongSignatures, "bad_signature", "wrong-signatures"),
        _ => (FaultKind::WrongAddresses, "wrong_signer", "wrong-addresses"),
    };
    let (from, lasts) = (from_to(dice, 3_000, 6_000), one_of(dice, &[1_200, 3_000, 9_000]));
    fault(scenario, node, kind, from, lasts);
    scenario.must.push(
        meanwhile(rule, node, from, lasts)
            .suspicious(true)
            .deed(word, node, 1),
    );
    scenario
        .may
        .push(Expected::new("silent_validator", Some(node)).suspicious(false));
}

fn klaytn(scenario: &mut Scenario, dice: &mut Prng) {
    if scenario.options.clients[0].dialect() != Client::Klaytn1_4.dialect() {
        scenario.options.clients = vec![one_of(dice, &[Client::Klaytn1_12, Client::Kaia2_2])];
    }
}

/// Somebody without a vote votes.
fn foreign_votes(scenario: &mut Scenario, dice: &mut Prng) {
    let options = &mut scenario.options;
    options.background = true;
    options.observers = vec![Role::Consensus];
    let node = options.nodes;
    let (from, lasts) = (from_to(dice, 3_500, 6_000), one_of(dice, &[2_500, 6_000]));
    fault(scenario, node, FaultKind::Votes, from, lasts);
    scenario.must.push(
        meanwhile("not_validator", node, from, lasts)
            .suspicious(true)
            .deed("votes", node, 2),
    );
}

/// One that calls itself an endpoint or a proxy sends consensus messages.
fn forbidden(scenario: &mut Scenario, dice: &mut Prng) {
    klaytn(scenario, dice);
    let options = &mut scenario.options;
    options.background = true;
    options.observers = vec![one_of(dice, &[Role::Endpoint, Role::Proxy])];
    let node = options.nodes;
    let (from, lasts) = (from_to(dice, 3_500, 6_000), one_of(dice, &[2_500, 6_000]));
    fault(scenario, node, FaultKind::Votes, from, lasts);
    for rule in ["forbidden_code", "not_validator"] {
        scenario.must.push(
            meanwhile(rule, node, from, lasts)
                .suspicious(true)
                .deed("votes", node, 2),
        );
    }
}

fn equivocation(scenario: &mut Scenario, dice: &mut Prng, node: usize) {
    // With 4, 7 and 10 nodes a quorum has an honest node in common with every other.
    let count = one_of(dice, &[4, 7, 7]);
    scenario.options.nodes = count;
    let node = node % count;
    let (from, lasts) = (from_to(dice, 3_500, 6_000), one_of(dice, &[1_500, 5_000]));
    fault(scenario, node, FaultKind::Equivocation, from, lasts);
    scenario.must.push(
        meanwhile("equivocation", node, from, lasts)
            .suspicious(true)
            .deed("equivocation", node, 1),
    );
    // Half of the others get another vote, or none that counts; two blocks divide the honest, too.
    scenario
        .may
        .push(Expected::new("conflicting_lock", None).suspicious(false));
    scenario.may.push(Expected::new("conflicting_lock", Some(node)));
    scenario
        .may
        .push(Expected::new("partial_sender", Some(node)).suspicious(false));
    // Who took the block that lost has to fetch the other one first.
    for node in 0..count {
        for rule in ["missing_proposer", "silent_validator", "slow_proposer"] {
            scenario
                .may
                .push(Expected::new(rule, Some(node)).suspicious(false));
        }
    }
}

fn conflicting_commits(scenario: &mut Scenario, dice: &mut Prng, node: usize) {
    let (from, lasts) = (from_to(dice, 3_500, 6_000), one_of(dice, &[1_500, 5_000]));
    fault(scenario, node, FaultKind::ConflictingCommits, from, lasts);
    // Nobody else stands behind the other block: no honest node whose import failed does the same.
    scenario.must.push(
        meanwhile("conflicting_lock", node, from, lasts)
            .suspicious(true)
            .deed("conflicting-commits", node, 1),
    );
}

/// A flood raises its own rule; if it is large, the one of volume, too.
fn flood(
    scenario: &mut Scenario,
    node: usize,
    (rate, of): (i64, FloodOf),
    (from, lasts): (i64, i64),
    rule: &'static str,
) {
    fault(scenario, node, FaultKind::Flood(rate as u32, of), from, lasts);
    let expected = match of {
        // Told to the second.
        FloodOf::Future => meanwhile(rule, node, from - 1_000, lasts + 1_000),
        // Told from the first copy on, which was honest.
        FloodOf::Same => Expected::new(rule, Some(node)).between(ms(from - 4_500), ms(from + lasts)),
        FloodOf::Stale | FloodOf::Undecodable | FloodOf::RoundChanges => meanwhile(rule, node, from, lasts),
    };
    let word = match of {
        FloodOf::Future => "flood:future",
        FloodOf::Stale => "flood:stale",
        FloodOf::Undecodable => "flood:undecodable",
        FloodOf::Same => "flood:same",
        FloodOf::RoundChanges => "flood:round-changes",
    };
    scenario.must.push(expected.suspicious(true).deed(word, node, 1));
    if rate * lasts >= 1_500_000 {
        scenario
            .may
            .push(Expected::new("volume", Some(node)).suspicious(true));
    }
}

fn future_flood(scenario: &mut Scenario, dice: &mut Prng, node: usize) {
    // At one port: 20 a minute and more. Of a hundred heights four are too near.
    let (rate, lasts) = one_of(dice, &[(8, 4_000), (20, 3_000), (150, 4_000)]);
    let from = from_to(dice, 4_000, 6_000);
    flood(
        scenario,
        node,
        (rate, FloodOf::Future),
        (from, lasts),
        "future_flood",
    );
}

fn stale_flood(scenario: &mut Scenario, dice: &mut Prng, node: usize) {
    let count = one_of(dice, &[4, 7]);
    let node = node % count;
    scenario.options.nodes = count;
    scenario.options.block_period = ms(400);
    scenario.options.sequences = Some(50);
    scenario.options.background = false;
    // Half of forty heights are far enough below; 50 a minute to one receiver and more.
    let (rate, lasts) = one_of(dice, &[(45, 4_000), (100, 4_000)]);
    // The chain is at height 40 by then.
    flood(
        scenario,
        node,
        (rate, FloodOf::Stale),
        (18_500, lasts),
        "stale_flood",
    );
}

fn storm(scenario: &mut Scenario, dice: &mut Prng, node: usize) {
    // More than 16 rounds of one height, which lasts a second.
    let rate = one_of(dice, &[30, 60, 200]);
    let from = from_to(dice, 4_000, 6_000);
    flood(
        scenario,
        node,
        (rate, FloodOf::RoundChanges),
        (from, 3_500),
        "roundchange_storm",
    );
}

fn repeated(scenario: &mut Scenario, dice: &mut Prng, node: usize) {
    // More than four copies of a vote, which is the latest for most of a second.
    let rate = one_of(dice, &[14, 50, 200]);
    let from = from_to(dice, 4_000, 6_000);
    flood(
        scenario,
        node,
        (rate, FloodOf::Same),
        (from, 3_000),
        "repeated_payload",
    );
}

fn volume(scenario: &mut Scenario, dice: &mut Prng, node: usize) {
    scenario.options.nodes = 4;
    let node = node % 4;
    scenario.options.sequences = Some(12);
    scenario.options.gossip = Gossip::Flood;
    let (of, rule) = one_of(
        dice,
        &[
            (FloodOf::Same, "repeated_payload"),
            (FloodOf::Future, "future_flood"),
            (FloodOf::RoundChanges, "roundchange_storm"),
        ],
    );
    let rate = one_of(dice, &[450, 700]);
    let from = from_to(dice, 3_500, 5_000);
    flood(scenario, node, (rate, of), (from, 6_000), rule);
    scenario
        .must
        .push(Expected::new("volume", Some(node)).suspicious(true));
}

fn undecodable(scenario: &mut Scenario, dice: &mut Prng, node: usize) {
    // Ten a minute and more, at one port.
    let (rate, lasts) = one_of(dice, &[(6, 3_000), (40, 3_000), (150, 3_000)]);
    let from = from_to(dice, 4_000, 6_000);
    flood(
        scenario,
        node,
        (rate, FloodOf::Undecodable),
        (from, lasts),
        "undecodable_flood",
    );
}

fn oversized(scenario: &mut Scenario, dice: &mut Prng, node: usize) {
    // Above 4096 bytes of a frame.
    let bytes = one_of(dice, &[4_000, 20_000, 400_000]);
    let (from, lasts) = (from_to(dice, 3_500, 6_000), one_of(dice, &[2_500, 5_000]));
    fault(scenario, node, FaultKind::Oversized(bytes), from, lasts);
    scenario.must.push(
        meanwhile("oversized", node, from, lasts)
            .suspicious(true)
            .deed("oversized", node, 2),
    );
}

fn churn(scenario: &mut Scenario, dice: &mut Prng, node: usize) {
    let options = &mut scenario.options;
    // 20 connections a minute from one to another, and all peers in turn.
    let peers = options.nodes as i64;
    let to_each = one_of(dice, &[26, 40, 80]);
    let lasts = 8_000;
    let every = (lasts / (to_each * peers)).max(10);
    let node = if dice.below(2) == 0 && options.observers.is_empty() {
        options.observers = vec![one_of(dice, &[Role::Consensus, Role::Endpoint])];
        options.nodes
    } else {
        node
    };
    let from = from_to(dice, 3_500, 5_000);
    fault(scenario, node, FaultKind::Churn(ms(every)), from, lasts);
    scenario.must.push(
        meanwhile("connection_churn", node, from, lasts)
            .suspicious(true)
            .deed("churn", node, (24 * peers).unsigned_abs()),
    );
}

fn slow(scenario: &mut Scenario, dice: &mut Prng, node: usize) {
    let options = &mut scenario.options;
    options.nodes = 4;
    options.block_period = ms(500);
    options.round_timeout = ms(8_000);
    options.sequences = Some(26);
    let node = node % 4;
    // Three times half a second, and a second more than that; two turns in a row.
    let by = from_to(dice, 1_600, 3_500);
    let from = 7_000;
    fault(scenario, node, FaultKind::SlowProposals(ms(by)), from, 40_000);
    scenario.must.push(
        Expected::new("slow_proposer", Some(node))
            .suspicious(false)
            .between(ms(from - 200), ms(50_000))
            .deed("slow-proposals", node, 2),
    );
}

fn no_proposals(scenario: &mut Scenario, dice: &mut Prng, node: usize) {
    let options = &mut scenario.options;
    options.nodes = one_of(dice, &[4, 7]);
    options.round_timeout = ms(2_500);
    options.sequences = Some(20);
    let node = node % options.nodes;
    let (from, lasts) = (6_000, one_of(dice, &[9_000, 14_000]));
    fault(scenario, node, FaultKind::NoProposals, from, lasts);
    scenario.must.push(
        Expected::new("missing_proposer", Some(node))
            .suspicious(false)
            .between(ms(from), ms(from + lasts + 3_500))
            .deed("no-proposals", node, 1),
    );
}

fn silent(scenario: &mut Scenario, dice: &mut Prng, node: usize) {
    let options = &mut scenario.options;
    options.nodes = one_of(dice, &[4, 7]);
    options.sequences = Some(18);
    let node = node % options.nodes;
    let (from, lasts) = (from_to(dice, 4_000, 6_000), one_of(dice, &[8_500, 12_000]));
    fault(scenario, node, FaultKind::Silent, from, lasts);
    scenario.must.push(
        Expected::new("silent_validator", Some(node))
            .suspicious(false)
            // The last message may be one of the height before, which a round that failed made long.
            .between(ms(from - 3_500), ms(from + 1_000))
            .deed("silent", node, 3),
    );
    scenario
        .may
        .push(Expected::new("missing_proposer", Some(node)).suspicious(false));
}

fn partial(scenario: &mut Scenario, dice: &mut Prng, node: usize) {
    let options = &mut scenario.options;
    options.nodes = one_of(dice, &[4, 7]);
    options.gossip = Gossip::Direct;
    options.sequences = Some(16);
    let node = node % options.nodes;
    let peers = 1 + dice.below(options.nodes as u64 - 2) as u32;
    let (from, lasts) = (from_to(dice, 3_500, 5_000), from_to(dice, 9_000, 12_000));
    fault(scenario, node, FaultKind::Partial(peers), from, lasts);
    scenario.must.push(
        Expected::new("partial_sender", Some(node))
            .suspicious(false)
            .between(ms(from - 200), ms(from + lasts + 500))
            .deed("partial", node, 8),
    );
    // Who does not get its proposal waits for the next round.
    scenario
        .may
        .push(Expected::new("missing_proposer", Some(node)).suspicious(false));
}
