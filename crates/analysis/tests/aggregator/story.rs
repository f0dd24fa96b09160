//! Rounds at each node and the truth table: what is told of votes that came, and of those that did not.

use bftap_analysis::AnalysisOptions;
use bftap_analysis::facts::{DelayBound, HeightFacts, RoundCause, VoteFact, VoteState};
use bftap_ibft_decode::Kind;

use crate::network::{Network, Tap, ip, judge};

const SECOND: i64 = 1_000_000_000;
const MILLI: i64 = 1_000_000;

/// A height by hand: who signs what when, and who does not get it.
struct Script {
    network: Network,
    clock: i64,
}

impl Script {
    /// Three quiet heights of four nodes first, so that proposers are known.
    fn new() -> Self {
        let mut network = Network::new(4);
        for sequence in 1..=5 {
            network.height(sequence, &[0]);
        }
        let clock = network.span_of(5).1 + SECOND;
        Self { network, clock }
    }

    /// `signers` sign one after the other, a millisecond apart, and reach all but those of `but`.
    fn say(&mut self, kind: Kind, sequence: u64, round: u64, signers: &[u8], but: &[u8]) {
        for &signer in signers {
            self.clock += MILLI;
            let vote = self.network.vote(kind, sequence, round, signer, 1);
            for receiver in (0..4).filter(|receiver| *receiver != signer && !but.contains(receiver)) {
                self.clock += 1000;
                self.network.deliver(&vote, signer, receiver, self.clock);
            }
        }
    }

    fn wait(&mut self, nanos: i64) {
        self.clock += nanos;
    }

    fn judge(&self, sequence: u64, tap: &Tap) -> HeightFacts {
        let (heights, _) = judge(self.network.observations(), &AnalysisOptions::default(), tap);
        let found = heights
            .into_iter()
            .find(|height| height.counts[0].sequence == sequence);
        found.expect("the height is there")
    }

    fn label(&self, node: usize) -> String {
        self.network.addresses()[node].to_string()
    }

    fn vote(&self, height: &HeightFacts, kind: Kind, round: u64, node: usize) -> Option<VoteFact> {
        let mut own = height
            .votes
            .iter()
            .filter(|vote| vote.kind == kind && vote.round == round && *vote.signer == *self.label(node));
        let vote = own.next().cloned();
        assert!(own.next().is_none(), "one line");
        vote
    }

    fn state(&self, height: &HeightFacts, kind: Kind, round: u64, node: usize) -> Option<VoteState> {
        self.vote(height, kind, round, node).map(|vote| vote.state)
    }
}

#[test]
fn a_round_has_a_row_at_each_node() {
    let mut network = Network::new(4);
    network.height(1, &[0]);
    let (heights, _) = judge(network.observations(), &AnalysisOptions::default(), &Tap::All);
    let rows = &heights[0].node_rounds;
    assert_eq!(
        rows.iter().map(|row| row.node_ip).collect::<Vec<_>>(),
        [0, 1, 2, 3].map(ip)
    );
    for row in rows {
        let times = [row.preprepare_ns, row.prepared_ns, row.committed_ns].map(Option::unwrap);
        assert!(
            times[0] < times[1] && times[1] < times[2] && !row.lower_bound,
            "{row:?}"
        );
    }
    let first = rows.iter().map(|row| row.preprepare_ns).min().unwrap();
    assert_eq!(
        first, rows[1].preprepare_ns,
        "the proposer has its own when it leaves"
    );
    assert_eq!(first, heights[0].rounds[0].preprepare_ns);
}

#[test]
fn everybody_votes() {
    let script = Script::new();
    let height = script.judge(3, &Tap::All);
    assert_eq!(
        height.votes.len(),
        9,
        "a proposal, and two votes of each: {:?}",
        height.votes
    );
    for vote in &height.votes {
        assert!(
            matches!(vote.state, VoteState::Complete | VoteState::Late),
            "{vote:?}"
        );
        assert_eq!((vote.reached, vote.of), (3, 3));
        assert_eq!(vote.first_sender.as_ref(), Some(&vote.signer));
    }
}

