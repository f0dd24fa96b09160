//! Captures that are cut into files: with a checkpoint the next run goes on where the one before it ended.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fmt::Debug;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bftap_analysis::facts::{FactSink, HeightFacts, LinkCountFact, RunFacts, SessionState};
use bftap_decrypt::SecretStore;
use bftap_decrypt::keylog::LastLine;
use bftap_model::SeqNumber;
use bftap_pipeline::checkpoint::SavedSession;
use bftap_pipeline::{Checkpoint, Input, PipelineOptions, Progress, analyze};
use bftap_testkit::{SharedDamage, damage_shared};

/// Messages, useful, repeats and echoes by receiver's IP address, sequence, round and kind.
type Counts = BTreeMap<(String, u64, u64, String), [u64; 4]>;

/// Times at which the capture is cut, in seconds; most are between two heights.
const CUTS: [f64; 3] = [17.0, 40.0, 66.6];
/// Heights in the middle of which it is cut besides.
const CUT_HEIGHTS: [u64; 4] = [20, 45, 52, 70];

struct Run {
    counts: Counts,
    spans: BTreeMap<u64, (i64, i64)>,
    facts: RunFacts,
    problems: Vec<String>,
    checkpoint: Option<Checkpoint>,
}

#[derive(Default)]
struct Sums {
    counts: Counts,
    /// Times of the earliest and the latest message of a height.
    spans: BTreeMap<u64, (i64, i64)>,
}

impl FactSink for Sums {
    type Error = Infallible;

    fn height(&mut self, height: &HeightFacts) -> Result<(), Infallible> {
        for count in &height.counts {
            let key = (
                count.receiver_ip.to_string(),
                count.sequence,
                count.round,
                count.kind.to_string(),
            );
            let (first, last) = (count.first_seen.nanos(), count.last_seen.nanos());
            let span = self.spans.entry(count.sequence).or_insert((first, last));
            *span = (span.0.min(first), span.1.max(last));
            let sum = self.counts.entry(key).or_default();
            let counts = [count.messages, count.useful, count.repeats, count.echoes];
            sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
        Ok(())
    }

    fn minute(&mut self, _: &[LinkCountFact]) -> Result<(), Infallible> {
        Ok(())
    }
}

/// The capture that is cut, and what opens it.
struct Case {
    capture: Vec<u8>,
    folder: PathBuf,
    secrets: Arc<SecretStore>,
}

impl Case {
    /// `None` where the captures are absent.
    fn new() -> Option<Self> {
        let folder = bftap_testkit::shared_captures()?.join("klaytn-7cn");
        Some(Self {
            capture: fs::read(folder.join("tap1.pcap")).unwrap(),
            secrets: secrets(&folder),
            folder,
        })
    }

    /// The part of the capture from one time to another, in seconds since its start.
    fn part(&self, from: f64, to: f64) -> Vec<u8> {
        let tail = |from| {
            if from == 0.0 {
                self.capture.clone()
            } else {
                damage_shared(&self.capture, SharedDamage::Cut(from), 1)
            }
        };
        let (mut part, behind) = (tail(from), tail(to));
        // Behind the file's header.
        part.truncate(part.len() - (behind.len() - 24));
        part
    }

    /// Seconds since the start of the capture.
    fn seconds(&self, nanos: i64) -> f64 {
        let word = |at: usize| u32::from_le_bytes(self.capture[at..at + 4].try_into().unwrap());
        let start = i64::from(word(24)) * 1_000_000_000 + i64::from(word(28)) * 1000;
        (nanos - start) as f64 / 1e9
    }

    fn tail(&self, from: f64) -> Vec<u8> {
        damage_shared(&self.capture, SharedDamage::Cut(from), 1)
    }

    fn run(&self, capture: Vec<u8>, checkpoint: Option<&Checkpoint>) -> Run {
        self.run_with(capture, checkpoint, &self.secrets, 2)
    }

