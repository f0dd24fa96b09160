//! What other ways of handing on would have cost, checked against networks that do it: the same seed with re-gossip and without.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{self, Cursor};
use std::sync::Arc;

use bftap_analysis::facts::{FactSink, HeightFacts, LinkCountFact, RunFacts, WhatIfFact};
use bftap_decrypt::SecretStore;
use bftap_decrypt::keylog::LastLine;
use bftap_model::Nanos;
use bftap_pipeline::{Input, PipelineOptions, Progress, analyze};
use bftap_simnet::client::Client;
use bftap_simnet::{Gossip, SimulateOptions, Sinks, Taps, simulate};

#[derive(Default)]
struct Heights(Vec<HeightFacts>);

impl FactSink for Heights {
    type Error = Infallible;

    fn height(&mut self, height: &HeightFacts) -> Result<(), Infallible> {
        self.0.push(height.clone());
        Ok(())
    }

    fn minute(&mut self, _: &[LinkCountFact]) -> Result<(), Infallible> {
        Ok(())
    }
}

struct Found {
    heights: Vec<HeightFacts>,
    facts: RunFacts,
}

fn found(options: &SimulateOptions) -> Found {
    // An interface for each tap, so that packets are seen at both ends.
    let [mut capture, mut key_log] = [const { Vec::new() }; 2];
    let sinks = Sinks {
        captures: vec![Box::new(&mut capture)],
        key_log: Box::new(&mut key_log),
        nodes: Box::new(io::sink()),
        truth: Box::new(io::sink()),
    };
    simulate(options, sinks).unwrap();
    let secrets = SecretStore::new();
    secrets.add_key_log(&key_log, 1, LastLine::Whole, &"simulated".into());
    let options = PipelineOptions {
        jobs: 2,
        secrets: Arc::new(secrets),
        ..PipelineOptions::default()
    };
    let input = Input {
        path: "simulated".to_owned(),
        read: Box::new(Cursor::new(capture)),
    };
    let mut heights = Heights::default();
    let analysis = analyze(vec![input], Arc::new(options), &Progress::default(), &mut heights).unwrap();
    Found {
        heights: heights.0,
        facts: analysis.facts,
    }
}

impl Found {
    fn messages(&self) -> u64 {
        let counts = self.heights.iter().flat_map(|height| &height.counts);
        counts.map(|count| count.messages).sum()
    }

    fn policy(&self, name: &str) -> &WhatIfFact {
        let mut rows = self.facts.what_if.iter();
        rows.find(|row| &*row.policy == name)
            .expect("each policy has a row")
    }

    /// Messages by what they are: sequence, round, kind, signer.
    fn by_vote(&self) -> BTreeMap<(u64, u64, String, String), u64> {
        let mut sums = BTreeMap::new();
        for row in self.heights.iter().flat_map(|height| &height.deliveries) {
            let key = (
                row.sequence,
                row.round,
                row.kind.to_string(),
                row.signer.to_string(),
            );
            *sums.entry(key).or_default() += row.copies;
        }
        sums
    }
}

fn options(seed: u64, gossip: Gossip) -> SimulateOptions {
    SimulateOptions {
        seed,
        gossip,
        // Whose quorum is more than half: 3 of 4, 5 of 7.
        nodes: if seed.is_multiple_of(2) { 4 } else { 7 },
        sequences: Some(6),
        ..SimulateOptions::default()
    }
}

/// GoQuorum's nodes send their own votes at once, whether or not they re-gossip.
fn quorum(seed: u64, gossip: Gossip) -> SimulateOptions {
    SimulateOptions {
        clients: vec![Client::Quorum20_10],
        ..options(seed, gossip)
    }
}

/// Nodes take 10 ms for a message, and messages are on their way for less than 4. So nobody gets a prepare before the proposal, or a commit
/// before all prepares: each node sends all its votes, with re-gossip and without, and both networks send the same ones.
#[test]
fn no_regossip_costs_exactly_what_a_network_without_it_sends() {
    for seed in 1..=8 {
        let of = |gossip| {
            let mut options = quorum(seed, gossip);
            options.processing = Nanos::from_millis(10);
            found(&options)
        };
        let (flood, direct) = (of(Gossip::Flood), of(Gossip::Direct));
        let none = flood.policy("none");
        assert!(flood.by_vote().keys().eq(direct.by_vote().keys()), "seed {seed}");
        assert_eq!(none.messages, direct.messages(), "seed {seed}");
        assert!(none.messages * 2 < flood.messages(), "seed {seed}: it re-gossips");
    }
}