#[test]
fn a_silent_validator_a_cut_link_and_a_lossy_tap_are_told_apart() {
    // Node 0 proposes 8; node 3 is silent. Node 2 is cut off from node 1.
    let build = || {
        let mut script = Script::new();
        script.say(Kind::Preprepare, 6, 0, &[2], &[]);
        script.say(Kind::Prepare, 6, 0, &[0, 2], &[]);
        script.say(Kind::Prepare, 6, 0, &[1], &[2]);
        script.say(Kind::Commit, 6, 0, &[0, 1, 2], &[]);
        script
    };
    let script = build();
    let height = script.judge(6, &Tap::All);
    assert_eq!(
        script.state(&height, Kind::Prepare, 0, 3),
        Some(VoteState::Missing)
    );
    assert_eq!(
        script.state(&height, Kind::Commit, 0, 3),
        Some(VoteState::Missing)
    );
    let cut = script.vote(&height, Kind::Prepare, 0, 1).unwrap();
    assert_eq!((cut.state, cut.reached, cut.of), (VoteState::Partial, 2, 3));
    assert_eq!(
        cut.not_reached
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        [script.label(2)]
    );
    assert_eq!(
        script.state(&height, Kind::Prepare, 0, 0),
        Some(VoteState::Complete)
    );

    // Something was lost at the silent node: nothing is said of it.
    let mut script = build();
    let (from, to) = (script.clock - 4 * MILLI, script.clock);
    script.network.lose(3, from, to);
    let height = script.judge(6, &Tap::All);
    assert_eq!(
        script.state(&height, Kind::Commit, 0, 3),
        Some(VoteState::Missing),
        "all others were seen"
    );
    script.network.lose(0, from, to);
    let height = script.judge(6, &Tap::All);
    assert_eq!(
        script.state(&height, Kind::Commit, 0, 3),
        Some(VoteState::Unknown)
    );

    // Something was lost at the node that was cut off: it may have got it.
    let mut script = build();
    script.network.lose(2, from, to);
    let height = script.judge(6, &Tap::All);
    let vote = script.vote(&height, Kind::Prepare, 0, 1).unwrap();
    assert_eq!((vote.state, vote.reached, vote.of), (VoteState::Complete, 2, 2));

    // One tap does not see what goes on between others.
    script.network.hide(1, 3);
    let height = script.judge(6, &Tap::Of(0));
    assert_eq!(
        script.state(&height, Kind::Commit, 0, 3),
        Some(VoteState::Unknown)
    );
}

#[test]
fn a_commit_that_nobody_needed_is_not_missing() {
    let mut script = Script::new();
    script.say(Kind::Preprepare, 6, 0, &[2], &[]);
    script.say(Kind::Prepare, 6, 0, &[0, 1, 2], &[]);
    script.say(Kind::Commit, 6, 0, &[0, 1, 2], &[]);
    // Its prepare was late, and its commit stayed at home.
    script.say(Kind::Prepare, 6, 0, &[3], &[0]);
    let height = script.judge(6, &Tap::All);
    assert_eq!(
        script.state(&height, Kind::Commit, 0, 3),
        Some(VoteState::NotNeeded)
    );
    let late = script.vote(&height, Kind::Prepare, 0, 3).unwrap();
    assert_eq!(
        late.state,
        VoteState::Late,
        "who has decided is not reached any more: {late:?}"
    );

    // A locked node commits without a prepare.
    let mut script = Script::new();
    script.say(Kind::Preprepare, 6, 0, &[2], &[]);
    script.say(Kind::Prepare, 6, 0, &[0, 1, 2], &[]);
    script.say(Kind::Commit, 6, 0, &[0, 1, 2, 3], &[]);
    let height = script.judge(6, &Tap::All);
    assert_eq!(
        script.state(&height, Kind::Prepare, 0, 3),
        Some(VoteState::NotNeeded)
    );
    assert!(matches!(
        script.state(&height, Kind::Commit, 0, 3),
        Some(VoteState::Complete | VoteState::Late)
    ));
}

#[test]
fn what_the_end_of_the_capture_may_hide_is_not_missing() {
    let mut script = Script::new();
    script.say(Kind::Preprepare, 6, 0, &[2], &[]);
    script.say(Kind::Prepare, 6, 0, &[0, 2], &[]);
    script.say(Kind::Prepare, 6, 0, &[1], &[2]);
    let state = |script: &Script, after: i64| {
        let mut script = Script {
            network: script.network.clone(),
            clock: script.clock,
        };
        for a in 0..4 {
            for b in a + 1..4 {
                script.network.open_from_to(a, b, (0, script.clock + after));
            }
        }
        let height = script.judge(6, &Tap::All);
        [(3, Kind::Prepare), (1, Kind::Prepare)].map(|(node, kind)| script.state(&height, kind, 0, node))
    };
    let [unknown, complete] = [VoteState::Unknown, VoteState::Complete].map(Some);
    assert_eq!(state(&script, MILLI), [unknown, complete]);
    assert_eq!(
        state(&script, 2 * SECOND),
        [VoteState::Missing, VoteState::Partial].map(Some)
    );
}

