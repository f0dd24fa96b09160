//! Damaged captures of simulated networks, whose truth is known without bftap: what survives is decoded, exactly.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::Cursor;
use std::sync::Arc;

use bftap_analysis::facts::{Coverage, FactSink, HeightFacts, LinkCountFact, RunFacts};
use bftap_decrypt::SecretStore;
use bftap_decrypt::keylog::LastLine;
use bftap_decrypt::sample::Sample;
use bftap_model::{Direction, Nanos};
use bftap_pipeline::{AttachOptions, Input, PipelineOptions, Progress, analyze};
use bftap_simnet::client::Client;
use bftap_simnet::{Fault, FaultKind, Gossip, SimulateOptions, Taps};
use bftap_testkit::damage::{Harm, Simulated, damage, recoverable, scenarios, simulated};
use bftap_testkit::impair::pcap;
use bftap_testkit::packet::Tcp;

/// Messages by receiver's IP address, kind, sequence and round.
type Counts = BTreeMap<(String, &'static str, u64, u64), u64>;

#[derive(Default)]
struct Sums(Counts);

impl FactSink for Sums {
    type Error = Infallible;

    fn height(&mut self, height: &HeightFacts) -> Result<(), Infallible> {
        for count in &height.counts {
            let key = (
                count.receiver_ip.to_string(),
                count.kind.as_str(),
                count.sequence,
                count.round,
            );
            *self.0.entry(key).or_default() += count.messages;
        }
        Ok(())
    }

    fn minute(&mut self, _: &[LinkCountFact]) -> Result<(), Infallible> {
        Ok(())
    }
}

fn found(capture: Vec<u8>, network: &Simulated, jobs: usize) -> (Counts, RunFacts) {
    found_with(capture, network, jobs, AttachOptions::default())
}

fn found_with(
    capture: Vec<u8>,
    network: &Simulated,
    jobs: usize,
    attach: AttachOptions,
) -> (Counts, RunFacts) {
    let secrets = SecretStore::new();
    secrets.add_key_log(&network.key_log, 1, LastLine::Whole, &"simulated".into());
    let options = PipelineOptions {
        jobs,
        attach,
        secrets: Arc::new(secrets),
        ..PipelineOptions::default()
    };
    let input = Input {
        path: "simulated".to_owned(),
        read: Box::new(Cursor::new(capture)),
    };
    let mut sums = Sums::default();
    let analysis = analyze(vec![input], Arc::new(options), &Progress::default(), &mut sums).unwrap();
    (sums.0, analysis.facts)
}

fn truth(capture: &[u8], network: &Simulated) -> Counts {
    let mut sums = Counts::new();
    for (key, messages) in recoverable(&[capture], &network.frames).unwrap() {
        let key = (
            key.receiver.to_string(),
            key.kind.as_str(),
            key.sequence,
            key.round,
        );
        *sums.entry(key).or_default() += messages;
    }
    sums
}

/// Damages a network's capture in every way, and compares with what survives.
fn check(name: &str, network: &Simulated, seeds: std::ops::RangeInclusive<u64>) {
    check_all(name, network, &scenarios(), seeds);
}

fn check_all(
    name: &str,
    network: &Simulated,
    scenarios: &[(&str, Vec<Harm>)],
    seeds: std::ops::RangeInclusive<u64>,
) {
    let sum = |counts: &Counts| counts.values().sum::<u64>();
    let whole = sum(&truth(&network.capture, network));
    let (mut wrong, mut harmed, mut tried) = (Vec::new(), 0, 0);
    for (scenario, harms) in scenarios {
        for seed in seeds.clone() {
            let damaged = damage(&network.capture, harms, seed).unwrap();
            let expected = truth(&damaged, network);
            assert!(sum(&expected) > 0, "{name}, {scenario}: nothing to find");
            tried += 1;
            harmed += u64::from(sum(&expected) < whole);
            let (counts, facts) = found(damaged, network, 1 + seed as usize % 3);
            if counts != expected {
                let keys = counts.keys().chain(expected.keys());
                let differ = keys.filter(|key| counts.get(key) != expected.get(key)).count();
                let unread: Vec<_> = facts
                    .sessions
                    .iter()
                    .filter(|session| session.state.as_str() != "decrypted")
                    .map(|session| {
                        let (state, detail) = (session.state.as_str(), &session.detail);
                        format!(
                            "{} {state} {:?} {detail:?}",
                            session.initiator, session.stream_bytes
                        )
                    })
                    .collect();
                wrong.push(format!(
                    "{name}, {scenario}, seed {seed}: {} of {} messages, {differ} rows differ; {unread:?}",
                    sum(&counts),
                    sum(&expected),
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.len(), wrong.join("\n"));
    assert!(
        harmed * 4 > tried,
        "{name}: {harmed} of {tried} damages cost anything"
    );
}

fn network(change: impl FnOnce(&mut SimulateOptions)) -> Simulated {
    let mut options = SimulateOptions {
        nodes: 4,
        sequences: Some(8),
        ..SimulateOptions::default()
    };
    change(&mut options);
    simulated(&options).unwrap()
}

#[test]
fn klaytn() {
    let network = network(|options| options.taps = Taps::Only(vec![0, 1]));
    check("klaytn", &network, 1..=6);
}

#[test]
fn goquorum_with_its_code_behind_eth() {
    let network = network(|options| {
        options.clients = vec![Client::Quorum24_4];
        options.gossip = Gossip::Direct;
        options.taps = Taps::Only(vec![2]);
        options.ipv6 = true;
    });
    check("quorum 24.4", &network, 1..=3);
}

#[test]
fn old_and_mixed_clients() {
    let quorum = network(|options| {
        options.clients = vec![Client::Quorum20_10];
        options.taps = Taps::Only(vec![0]);
    });
    check("quorum 20.10", &quorum, 1..=2);
    let klaytn = network(|options| {
        options.clients = vec![Client::Klaytn1_12, Client::Kaia2_2];
        options.channels = 2;
        options.taps = Taps::Only(vec![1]);
        options.vlan = Some(7);
    });
    check("klaytn 1.12 and kaia", &klaytn, 1..=2);
}

#[test]
fn one_tap() {
    let network = network(|options| {
        options.nodes = 5;
        options.sequences = Some(10);
        options.taps = Taps::Only(vec![1]);
        options.seed = 3;
    });
    check("one tap", &network, 1..=4);
}

#[test]
fn nodes_that_are_killed_and_a_wire_that_loses() {
    let network = network(|options| {
        options.sequences = Some(12);
        options.taps = Taps::Only(vec![1, 3]);
        options.loss = 3_000;
        options.reordering = 10_000;
        options.faults = vec![Fault {
            node: 2,
            kind: FaultKind::Killed,
            from: Nanos::from_secs(5),
            until: Some(Nanos::from_secs(8)),
        }];
    });
    check("killed", &network, 1..=3);
}

/// Proposals of megabytes: wherever the capture begins, in the middle of one or not, all that follows is found.
#[test]
fn large_frames_at_the_cut() {
    let network = network(|options| {
        options.sequences = Some(3);
        options.transactions = 12_000;
        options.taps = Taps::Only(vec![0]);
    });
    let largest = network
        .frames
        .iter()
        .map(|frame| frame.stream.end - frame.stream.start)
        .max();
    assert!(largest > Some(1 << 20), "{largest:?}");
    let cuts: Vec<_> = (0..12)
        .map(|step| {
            let before = Nanos::from_millis(1_400 + step * 210);
            ("large frames", vec![Harm::Cut { before }])
        })
        .collect();
    check_all("large frames", &network, &cuts, 1..=1);
}

/// What the simulator says that lossy taps saw is what survives in the capture, and what is decoded from it.
#[test]
fn what_a_lossy_tap_missed_is_missing_in_the_truth() {
    for (taps, seed) in [
        (Taps::All, 1),
        (Taps::Only(vec![0]), 2),
        (Taps::Only(vec![1, 3]), 3),
    ] {
        let lossy = |node, share| Fault {
            node,
            kind: FaultKind::LossyTap(share),
            from: Nanos::from_secs(3),
            until: None,
        };
        let network = network(|options| {
            options.taps = taps;
            options.seed = seed;
            options.loss = 2_000;
            options.faults = vec![lossy(0, 10_000), lossy(1, 5_000)];
        });
        let (counts, _) = found(network.capture.clone(), &network, 2);
        assert_eq!(counts, truth(&network.capture, &network), "seed {seed}");
        let rows = network.truth["counts"].as_array().unwrap();
        let told: Counts = rows
            .iter()
            .map(|row| {
                let number = |key: &str| row[key].as_u64().unwrap();
                let kind = ["preprepare", "prepare", "commit", "roundchange"]
                    .into_iter()
                    .find(|kind| row["kind"] == *kind)
                    .unwrap();
                let receiver = row["receiver"].as_str().unwrap().to_owned();
                (
                    (receiver, kind, number("sequence"), number("round")),
                    number("messages"),
                )
            })
            .collect();
        assert_eq!(counts, told, "seed {seed}");
    }
}

/// What only one direction of a capture shows is a lower bound, however well the sessions decode.
#[test]
fn one_direction_makes_lower_bounds() {
    let network = network(|options| options.taps = Taps::Only(vec![0]));
    for keep in [Direction::FromInitiator, Direction::FromRecipient] {
        let one_way = Harm::OneWay {
            share: 1_000_000,
            keep,
        };
        let damaged = damage(&network.capture, &[one_way], 1).unwrap();
        let (counts, facts) = found(damaged, &network, 2);
        assert!(!counts.is_empty());
        for node in &facts.nodes {
            assert_ne!(node.coverage, Coverage::Full, "{node:?}");
        }
    }
    let (_, facts) = found(network.capture.clone(), &network, 2);
    assert!(facts.nodes.iter().any(|node| node.coverage == Coverage::Full));
}

/// Connections that are made to look as if they could be joined: noise, the same sixteen bytes again and again, pieces of real
/// sessions, on the nodes' own port. They change nothing of what is found in others, and what is searched for them is bounded.
#[test]
fn hostile_connections_leave_others_as_they_are() {
    let network = network(|options| options.taps = Taps::Only(vec![0]));
    let cut = Harm::Cut {
        before: Nanos::from_secs(4),
    };
    let calm = damage(&network.capture, &[cut], 1).unwrap();
    let (expected, alone) = found(calm.clone(), &network, 2);
    assert_eq!(expected, truth(&calm, &network));

    let mut packets = bftap_testkit::damage::packets(&calm).unwrap();
    let honest = packets.clone();
    for number in 0..1000_usize {
        let payload: Vec<u8> = match number % 4 {
            0 => (0..40_u32)
                .flat_map(|part| bftap_model::keccak256(&(number as u32 * 64 + part).to_be_bytes()).0)
                .collect(),
            1 => [number as u8; 16].repeat(90),
            2 => vec![0; 1400],
            // Ciphertext of the network itself, in a connection where it does not belong.
            _ => {
                let (_, bytes, _) = &honest[number * 7 % honest.len()];
                bytes[54.min(bytes.len())..]
                    .repeat(8)
                    .into_iter()
                    .take(1400)
                    .collect()
            }
        };
        let source = format!("10.9.{}.{}:{}", number / 250, number % 250 + 1, 20_000 + number);
        for part in 0..3_u32 {
            let bytes = Tcp::new(&source, "10.0.0.1:30303")
                .seq(1_000_000 + part * payload.len() as u32)
                .payload(&payload)
                .ethernet();
            let at = number * 3 + part as usize * 5;
            let (time, ..) = honest[at % honest.len()];
            let len = bytes.len() as u32;
            packets.push((time, bytes, len));
        }
    }
    packets.sort_by_key(|(time, ..)| *time);
    let attach = AttachOptions::new(1, 1);
    let (counts, facts) = found_with(pcap(&packets), &network, 2, attach);
    let of_network: Counts = counts
        .into_iter()
        .filter(|((receiver, ..), _)| !receiver.starts_with("10.9."))
        .collect();
    assert_eq!(of_network, expected);
    // The budget, and what is always searched at each of the few points of so small a capture.
    let budget = attach.budget * 16;
    let always = 30 * (16 << 20) * network.key_log.split(|byte| *byte == b'\n').count() as u64;
    assert!(
        facts.totals.searched_bytes < budget + always,
        "{}",
        facts.totals.searched_bytes
    );
    assert!(facts.totals.searched_bytes > alone.totals.searched_bytes);
}

/// A session that has half a gibibyte behind it when the capture begins: only the deep search reaches it.
#[test]
fn places_far_from_the_start_are_found() {
    let mut sample = Sample::new(5, None);
    let mut packets = Vec::new();
    for (direction, blocks, ends) in [
        (
            Direction::FromInitiator,
            1 << 25,
            ["10.0.0.1:40000", "10.0.0.2:30303"],
        ),
        (
            Direction::FromRecipient,
            (1 << 25) - 777,
            ["10.0.0.2:30303", "10.0.0.1:40000"],
        ),
    ] {
        let start = sample.streams[direction.index()].len();
        sample.skip_blocks(direction, blocks);
        for number in 0..50 {
            sample.message(direction, 0x16, &vec![number; 300]);
        }
        // The capture begins inside a frame.
        let stream = &sample.streams[direction.index()][start + 40..];
        for (number, payload) in stream.chunks(1000).enumerate() {
            let bytes = Tcp::new(ends[0], ends[1])
                .seq(7_000 + number as u32 * 1000)
                .payload(payload)
                .ethernet();
            let len = bytes.len() as u32;
            packets.push((1_795_000_000_000_000_000 + number as i64, bytes, len));
        }
    }
    packets.sort_by_key(|(time, ..)| *time);
    for (reach, frames) in [(AttachOptions::new(1, 60), 49), (AttachOptions::new(0, 60), 0)] {
        let options = PipelineOptions {
            attach: reach,
            secrets: Arc::new(SecretStore::new()),
            ..PipelineOptions::default()
        };
        options.secrets.add(sample.key_log_entry(), &"sample".into());
        let input = Input {
            path: "far".to_owned(),
            read: Box::new(Cursor::new(pcap(&packets))),
        };
        let analysis = analyze(
            vec![input],
            Arc::new(options),
            &Progress::default(),
            &mut Sums::default(),
        )
        .unwrap();
        let sessions = &analysis.facts.sessions;
        let read: Vec<_> = sessions
            .iter()
            .map(|session| (session.frames_from_initiator, session.frames_from_recipient))
            .filter(|read| *read != (0, 0))
            .collect();
        let expected = if frames > 0 {
            vec![(frames, frames)]
        } else {
            vec![]
        };
        assert_eq!(read, expected, "{:?}", analysis.facts.totals);
    }
}
