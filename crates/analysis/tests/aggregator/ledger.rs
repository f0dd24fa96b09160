//! The ledger of copies: each that is not useful has one cause, and causes add up.

use std::collections::BTreeMap;
use std::sync::Arc;

use bftap_analysis::facts::{HeightFacts, RunFacts, WasteCause};
use bftap_analysis::{Aggregator, AnalysisOptions, KnownPayloads, Observation, ReadFacts, WorkerTotals};
use bftap_ibft_decode::Kind;

use crate::network::{Collect, Network, Tap, ip, judge};

/// Causes of counts add up to repeats, and the rows of links to the same.
pub(crate) fn check_sums(heights: &[HeightFacts], facts: &RunFacts) -> BTreeMap<&'static str, u64> {
    let mut by_receiver: BTreeMap<_, u64> = BTreeMap::new();
    for count in heights.iter().flat_map(|height| &height.counts) {
        assert_eq!(
            count.repeats,
            count.resent + count.echo_source + count.crossing + count.regossip,
            "{count:?}"
        );
        assert_eq!(count.messages, count.useful + count.repeats + count.echoes);
        let causes = [
            (WasteCause::EchoSigner, count.echoes),
            (WasteCause::Resent, count.resent),
            (WasteCause::EchoSource, count.echo_source),
            (WasteCause::Crossing, count.crossing),
            (WasteCause::Regossip, count.regossip),
        ];
        for (cause, copies) in causes.into_iter().filter(|(_, copies)| *copies > 0) {
            let key = (count.chain.clone(), count.receiver_ip, count.kind, cause);
            *by_receiver.entry(key).or_default() += copies;
        }
    }
    let mut of_links: BTreeMap<_, u64> = BTreeMap::new();
    let mut causes = BTreeMap::new();
    for row in &facts.waste {
        assert!(row.copies > 0 && row.bytes > 0, "{row:?}");
        let key = (row.chain.clone(), row.receiver_ip, row.kind, row.cause);
        *of_links.entry(key).or_default() += row.copies;
        *causes.entry(row.cause.as_str()).or_default() += row.copies;
    }
    assert_eq!(of_links, by_receiver);
    causes
}

#[test]
fn each_copy_has_the_first_cause_that_holds() {
    let mut network = Network::new(4);
    let vote = network.vote(Kind::Prepare, 5, 0, 1, 9);
    network.deliver(&vote, 1, 0, 100); // useful
    network.deliver(&vote, 1, 0, 110); // resent
    network.deliver(&vote, 0, 2, 120); // useful
    network.deliver(&vote, 2, 0, 130); // 0 handed it to 2 before: echo to the source
    network.deliver(&vote, 3, 0, 140); // regossip
    network.deliver(&vote, 2, 1, 150); // to its signer
    network.deliver(&vote, 0, 3, 160); // useful, though 3 sent it before
    // 2 and 3 exchange it at once: the later of them could know, had the other's arrived.
    network.deliver_by(&vote, 2, 3, 200, Some(230));
    network.deliver_by(&vote, 3, 2, 210, Some(240));
    let (heights, facts) = judge(network.observations(), &AnalysisOptions::default(), &Tap::All);
    let causes = check_sums(&heights, &facts);
    let expected = [
        ("crossing", 1),
        ("echo_signer", 1),
        ("echo_source", 1),
        ("regossip", 2),
        ("resent", 1),
    ];
    assert_eq!(causes, expected.into());
    let to = |receiver: u8, cause: WasteCause| {
        let mut rows = facts.waste.iter();
        rows.find(|row| row.receiver_ip == ip(receiver) && row.cause == cause)
            .map(|row| (row.sender.to_string(), row.copies, row.bytes))
    };
    let label = |node: usize| network.addresses()[node].to_string();
    assert_eq!(to(0, WasteCause::Resent), Some((label(1), 1, 304)));
    assert_eq!(to(0, WasteCause::EchoSource), Some((label(2), 1, 304)));
    assert_eq!(to(0, WasteCause::Regossip), Some((label(3), 1, 304)));
    assert_eq!(to(1, WasteCause::EchoSigner), Some((label(2), 1, 304)));
    assert_eq!(to(2, WasteCause::Crossing), Some((label(3), 1, 304)));
    assert_eq!(to(3, WasteCause::Regossip), Some((label(2), 1, 304)));
}

/// A linear congruential generator: enough to shake things.
pub(crate) fn random(state: &mut u64, below: u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % below
}

/// Copies from anybody to anybody at any time.
pub(crate) fn random_network(seed: u64) -> Network {
    let mut state = seed;
    let mut network = Network::new(4 + (seed % 4) as u8);
    let nodes = 4 + seed % 4;
    for sequence in 1..4 {
        for _ in 0..6 {
            let kind = Kind::ALL[random(&mut state, 4) as usize];
            let signer = random(&mut state, nodes) as u8;
            let round = random(&mut state, 2);
            let payload = network.vote(kind, sequence, round, signer, random(&mut state, 2) as u8);
            for _ in 0..random(&mut state, 30) {
                let sender = random(&mut state, nodes) as u8;
                let receiver = (sender + 1 + random(&mut state, nodes - 1) as u8) % nodes as u8;
                let time = 2_000_000_000 + sequence as i64 * 1_000_000 + random(&mut state, 500) as i64;
                let arrived = (random(&mut state, 2) == 0).then(|| time + random(&mut state, 50) as i64);
                network.deliver_by(&payload, sender, receiver, time, arrived);
            }
        }
    }
    network
}

#[test]
fn causes_of_whatever_copies_add_up() {
    let mut seen = BTreeMap::new();
    for seed in 0..60 {
        let observations = random_network(seed).observations();
        let (heights, facts) = judge(observations.clone(), &AnalysisOptions::default(), &Tap::All);
        for (cause, copies) in check_sums(&heights, &facts) {
            *seen.entry(cause).or_insert(0) += copies;
        }
        let (heights, facts) = judge(observations, &AnalysisOptions::default(), &Tap::Of(1));
        check_sums(&heights, &facts);
    }
    assert_eq!(seen.len(), WasteCause::ALL.len(), "{seen:?}");
}

#[test]
fn causes_add_up_behind_a_restart() {
    for seed in 0..20 {
        let observations = random_network(seed).observations();
        let mut known = Arc::new(KnownPayloads::default());
        for part in 0..2 {
            let mut aggregator = Aggregator::new(AnalysisOptions {
                known_payloads: Arc::clone(&known),
                ..AnalysisOptions::default()
            });
            for observation in &observations {
                let of_part = match observation {
                    Observation::Message(message) => message.seen.nanos() % 1_000_000 / 250 == part,
                    _ => true,
                };
                if of_part {
                    aggregator.push(observation.clone()).unwrap();
                }
            }
            let mut sink = Collect::default();
            let (facts, later) = aggregator
                .finish_and_keep(ReadFacts::default(), WorkerTotals::default(), &mut sink)
                .unwrap();
            check_sums(&sink.heights, &facts);
            known = Arc::new(later);
        }
    }
}