#[test]
fn whoever_is_not_connected_is_not_reached_and_does_not_make_others_votes_partial() {
    let mut script = Script::new();
    let left = script.clock;
    for other in 0..3 {
        script.network.open_from_to(other, 3, (0, left - SECOND / 2));
    }
    script.say(Kind::Preprepare, 6, 0, &[2], &[3]);
    script.say(Kind::Prepare, 6, 0, &[0, 1, 2], &[3]);
    script.say(Kind::Commit, 6, 0, &[0, 1, 2], &[3]);
    let height = script.judge(6, &Tap::All);
    let vote = script.vote(&height, Kind::Prepare, 0, 0).unwrap();
    assert_eq!((vote.state, vote.reached, vote.of), (VoteState::Complete, 2, 2));
    assert_eq!(
        script.state(&height, Kind::Prepare, 0, 3),
        Some(VoteState::Missing)
    );
    assert_eq!(
        script.state(&height, Kind::Commit, 0, 3),
        Some(VoteState::Missing)
    );
}

/// Only node 0 is seen whole.
fn causes_at_one_tap(script: &Script) -> Vec<Option<RoundCause>> {
    let mut one = Script {
        network: script.network.clone(),
        clock: script.clock,
    };
    one.network.hide(1, 2);
    one.network.hide(2, 3);
    causes(&one, &Tap::Of(0))
}

fn causes(script: &Script, tap: &Tap) -> Vec<Option<RoundCause>> {
    let height = script.judge(6, tap);
    height.rounds.iter().map(|round| round.cause).collect()
}

#[test]
fn rounds_are_left_for_a_reason() {
    let decide = |script: &mut Script| {
        script.say(Kind::Preprepare, 6, 1, &[3], &[]);
        script.say(Kind::Prepare, 6, 1, &[0, 1, 2, 3], &[]);
        script.say(Kind::Commit, 6, 1, &[0, 1, 2, 3], &[]);
    };
    let change = |script: &mut Script| {
        script.wait(10 * SECOND);
        script.say(Kind::RoundChange, 6, 1, &[0, 1, 3], &[]);
    };
    let mut script = Script::new();
    change(&mut script);
    decide(&mut script);
    assert_eq!(causes(&script, &Tap::All), [Some(RoundCause::NoPreprepare), None]);
    assert_eq!(causes_at_one_tap(&script), [Some(RoundCause::Unknown), None]);
    let height = script.judge(6, &Tap::All);
    assert_eq!(
        script.state(&height, Kind::Preprepare, 0, 2),
        Some(VoteState::Missing)
    );
    assert_eq!(height.rounds[0].block_time_ns, None);
    assert!(height.rounds[1].block_time_ns.unwrap() > 10 * SECOND);
    // Lost between the block before and the first thing seen of this height.
    let before = script.network.span_of(5).1 + SECOND;
    script.network.lose(2, before + SECOND, before + 2 * SECOND);
    assert_eq!(causes(&script, &Tap::All), [Some(RoundCause::Unknown), None]);

    let mut script = Script::new();
    change(&mut script);
    script.say(Kind::Preprepare, 6, 0, &[2], &[]);
    decide(&mut script);
    assert_eq!(
        causes(&script, &Tap::All),
        [Some(RoundCause::LatePreprepare), None]
    );

    let mut script = Script::new();
    script.say(Kind::Preprepare, 6, 0, &[2], &[]);
    script.say(Kind::Prepare, 6, 0, &[0, 2], &[]);
    change(&mut script);
    decide(&mut script);
    assert_eq!(causes(&script, &Tap::All), [Some(RoundCause::VotesMissing), None]);
    let height = script.judge(6, &Tap::All);
    assert_eq!(
        script.state(&height, Kind::Prepare, 0, 1),
        Some(VoteState::Missing)
    );
    assert_eq!(
        script.state(&height, Kind::Commit, 0, 1),
        None,
        "nobody was prepared: no commit was due"
    );

    let mut script = Script::new();
    script.say(Kind::Preprepare, 6, 0, &[2], &[]);
    script.say(Kind::Prepare, 6, 0, &[0, 1, 2], &[]);
    change(&mut script);
    decide(&mut script);
    assert_eq!(
        causes(&script, &Tap::All),
        [Some(RoundCause::QuorumTooLate), None]
    );
    assert_eq!(
        causes_at_one_tap(&script),
        [Some(RoundCause::QuorumTooLate), None]
    );
    let height = script.judge(6, &Tap::All);
    assert_eq!(
        script.state(&height, Kind::Commit, 0, 1),
        Some(VoteState::Missing),
        "it was prepared"
    );
}

