//! Damaged captures: never a panic or a hang, never a message that was not there, and what does not hurt changes nothing.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

use bftap_analysis::facts::{FactSink, HeightFacts, LinkCountFact, RunFacts};
use bftap_capture::source::{CaptureReader, ReadLimits};
use bftap_decrypt::SecretStore;
use bftap_decrypt::keylog::LastLine;
use bftap_pipeline::{Input, PipelineOptions, Progress, analyze};
use bftap_testkit::impair::{self, Packet, Seed};

type Counts = BTreeMap<(String, u64, u64, String), u64>;

#[derive(Default)]
struct Sums(Counts);

impl FactSink for Sums {
    type Error = Infallible;

    fn height(&mut self, height: &HeightFacts) -> Result<(), Infallible> {
        for count in &height.counts {
            assert_eq!(count.messages, count.useful + count.repeats + count.echoes);
            let key = (
                count.receiver_ip.to_string(),
                count.sequence,
                count.round,
                count.kind.to_string(),
            );
            *self.0.entry(key).or_default() += count.messages;
        }
        Ok(())
    }

    fn minute(&mut self, _: &[LinkCountFact]) -> Result<(), Infallible> {
        Ok(())
    }
}

fn sample(folder: &str, file: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../samples")
        .join(folder)
        .join(file);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn secrets(folder: &str) -> Arc<SecretStore> {
    let secrets = SecretStore::new();
    secrets.add_key_log(
        &sample(folder, "sessions.keylog"),
        1,
        LastLine::Whole,
        &"sample".into(),
    );
    Arc::new(secrets)
}

fn run(files: Vec<Vec<u8>>, secrets: &Arc<SecretStore>, jobs: usize) -> (Counts, RunFacts) {
    let options = PipelineOptions {
        jobs,
        secrets: Arc::clone(secrets),
        ..PipelineOptions::default()
    };
    let input = |(index, file)| Input {
        path: format!("{index}"),
        read: Box::new(Cursor::new(file)),
    };
    let inputs = files.into_iter().enumerate().map(input).collect();
    let mut sums = Sums::default();
    let analysis = analyze(inputs, Arc::new(options), &Progress::default(), &mut sums).unwrap();
    (sums.0, analysis.facts)
}

/// Messages that `part` has and `whole` has not.
fn invented<'a>(part: &'a Counts, whole: &Counts) -> Vec<&'a (String, u64, u64, String)> {
    part.iter()
        .filter(|(key, count)| whole.get(*key).is_none_or(|all| all < *count))
        .map(|(key, _)| key)
        .collect()
}

fn packets(folder: &str) -> Vec<Packet> {
    let file = Cursor::new(sample(folder, "capture.pcapng"));
    let mut reader = CaptureReader::open(Box::new(file), ReadLimits::default()).unwrap();
    let mut packets = Vec::new();
    while let Some(batch) = reader.next_batch().unwrap() {
        packets.extend(
            batch
                .packets()
                .map(|packet| (packet.seen.nanos(), packet.bytes.to_vec(), packet.orig_len)),
        );
    }
    packets
}

#[test]
fn a_capture_cut_at_any_byte_tells_what_it_holds_and_that_it_is_cut() {
    let whole = sample("tiny", "capture.pcapng");
    assert!(whole.len() <= 20 << 10);
    // Without those in the capture: a cut would take them away before the first packet.
    let secrets = secrets("tiny");
    let (all, facts) = run(vec![whole.clone()], &secrets, 1);
    assert!(facts.totals.consensus_messages > 0 && facts.captures[0].problem.is_none());
    let mut before = 0;
    let mut whole_files = 0;
    for len in 0..whole.len() {
        let (counts, facts) = run(vec![whole[..len].to_vec()], &secrets, 1);
        assert_eq!(invented(&counts, &all), Vec::<&_>::new(), "cut at {len}");
        let messages = facts.totals.consensus_messages;
        assert!(
            messages >= before,
            "cut at {len}: {messages} messages, one byte less had {before}"
        );
        before = messages;
        // Only a cut between two blocks makes a file that looks whole.
        whole_files += usize::from(facts.captures[0].problem.is_none());
        assert_eq!(
            facts.totals.lost_bytes, 0,
            "cut at {len}: an early end is no loss"
        );
    }
    assert!(
        whole_files as u64 <= facts.captures[0].packets + 8,
        "{whole_files} cuts were not noticed"
    );
}

