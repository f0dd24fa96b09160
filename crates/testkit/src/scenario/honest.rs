//! Trouble that is nobody's fault, and what rules may say of it: who is silent, not who is to blame.

use bftap_model::Nanos;
use bftap_simnet::prng::Prng;
use bftap_simnet::{ClockStep, Fault, FaultKind, Gossip, SecretsPlace, Taps};

use super::{Expected, Scenario, from_to, ms, one_of};

/// One sort of trouble, or two.
pub(super) fn trouble(scenario: &mut Scenario, dice: &mut Prng) {
    match dice.below(12) {
        0..=2 => outage(scenario, dice),
        3 => reinitialized(scenario, dice),
        4 => clock_step(scenario, dice),
        5 => lossy_tap(scenario, dice),
        6 => joined_late(scenario, dice),
        7 => cut(scenario, dice),
        8 => conflicting_locks(scenario, dice),
        9 => stalled(scenario, dice),
        _ => mild(scenario, dice),
    }
    if dice.below(3) == 0 {
        mild(scenario, dice);
    }
}

/// Trouble that hides nothing from the taps and keeps nobody from working.
pub(super) fn mild(scenario: &mut Scenario, dice: &mut Prng) {
    let options = &mut scenario.options;
    // A slow node beside one that misbehaves may be one too many.
    let alone = options.faults.is_empty();
    match dice.below(4) {
        1 if !alone => {}
        0 => {
            options.loss = from_to(dice, 500, 5_000) as u32;
            options.reordering = from_to(dice, 500, 10_000) as u32;
            scenario
                .about
                .push("a network that loses and reorders".to_owned());
        }
        1 => {
            let node = dice.below(options.nodes as u64) as usize;
            options.faults.push(Fault {
                node,
                kind: FaultKind::Slow(Nanos::from_millis(from_to(dice, 1, 10))),
                from: ms(3_000),
                until: None,
            });
            scenario.about.push(format!("{} is slow", options.name_of(node)));
            // Klaytn's own votes leave when they have been through the node's own queue, which may be too late.
            for rule in ["silent_validator", "missing_proposer"] {
                scenario
                    .may
                    .push(Expected::new(rule, Some(node)).suspicious(false));
            }
        }
        2 => {
            options.secrets = SecretsPlace::KeyLogAndCapture;
            options.simultaneous_dials = true;
            scenario.about.push("all dial all at once".to_owned());
        }
        _ => {
            options.taps = some_taps(dice, options.nodes, None);
            scenario.about.push(format!("captured at {:?}", options.taps));
            // Whose port is not captured may have said what nobody saw.
            let (unseen, must) = std::mem::take(&mut scenario.must)
                .into_iter()
                .partition(|expected| expected.rule == "silent_validator");
            scenario.must = must;
            scenario.may.extend::<Vec<Expected>>(unseen);
        }
    }
}

/// The ports of some nodes, this one's among them.
pub(super) fn some_taps(dice: &mut Prng, nodes: usize, with: Option<usize>) -> Taps {
    let mut taps: Vec<usize> = (0..nodes).filter(|_| dice.below(3) == 0).collect();
    let one = with.unwrap_or_else(|| dice.below(nodes as u64) as usize);
    if !taps.contains(&one) {
        taps.push(one);
    }
    taps.sort_unstable();
    Taps::Only(taps)
}

/// A node crashes, loses its power or stands still, and comes back, or does not.
fn outage(scenario: &mut Scenario, dice: &mut Prng) {
    let options = &mut scenario.options;
    let node = dice.below(options.nodes as u64) as usize;
    let kind = one_of(
        dice,
        &[FaultKind::Killed, FaultKind::PowerLoss, FaultKind::Paused],
    );
    let from = from_to(dice, 4_500, 6_000);
    let mut lasts = one_of(dice, &[1_000, 3_000, 11_000, 14_000]);
    if options.nodes > 8 && options.gossip == Gossip::Flood {
        // Half a minute of that is half a million messages.
        lasts = lasts.min(3_000);
    }
    let comes_back = lasts < 14_000;
    options.sequences = None;
    options.duration = Some(ms(from + lasts + if comes_back { 9_000 } else { 0 }));
    let until = comes_back.then_some(ms(from + lasts));
    // Blocks come to who was away.
    options.background = true;
    options.faults.push(Fault {
        node,
        kind,
        from: ms(from),
        until,
    });
    scenario
        .about
        .push(format!("{} is {kind} for {lasts} ms", options.name_of(node)));
    // From the last message before to the first one behind, which may come some rounds later.
    let silent = Expected::new("silent_validator", Some(node))
        .suspicious(false)
        .between(ms(from - 3_500), ms(from + lasts));
    if lasts > 10_000 {
        scenario.must.push(silent);
    } else {
        scenario
            .may
            .push(silent.between(ms(from - 3_500), ms(from + lasts + 9_000)));
    }
    // Its connections come back one after the other.
    if scenario.options.gossip == Gossip::Direct {
        scenario
            .may
            .push(Expected::new("partial_sender", Some(node)).suspicious(false));
    }
    // Who comes back is behind for a while.
    for rule in ["missing_proposer", "slow_proposer"] {
        scenario
            .may
            .push(Expected::new(rule, Some(node)).suspicious(false));
    }
}