#[test]
fn proposals_for_rounds_where_nobody_is_make_no_lines_for_others() {
    let mut script = Script::new();
    for round in 1..50 {
        script.say(Kind::Preprepare, 6, round, &[1], &[]);
        script.say(Kind::RoundChange, 6, round, &[1], &[]);
    }
    let height = script.judge(6, &Tap::All);
    assert_eq!(
        height.votes.len(),
        98,
        "its own; and whose turn it was is not sure any more"
    );
    assert_eq!(height.rounds.len(), 50);
}

#[test]
fn participation_adds_up() {
    let mut script = Script::new();
    // Node 2 proposes; 3 prepares late and never commits, 1 misses a prepare.
    script.say(Kind::Preprepare, 6, 0, &[2], &[]);
    script.say(Kind::Prepare, 6, 0, &[0, 2], &[]);
    script.say(Kind::Commit, 6, 0, &[0, 2, 1], &[]);
    script.wait(7 * MILLI);
    script.say(Kind::Prepare, 6, 0, &[3], &[]);
    // Node 3 should propose 7; nobody does, and 0 proposes in round 1. Node 1 is silent.
    script.wait(10 * SECOND);
    script.say(Kind::RoundChange, 7, 1, &[0, 2, 3], &[]);
    script.say(Kind::Preprepare, 7, 1, &[0], &[]);
    script.say(Kind::Prepare, 7, 1, &[0, 2, 3], &[]);
    script.say(Kind::Commit, 7, 1, &[3, 2, 0], &[]);
    let (heights, facts) = judge(
        script.network.observations(),
        &AnalysisOptions::default(),
        &Tap::All,
    );
    assert_eq!(heights.len(), 7);
    let of = |node: usize| {
        let mut rows = facts.participation.iter();
        rows.find(|row| row.address == Some(script.network.addresses()[node]))
            .unwrap()
    };
    assert_eq!(facts.participation.len(), 4);
    for node in 0..4 {
        let row = of(node);
        assert_eq!(
            (row.rounds, row.invalid, row.partial, row.unknown),
            (7, 0, 0, 0),
            "{row:?}"
        );
        assert!(row.commits + row.missing <= row.rounds);
    }
    let votes = |node| {
        (
            of(node).prepares,
            of(node).commits,
            of(node).missing,
            of(node).roundchanges,
        )
    };
    assert_eq!(votes(0), (7, 7, 0, 1));
    assert_eq!(votes(1), (5, 6, 1, 0));
    assert_eq!(votes(2), (7, 7, 0, 1));
    assert_eq!(votes(3), (7, 6, 0, 1), "its commit at 6 was not needed");
    // Proposers by round robin: 1, 2, 3, 0, 1 of the quiet heights, then 2, and for 7 first 3.
    let proposals = |node| (of(node).proposals_due, of(node).proposals);
    assert_eq!([0, 1, 2, 3].map(proposals), [(2, 2), (1, 2), (2, 2), (2, 1)]);
    // At 7 it was the last of three to commit, a millisecond after each other.
    assert!(of(0).commit_delay_p95_ns.unwrap() >= 2 * MILLI);
    let late = |node: usize| of(node).late;
    assert_eq!(
        late(3),
        heights
            .iter()
            .flat_map(|height| &height.votes)
            .filter(|vote| { vote.state == VoteState::Late && *vote.signer == *script.label(3) })
            .count() as u64
    );
    assert!(late(3) >= 1);
}