#[test]
fn a_capture_with_any_byte_flipped_never_invents_messages() {
    let whole = sample("tiny", "capture.pcapng");
    let secrets = secrets("tiny");
    let (all, clean) = run(vec![whole.clone()], &secrets, 1);
    let good = |counts: &Counts| counts.values().sum::<u64>();
    let mut unharmed = 0;
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0xff;
        let (counts, facts) = run(vec![damaged], &secrets, 1);
        assert!(good(&counts) <= good(&all), "byte {at}");
        // A changed address or a changed ciphertext may file a message elsewhere, but then something says so.
        let told = facts.captures[0].problem.is_some()
            || facts.totals.bad_checksums > 0
            || !facts.totals.skipped_packets.is_empty()
            || !facts.events.is_empty()
            || facts.totals.gaps > 0
            || facts.totals.sessions != clean.totals.sessions
            || facts.totals.incomplete_bytes > 0
            || !facts.totals.limits_reached.is_empty();
        assert!(counts == all || told, "byte {at}: {:?}", facts.totals);
        unharmed += usize::from(counts == all);
    }
    assert!(unharmed > 0 && unharmed < whole.len());
}

#[test]
fn what_taps_do_to_order_and_number_of_packets_changes_nothing() {
    let secrets = secrets("klaytn-7");
    let clean = packets("klaytn-7");
    let (all, facts) = run(vec![impair::pcap(&clean)], &secrets, 2);
    assert_eq!(facts.totals.consensus_messages, 1132);
    let mut seed = Seed(1);
    for (what, packets) in [
        ("duplicated", impair::duplicate(&clean)),
        ("reordered a little", impair::reorder(&clean, 50, &mut seed)),
        ("reordered throughout", impair::reorder(&clean, 2, &mut seed)),
        ("tagged", impair::tag(&clean)),
        (
            "all of it",
            impair::tag(&impair::reorder(&impair::duplicate(&clean), 3, &mut seed)),
        ),
    ] {
        let (counts, facts) = run(vec![impair::pcap(&packets)], &secrets, 2);
        assert_eq!(counts, all, "{what}");
        assert_eq!((facts.totals.gaps, facts.totals.undecodable), (0, 0), "{what}");
    }
    // Two taps: each packet in two files, some microseconds later in the second.
    let later: Vec<Packet> = clean
        .iter()
        .map(|(time, bytes, len)| (time + 20_000, bytes.clone(), *len))
        .collect();
    let (counts, facts) = run(vec![impair::pcap(&clean), impair::pcap(&later)], &secrets, 2);
    assert_eq!(counts, all);
    assert_eq!(facts.totals.gaps, 0);
    // What one tap lost the other has.
    let (one, other) = (impair::lose(&clean, 20, &mut seed), &later);
    let (counts, _) = run(vec![impair::pcap(&one), impair::pcap(other)], &secrets, 2);
    assert_eq!(counts, all);
}

#[test]
fn lost_packets_lose_messages_and_say_so() {
    let secrets = secrets("klaytn-7");
    let clean = packets("klaytn-7");
    let (all, _) = run(vec![impair::pcap(&clean)], &secrets, 2);
    for number in 0..30 {
        let damaged = impair::lose(&clean, 400, &mut Seed(number));
        let (counts, facts) = run(vec![impair::pcap(&damaged)], &secrets, 2);
        assert_eq!(invented(&counts, &all), Vec::<&_>::new(), "seed {number}");
        let told = facts.totals.gaps > 0 && facts.totals.lost_bytes > 0;
        assert!(counts == all || told, "seed {number}");
    }
}