/// With quick nodes some commits are sent in one network only, because the block was decided without them in the other. All other votes cost
/// the same.
#[test]
fn only_commits_that_nobody_needs_make_a_difference() {
    let mut equal = 0;
    for seed in 1..=8 {
        let of = |gossip| found(&quorum(seed, gossip));
        let (flood, direct) = (of(Gossip::Flood), of(Gossip::Direct));
        let none = flood.policy("none");
        let others = if seed.is_multiple_of(2) { 3 } else { 6 };
        assert_eq!(
            none.messages,
            none.payloads * others,
            "seed {seed}: each to all others, once"
        );
        assert_eq!(none.not_delivered, 0);
        assert!(none.messages < flood.messages(), "seed {seed}: it re-gossips");
        assert_eq!(flood.policy("as_seen").messages, flood.messages(), "seed {seed}");
        // Without re-gossip nothing is saved.
        assert_eq!(direct.policy("none").messages, direct.messages(), "seed {seed}");
        let (with, without) = (flood.by_vote(), direct.by_vote());
        if with.keys().eq(without.keys()) {
            equal += 1;
            assert_eq!(none.messages, direct.messages(), "seed {seed}");
        }
        let common = without.keys().filter(|vote| with.contains_key(*vote)).count() as u64;
        let only_with = with.len() as u64 - common;
        let only_without = without.len() as u64 - common;
        assert_eq!(
            none.messages - only_with * others,
            direct.messages() - only_without * others,
            "seed {seed}"
        );
        let commits_only = |a: &BTreeMap<(u64, u64, String, String), u64>, b: &BTreeMap<_, _>| {
            a.keys()
                .filter(|vote| !b.contains_key(*vote))
                .all(|(.., kind, _)| kind == "commit")
        };
        assert!(
            commits_only(&with, &without) && commits_only(&without, &with),
            "seed {seed}"
        );
    }
    assert!(equal > 0, "{equal} of 8 seeds send the same votes");
}

/// Klaytn's own votes leave once its core has accepted them, so with re-gossip some are never sent.
#[test]
fn klaytn_differs_in_votes_that_are_not_sent() {
    for seed in 1..=4 {
        let (flood, direct) = (
            found(&options(seed, Gossip::Flood)),
            found(&options(seed, Gossip::Direct)),
        );
        let others = if seed.is_multiple_of(2) { 3 } else { 6 };
        let (with, without) = (flood.by_vote(), direct.by_vote());
        let common = without.keys().filter(|vote| with.contains_key(*vote)).count() as u64;
        let none = flood.policy("none");
        assert_eq!(none.messages, with.len() as u64 * others, "seed {seed}");
        assert_eq!(direct.messages(), without.len() as u64 * others, "seed {seed}");
        assert!(
            common * 20 > without.len() as u64 * 17,
            "seed {seed}: nearly all votes are the same"
        );
    }
}

#[test]
fn policies_stand_in_the_order_that_their_rules_make() {
    let flood = found(&options(3, Gossip::Flood));
    let [seen, none, besu, sqrt, degree] =
        ["as_seen", "none", "not_to_signer_and_source", "sqrt", "degree_4"].map(|name| flood.policy(name));
    assert_eq!(flood.facts.what_if.len(), 5);
    for row in [seen, none, besu, sqrt, degree] {
        assert_eq!(row.payloads, seen.payloads);
        assert!(row.bytes > row.messages * 100, "{row:?}");
    }
    // Seven nodes: six copies of each payload at each of six others, less those that a longer way reached first.
    assert!(
        besu.messages > none.messages * 5 && besu.messages <= none.messages * 6,
        "{besu:?}"
    );
    assert!(sqrt.messages < degree.messages && degree.messages < besu.messages);
    assert!(sqrt.messages > none.messages / 2);
    assert_eq!((none.not_delivered, besu.not_delivered), (0, 0));
    assert!(sqrt.not_delivered < none.messages / 5, "{sqrt:?}");
    // A packet takes some 150 microseconds and a node's queue as long: whoever hands on adds to the delay.
    for row in [seen, none, besu, degree, sqrt] {
        let (median, most) = (row.delay_p50_ns.unwrap(), row.delay_p95_ns.unwrap());
        assert!((50_000..5_000_000).contains(&median) && median <= most, "{row:?}");
    }
    assert!(besu.delay_p50_ns <= degree.delay_p50_ns && degree.delay_p50_ns <= sqrt.delay_p50_ns);
    // Some sends wait for up to three milliseconds; whoever re-gossips overtakes them.
    assert!(seen.delay_p95_ns < none.delay_p95_ns);

    // One tap: messages of the same receivers only, and no delays, for none was measured.
    let mut one = options(3, Gossip::Flood);
    one.taps = Taps::Only(vec![2]);
    let one = found(&one);
    let at_it: u64 = one
        .heights
        .iter()
        .flat_map(|height| &height.counts)
        .filter(|count| count.receiver_ip.to_string() == "10.0.0.3")
        .map(|count| count.messages)
        .sum();
    assert_eq!(one.policy("as_seen").messages, at_it);
    assert!(one.policy("none").messages * 3 < at_it);
    assert_eq!(one.policy("none").delay_p50_ns, None);
    assert!(one.policy("degree_4").messages > one.policy("none").messages);
}