/// Quantiles of the lists are those of the rows, to less than a hundredth.
#[test]
fn phases_are_quantiles_of_rounds() {
    let mut network = Network::new(4);
    for sequence in 1..60 {
        network.height(sequence, if sequence % 9 == 0 { &[0, 1] } else { &[0] });
    }
    let (heights, facts) = judge(network.observations(), &AnalysisOptions::default(), &Tap::All);
    let rounds: Vec<_> = heights.iter().flat_map(|height| &height.rounds).collect();
    let exact = |phase: &str| {
        let mut all: Vec<i64> = rounds
            .iter()
            .filter_map(|round| {
                let between = |from: Option<bftap_model::CaptureTime>, to: Option<_>| {
                    let (from, to): (_, bftap_model::CaptureTime) = (from?, to?);
                    Some(to.since(from).0)
                };
                match phase {
                    "block_time" => round.block_time_ns,
                    "preprepare_to_prepared" => between(round.preprepare_ns, round.prepared_ns),
                    "prepared_to_committed" => between(round.prepared_ns, round.committed_ns),
                    "preprepare_to_committed" => between(round.preprepare_ns, round.committed_ns),
                    _ => None,
                }
            })
            .collect();
        all.sort_unstable();
        all
    };
    let names: Vec<_> = facts.phases.iter().map(|row| row.phase.to_string()).collect();
    assert_eq!(
        names,
        [
            "block_time",
            "preprepare_to_committed",
            "preprepare_to_prepared",
            "prepared_to_committed"
        ],
        "nobody asked for a round"
    );
    for row in &facts.phases {
        let all = exact(&row.phase);
        assert_eq!(row.rounds, all.len() as u64, "{row:?}");
        assert_eq!(Some(&row.max_ns), all.last(), "the longest is exact: {row:?}");
        for (percent, told) in [
            (50, row.p50_ns),
            (95, row.p95_ns),
            (99, row.p99_ns),
            (100, row.max_ns),
        ] {
            let exact = all[(all.len() * percent).div_ceil(100) - 1];
            assert!(
                told >= exact && told - exact <= exact / 100,
                "{percent} %: {row:?} {exact}"
            );
        }
    }
    // Each median is that of the nodes.
    for height in &heights {
        for round in &height.rounds {
            let own = height.node_rounds.iter().filter(|row| row.round == round.round);
            let mut times: Vec<_> = own.filter_map(|row| row.committed_ns).collect();
            times.sort_unstable();
            assert_eq!(
                round.committed_ns,
                times.get(times.len().saturating_sub(1) / 2).copied()
            );
        }
    }
}

#[test]
fn two_votes_of_one_signer_are_two_lines() {
    let mut script = Script::new();
    script.say(Kind::Preprepare, 6, 0, &[2], &[]);
    for block in [1, 2] {
        let vote = script.network.vote(Kind::Prepare, 6, 0, 1, block);
        script
            .network
            .deliver(&vote, 1, 0, script.clock + i64::from(block));
    }
    let height = script.judge(6, &Tap::All);
    let own = height
        .votes
        .iter()
        .filter(|vote| vote.kind == Kind::Prepare && *vote.signer == *script.label(1));
    let digests: Vec<_> = own.map(|vote| vote.digest).collect();
    assert!(digests.len() == 2 && digests[0] != digests[1], "{digests:?}");
}

/// Receiver, sender, delay and what it says of each first delivery.
fn received(script: &Script, vote: &VoteFact) -> Vec<(usize, usize, i64, DelayBound)> {
    let node = |label: &str| {
        let own = (0..4).find(|node| script.label(*node) == label);
        own.expect("a node")
    };
    vote.received
        .iter()
        .map(|row| {
            assert_eq!(row.node_ip, ip(node(&row.node) as u8));
            (node(&row.node), node(&row.sender), row.delay_ns, row.bound)
        })
        .collect()
}