/// All nodes stop, and begin a new chain with the same keys: heights start again.
fn reinitialized(scenario: &mut Scenario, dice: &mut Prng) {
    let at = from_to(dice, 5_000, 9_000);
    scenario.options.reinitialize = Some(ms(at));
    scenario.options.sequences = Some(7);
    scenario.about.push(format!("a new chain at {at} ms"));
}

fn clock_step(scenario: &mut Scenario, dice: &mut Prng) {
    let by = one_of(dice, &[-3_000, -400, 700, 2_500, 20_000, 3_600_000]);
    let at = from_to(dice, 4_000, 9_000);
    scenario.options.clock_steps.push(ClockStep {
        at: ms(at),
        by: ms(by),
    });
    scenario
        .about
        .push(format!("the clock steps by {by} ms at {at} ms"));
}

/// One tap loses packets: what it did not see did not fail to happen.
fn lossy_tap(scenario: &mut Scenario, dice: &mut Prng) {
    let options = &mut scenario.options;
    let node = dice.below(options.nodes as u64) as usize;
    let share = one_of(dice, &[500, 3_000, 20_000]);
    if dice.below(2) == 0 {
        options.taps = some_taps(dice, options.nodes, Some(node));
    }
    options.faults.push(Fault {
        node,
        kind: FaultKind::LossyTap(share),
        from: ms(3_500),
        until: None,
    });
    scenario.about.push(format!(
        "the tap of {} loses {share} in a million",
        options.name_of(node)
    ));
}

/// Capturing begins late, or some secrets are withheld.
fn joined_late(scenario: &mut Scenario, dice: &mut Prng) {
    let options = &mut scenario.options;
    if dice.below(2) == 0 {
        let from = from_to(dice, 2_000, 6_000);
        options.capture_from = ms(from);
        scenario.about.push(format!("captured from {from} ms on"));
    } else {
        let every = one_of(dice, &[2, 3, 5]);
        options.withhold_secret_every = Some(every);
        scenario.about.push(format!("every {every}th secret withheld"));
    }
}

/// Two nodes do not reach each other for a while.
fn cut(scenario: &mut Scenario, dice: &mut Prng) {
    let options = &mut scenario.options;
    let node = dice.below(options.nodes as u64) as usize;
    let other = (node + 1 + dice.below(options.nodes as u64 - 1) as usize) % options.nodes;
    let (from, lasts) = (from_to(dice, 4_000, 6_000), from_to(dice, 1_000, 8_000));
    options.faults.push(Fault {
        node,
        kind: FaultKind::Cut(other),
        from: ms(from),
        until: Some(ms(from + lasts)),
    });
    scenario.about.push(format!(
        "{} and {} apart for {lasts} ms",
        options.name_of(node),
        options.name_of(other)
    ));
}

/// Two honest nodes lock different blocks.
fn conflicting_locks(scenario: &mut Scenario, dice: &mut Prng) {
    let options = &mut scenario.options;
    options.nodes = one_of(dice, &[4, 7]);
    let height = from_to(dice, 3, 6);
    options.conflicting_locks = Some(height.unsigned_abs());
    options.round_timeout = ms(3_000);
    options.sequences = None;
    // Where only prepares prepare, four nodes may stand still for good.
    options.duration = Some(ms(45_000));
    scenario
        .about
        .push(format!("two nodes lock different blocks of height {height}"));
    scenario
        .must
        .push(Expected::new("conflicting_lock", None).suspicious(false));
    scenario
        .may
        .push(Expected::new("stalled_chain", None).suspicious(false));
    for node in 0..scenario.options.nodes {
        scenario
            .may
            .push(Expected::new("partial_sender", Some(node)).suspicious(false));
        scenario
            .may
            .push(Expected::new("missing_proposer", Some(node)).suspicious(false));
    }
}

/// More nodes fail than may: the chain stands still.
fn stalled(scenario: &mut Scenario, dice: &mut Prng) {
    let options = &mut scenario.options;
    options.nodes = 4;
    options.sequences = None;
    let from = from_to(dice, 5_000, 8_000);
    let comes_back = dice.below(2) == 0;
    // Who is left asks for rounds less and less often: the last one must be half a minute behind the last block.
    let lasts = if comes_back { 38_000 } else { 60_000 };
    options.duration = Some(ms(from + lasts + if comes_back { 30_000 } else { 0 }));
    let first = dice.below(4) as usize;
    for node in [first, (first + 1) % 4] {
        options.faults.push(Fault {
            node,
            kind: FaultKind::Killed,
            from: ms(from),
            until: comes_back.then_some(ms(from + lasts)),
        });
        for rule in ["silent_validator", "missing_proposer"] {
            scenario
                .may
                .push(Expected::new(rule, Some(node)).suspicious(false));
        }
    }
    // Who is left may be found silent too: in a round that half of them have reached.
    scenario
        .about
        .push(format!("two of four are killed at {from} ms"));
    scenario
        .must
        .push(Expected::new("stalled_chain", None).suspicious(false));
}