    fn run_with(
        &self,
        capture: Vec<u8>,
        checkpoint: Option<&Checkpoint>,
        secrets: &Arc<SecretStore>,
        jobs: usize,
    ) -> Run {
        let options = PipelineOptions {
            jobs,
            secrets: Arc::clone(secrets),
            checkpoint: checkpoint.cloned().map(Arc::new),
            keep_checkpoint: true,
            ..PipelineOptions::default()
        };
        let input = Input {
            path: "part".to_owned(),
            read: Box::new(Cursor::new(capture)),
        };
        let mut sums = Sums::default();
        let analysis = analyze(vec![input], Arc::new(options), &Progress::default(), &mut sums).unwrap();
        Run {
            counts: sums.counts,
            spans: sums.spans,
            facts: analysis.facts,
            problems: analysis.problems,
            checkpoint: analysis.checkpoint,
        }
    }
}

fn secrets(folder: &Path) -> Arc<SecretStore> {
    let secrets = SecretStore::new();
    let text = fs::read(folder.join("sessions.keylog")).unwrap();
    secrets.add_key_log(&text, 1, LastLine::Whole, &"sessions.keylog".into());
    Arc::new(secrets)
}

/// Through its text, as a restart does it.
fn again(checkpoint: &Checkpoint) -> Checkpoint {
    let read = Checkpoint::from_json(&checkpoint.to_json().unwrap()).unwrap();
    assert_eq!(read, *checkpoint);
    read
}

/// Says only what differs.
fn same<K: Ord + Debug + Clone, V: PartialEq + Debug>(
    found: &BTreeMap<K, V>,
    expected: &BTreeMap<K, V>,
    what: &str,
) {
    let keys: BTreeSet<&K> = found.keys().chain(expected.keys()).collect();
    let different: Vec<_> = keys
        .into_iter()
        .map(|key| (key, found.get(key), expected.get(key)))
        .filter(|(_, found, expected)| found != expected)
        .collect();
    assert!(
        different.is_empty(),
        "{what}: {} rows differ (key, found, expected): {:?}",
        different.len(),
        &different[..different.len().min(8)]
    );
}

fn messages(counts: &Counts) -> BTreeMap<&(String, u64, u64, String), u64> {
    counts.iter().map(|(key, counts)| (key, counts[0])).collect()
}

fn sum(counts: &Counts) -> u64 {
    counts.values().map(|counts| counts[0]).sum()
}

fn add(all: &mut Counts, counts: &Counts) {
    for (key, counts) in counts {
        let sum = all.entry(key.clone()).or_default();
        sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
}

/// Nothing is searched for but what began while nobody looked, and codes, names and chains are known at once.
fn goes_on(run: &Run, whole: &Run, checkpoint: &Checkpoint) {
    let totals = &run.facts.totals;
    assert_eq!(totals.undecodable, 0);
    let (mut returned, mut strangers) = (0, 0);
    for session in &run.facts.sessions {
        if session.attached != Some("midstream") {
            continue;
        }
        let ends = (session.initiator, session.recipient);
        let mut saved = checkpoint.sessions.iter();
        if !saved.any(|saved| (saved.initiator, saved.recipient) == ends) {
            strangers += 1;
            continue;
        }
        returned += 1;
        let known = whole
            .facts
            .sessions
            .iter()
            .find(|known| (known.initiator, known.recipient) == ends)
            .unwrap();
        assert_eq!(session.state, SessionState::Decrypted);
        assert_eq!(session.capabilities, known.capabilities);
        assert_eq!(session.inferred, None);
        assert_eq!(session.chain, known.chain);
        assert_eq!(
            (session.node_ids, &session.clients),
            (known.node_ids, &known.clients)
        );
    }
    assert!(returned >= 3, "{returned}");
    assert_eq!(totals.searched_bytes > 0, strangers > 0);
    let nodes = |run: &Run| -> Vec<_> {
        let nodes = run.facts.nodes.iter();
        nodes
            .map(|node| (node.label.clone(), node.node_id, node.role))
            .collect()
    };
    for node in nodes(run).iter().filter(|_| strangers == 0) {
        assert!(nodes(whole).contains(node), "{node:?}");
    }
}

#[test]
fn two_runs_with_a_checkpoint_lose_only_what_straddles_the_cut() {
    let Some(case) = Case::new() else { return };
    let whole = case.run(case.capture.clone(), None);
    let (mut straddling, mut told) = (0, 0);
    let in_heights = CUT_HEIGHTS.map(|height| {
        let (first, last) = whole.spans[&height];
        case.seconds(first + (last - first) / 3)
    });
    for cut in CUTS.into_iter().chain(in_heights) {
        let first = case.run(case.part(0.0, cut), None);
        let plain = case.run(case.tail(cut), None);
        let checkpoint = again(first.checkpoint.as_ref().unwrap());
        let second = case.run(case.tail(cut), Some(&checkpoint));
        assert_eq!(second.problems, Vec::<String>::new());
        // What a search finds is all that is whole behind the cut; nothing more, and nothing less, is read without one.
        assert!(plain.facts.totals.searched_bytes > 0);
        same(
            &messages(&second.counts),
            &messages(&plain.counts),
            &format!("cut at {cut}"),
        );
        goes_on(&second, &whole, &checkpoint);

        let mut both = first.counts.clone();
        add(&mut both, &second.counts);
        let lost = sum(&whole.counts) - sum(&both);
        assert!(
            lost <= 12,
            "cut at {cut}: a frame for each of twelve directions, not {lost}"
        );
        // A first copy before the cut makes all those behind it repeats.
        for (key, counts) in &whole.counts {
            let found = both.get(key).copied().unwrap_or_default();
            assert!(found[0] <= counts[0], "{key:?}");
            if found[0] == counts[0] {
                assert_eq!(found, *counts, "cut at {cut}: {key:?}");
                straddling += u64::from(first.counts.contains_key(key) && second.counts.contains_key(key));
            }
        }
        let forgetful = Checkpoint {
            payloads: Arc::default(),
            ..checkpoint
        };
        let unaware = case.run(case.tail(cut), Some(&forgetful));
        let useful = |run: &Run| run.counts.values().map(|counts| counts[1]).sum::<u64>();
        told += useful(&unaware) - useful(&second);
    }
    assert!(told > 5, "{told} copies were known");
    assert!(straddling > 5, "{straddling} rows are on both sides of a cut");
}

#[test]
fn a_hole_between_two_runs_costs_nothing_but_itself() {
    let Some(case) = Case::new() else { return };
    let whole = case.run(case.capture.clone(), None);
    let first = case.run(case.part(0.0, 40.0), None);
    let checkpoint = again(first.checkpoint.as_ref().unwrap());
    for hole in [0.01, 1.0, 7.5, 30.0] {
        let tail = case.tail(40.0 + hole);
        let plain = case.run(tail.clone(), None);
        let second = case.run(tail, Some(&checkpoint));
        same(
            &messages(&second.counts),
            &messages(&plain.counts),
            &format!("{hole} s"),
        );
        goes_on(&second, &whole, &checkpoint);
    }
}

/// Many short captures, in some of which sessions are silent: what one run did not see goes on to the next.
#[test]
fn a_capture_in_many_pieces_loses_a_frame_a_direction_and_cut() {
    let Some(case) = Case::new() else { return };
    let times: Vec<f64> = (0..14).map(|piece| 40.0 + f64::from(piece) * 0.21).collect();
    let span = case.run(case.part(0.0, times[13]), None);
    let mut run = case.run(case.part(0.0, times[0]), None);
    let mut all = run.counts.clone();
    for pair in times.windows(2) {
        let checkpoint = again(run.checkpoint.as_ref().unwrap());
        run = case.run(case.part(pair[0], pair[1]), Some(&checkpoint));
        assert_eq!(run.facts.totals.searched_bytes, 0, "from {}", pair[0]);
        add(&mut all, &run.counts);
    }
    let lost = sum(&span.counts) - sum(&all);
    assert!(lost <= 12 * 13, "{lost}");
    for (key, counts) in &all {
        assert!(counts[0] <= span.counts[key][0], "{key:?}");
        // A useful copy is lost only where messages are.
        assert!(counts[1] <= span.counts[key][1], "{key:?}");
    }
    // In the end as many sessions are known as one run over everything knows.
    let ends = |run: &Run| -> Vec<_> {
        let sessions = &run.checkpoint.as_ref().unwrap().sessions;
        sessions
            .iter()
            .map(|session| (session.initiator, session.recipient))
            .collect()
    };
    assert_eq!(ends(&run), ends(&span));
}

#[test]
fn checkpoints_that_are_wrong_change_nothing() {
    let Some(case) = Case::new() else { return };
    let tail = case.tail(40.0);
    let plain = case.run(tail.clone(), None);
    let first = case.run(case.part(0.0, 40.0), None);
    let right = first.checkpoint.unwrap();
    let each = |change: &dyn Fn(&mut SavedSession)| {
        let mut checkpoint = right.clone();
        checkpoint.sessions.iter_mut().for_each(change);
        checkpoint
    };
    let places = |change: fn(&mut SeqNumber, &mut u64)| {
        each(&move |session| {
            for place in session.places.iter_mut().flatten() {
                change(&mut place.sequence, &mut place.block);
            }
        })
    };
    let mut turned = right.clone();
    let ends: Vec<_> = right
        .sessions
        .iter()
        .map(|session| (session.initiator, session.recipient))
        .collect();
    for (session, ends) in turned.sessions.iter_mut().zip(ends.iter().cycle().skip(1)) {
        (session.initiator, session.recipient) = *ends;
    }
    let wrong = [
        ("other blocks", places(|_, block| *block += 1)),
        (
            "blocks at the end of numbers",
            places(|_, block| *block = u64::MAX),
        ),
        ("other places", places(|sequence, _| *sequence = sequence.add(8))),
        (
            "places far away",
            places(|sequence, _| *sequence = sequence.add(1 << 31)),
        ),
        ("other secrets", each(&|session| session.secret.0 ^= 1)),
        ("sessions of other ends", turned),
        ("other hosts", each(&|session| session.initiator.port ^= 1)),
    ];
    for (name, checkpoint) in wrong {
        let checkpoint = Checkpoint {
            payloads: Arc::default(),
            ..checkpoint
        };
        let run = case.run(tail.clone(), Some(&checkpoint));
        // A session that is found under the secret that was remembered is that session, so its ends are known, and with them echoes.
        same(&messages(&run.counts), &messages(&plain.counts), name);
        assert!(run.facts.totals.searched_bytes > 0, "{name}");
        let state = |run: &Run| -> Vec<_> {
            let sessions = run.facts.sessions.iter();
            sessions
                .map(|session| (session.initiator, session.state, session.capabilities.len()))
                .collect()
        };
        assert_eq!(state(&run), state(&plain), "{name}");
    }
    // The ends are of another network altogether, and without its secrets nothing can be opened.
    let none = case.run_with(case.part(40.0, 60.0), Some(&right), &Arc::default(), 2);
    assert_eq!(none.facts.totals.consensus_messages, 0);
    let left = none.checkpoint.unwrap();
    let open = |checkpoint: &Checkpoint| -> Vec<_> {
        let sessions = checkpoint.sessions.iter();
        sessions
            .map(|session| {
                (
                    session.secret,
                    session.places.map(|place| place.map(|place| place.block)),
                )
            })
            .collect()
    };
    // What it said of sessions that are still open is as good as before.
    assert!(!left.sessions.is_empty());
    assert!(open(&left).iter().all(|session| open(&right).contains(session)));
}

/// Who analyses a capture once more must not get all its messages as repeats.
#[test]
fn a_capture_from_before_the_checkpoint_does_not_go_on_there() {
    let Some(case) = Case::new() else { return };
    let first = case.run(case.capture.clone(), None);
    let second = case.run(case.capture.clone(), first.checkpoint.as_ref());
    same(&second.counts, &first.counts, "once more");
    assert_eq!(second.problems.len(), 1);
    assert!(
        second.problems[0].contains("does not go on there"),
        "{:?}",
        second.problems
    );
    assert!(second.checkpoint == first.checkpoint);
}

#[test]
fn workers_and_time_make_no_difference_and_no_secret_is_in_it() {
    let Some(case) = Case::new() else { return };
    let part = case.part(0.0, 51.3);
    let texts = [1, 3].map(|jobs| {
        let run = case.run_with(part.clone(), None, &case.secrets, jobs);
        run.checkpoint.unwrap().to_json().unwrap()
    });
    assert!(texts[0] == texts[1], "the number of workers makes a difference");
    let text = String::from_utf8(texts[0].clone()).unwrap().to_lowercase();
    assert!(text.contains("10.0.0.1:32323"));

    let log = fs::read_to_string(case.folder.join("sessions.keylog")).unwrap();
    let mut keys = 0;
    for word in log.split_whitespace().filter(|word| word.len() >= 32) {
        let Ok(bytes) = hex::decode(word) else { continue };
        keys += 1;
        let numbers: Vec<String> = bytes.iter().take(8).map(ToString::to_string).collect();
        for shown in [word.to_lowercase(), word[..24].to_lowercase(), numbers.join(",")] {
            assert!(!text.contains(&shown), "a secret, or a part of one");
        }
    }
    assert!(keys > 10, "{keys}");
}