#[test]
fn who_received_what_first_when_and_from_whom() {
    // Node 0's prepare does not go to node 3, which has it from node 2, then from node 1; node 1 sends it back to node 0.
    let build = || {
        let mut script = Script::new();
        script.say(Kind::Preprepare, 6, 0, &[2], &[]);
        let signed = script.clock + MILLI;
        let vote = script.network.vote(Kind::Prepare, 6, 0, 0, 1);
        for (sender, receiver, after) in [(0, 1, 0), (0, 2, 700), (1, 0, 900), (1, 3, 3000), (2, 3, 1200)] {
            script.network.deliver(&vote, sender, receiver, signed + after);
        }
        script.clock = signed + MILLI;
        script.say(Kind::Prepare, 6, 0, &[1, 2, 3], &[]);
        script.say(Kind::Commit, 6, 0, &[0, 1, 2, 3], &[]);
        (script, signed)
    };
    let (script, signed) = build();
    let told = |script: &Script, tap: &Tap| {
        let height = script.judge(6, tap);
        received(script, &script.vote(&height, Kind::Prepare, 0, 0).unwrap())
    };
    let exact = [
        (1, 0, 0, DelayBound::Exact),
        (2, 0, 700, DelayBound::Exact),
        (3, 2, 1200, DelayBound::Exact),
    ];
    assert_eq!(told(&script, &Tap::All), exact, "an echo is no delivery");

    let (heights, facts) = judge(
        script.network.observations(),
        &AnalysisOptions::default(),
        &Tap::All,
    );
    let votes = || heights.iter().flat_map(|height| &height.votes);
    for node in 0..4 {
        let row = &facts.delays[node as usize];
        assert_eq!(row.node_ip, ip(node));
        let rows = votes().flat_map(|vote| &vote.received);
        let mut own: Vec<i64> = rows
            .filter(|row| row.node_ip == ip(node))
            .map(|row| row.delay_ns)
            .collect();
        own.sort_unstable();
        assert_eq!((row.payloads, row.exact), (own.len() as u64, own.len() as u64));
        assert_eq!(row.max_ns, own.last().copied());
        let median = own[own.len().div_ceil(2) - 1];
        let told = row.p50_ns.unwrap();
        assert!(
            told >= median && told - median <= median / 100,
            "{row:?} {median}"
        );
    }

    // What was lost at a receiver may have come before; what was lost at the signer may have left before.
    let (mut script, _) = build();
    script.network.lose(3, signed, signed + 1000);
    let expected = [exact[0], exact[1], (3, 2, 1200, DelayBound::AtMost)];
    assert_eq!(told(&script, &Tap::All), expected);
    let (mut script, _) = build();
    script.network.lose(0, signed - MILLI, signed - MILLI + 1);
    let at_least = exact.map(|(node, from, delay, _)| (node, from, delay, DelayBound::AtLeast));
    assert_eq!(told(&script, &Tap::All), at_least);

    // With one tap nothing is exact: the signer's, or the receiver's.
    let of_tap = |tap: u8, signer: usize| {
        let (script, _) = build();
        let mut network = script.network.clone();
        network.tap_only(tap);
        let script = Script {
            network,
            clock: script.clock,
        };
        let (_, facts) = judge(
            script.network.observations(),
            &AnalysisOptions::default(),
            &Tap::Of(tap),
        );
        assert!(
            facts
                .delays
                .iter()
                .all(|row| row.exact == 0 && row.p50_ns.is_none())
        );
        let height = script.judge(6, &Tap::Of(tap));
        received(&script, &script.vote(&height, Kind::Prepare, 0, signer).unwrap())
    };
    assert!(of_tap(0, 0).iter().all(|row| row.3 == DelayBound::AtMost));
    let at_receiver = of_tap(1, 0);
    assert_eq!(at_receiver[0], (1, 0, 0, DelayBound::AtLeast));
    assert!(
        at_receiver[1..].iter().all(|row| row.3 == DelayBound::Unknown),
        "{at_receiver:?}"
    );
}

/// Two payloads of one signer are told apart.
#[test]
fn payloads_of_one_signer_have_delays_of_their_own() {
    let mut script = Script::new();
    script.say(Kind::Preprepare, 6, 0, &[2], &[]);
    let at = script.clock + MILLI;
    for (block, to, after) in [(1, 1, 0), (2, 3, 10), (1, 3, 500), (2, 1, 800)] {
        let vote = script.network.vote(Kind::Prepare, 6, 0, 0, block);
        script.network.deliver(&vote, 0, to, at + after);
    }
    let height = script.judge(6, &Tap::All);
    let own = height
        .votes
        .iter()
        .filter(|vote| vote.kind == Kind::Prepare && *vote.signer == *script.label(0));
    let delays: Vec<Vec<_>> = own
        .map(|vote| received(&script, vote).iter().map(|row| (row.0, row.2)).collect())
        .collect();
    assert_eq!(delays, [[(1, 0), (3, 500)], [(3, 0), (1, 790)]]);
}
