//! An aggregator that is dropped at any moment and made again from what it told gives what one gives that was never dropped.

use bftap_analysis::facts::RunFacts;
use bftap_analysis::{
    Aggregator, AnalysisOptions, Changes, Now, Observation, Occurrence, Update, WorkerTotals,
};
use bftap_model::CaptureTime;

use crate::network::{Collect, Network, Tap, judge, read_facts};
use crate::updates::{Rows, shuffled, text};

/// What somebody keeps of an aggregator, as a journal does.
#[derive(Default)]
struct Keeper {
    rest: Vec<Vec<u8>>,
    messages: Vec<Vec<u8>>,
    /// So many of `messages` have rows.
    stored: usize,
}

impl Keeper {
    fn take(&mut self, changes: Changes, whole: bool) {
        if whole {
            self.rest.clear();
        }
        self.rest.push(changes.rest);
        self.messages.push(changes.messages);
    }

    fn restore(&self, options: &AnalysisOptions) -> Aggregator {
        let mut aggregator = Aggregator::new(options.clone());
        for (at, rest) in self.rest.iter().enumerate() {
            aggregator.recall(rest, at + 1 == self.rest.len()).unwrap();
        }
        for (at, messages) in self.messages.iter().enumerate() {
            aggregator.recall_messages(messages, at < self.stored).unwrap();
        }
        aggregator.track_changes();
        aggregator.keep_changes();
        aggregator
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

fn network() -> Network {
    let mut network = Network::new(4);
    for sequence in 1..20 {
        network.height(sequence, if sequence % 7 == 0 { &[0, 1] } else { &[0] });
    }
    network.reinitialise();
    for sequence in 1..8 {
        network.height(sequence, &[0]);
    }
    network
}

/// Plays everything with updates and kills now and then: the rows as a store has them, and the facts of the end.
fn play(
    observations: &[Observation],
    options: &AnalysisOptions,
    seed: u64,
) -> (Rows, RunFacts, Update, Collect) {
    let mut random = Random(seed);
    let read = read_facts(observations, &Tap::All);
    let sessions: Vec<Observation> = observations
        .iter()
        .filter(|observation| matches!(observation, Observation::Session(..)))
        .cloned()
        .collect();
    let mut keeper = Keeper::default();
    let mut rows = Rows::default();
    let mut aggregator = keeper.restore(options);
    let mut whole = true;
    let mut at = 0;
    let (mut updates, mut kills) = (0, 0);
    // Read and not told: they wait for a second sight.
    let mut pending: Vec<Occurrence> = Vec::new();
    while at < observations.len() {
        let next = (at + 1 + random.below(60)).min(observations.len());
        for occurrence in pending.drain(..) {
            aggregator.push(Observation::Message(occurrence)).unwrap();
        }
        for observation in &observations[at..next] {
            match observation {
                Observation::Message(occurrence) if random.below(9) == 0 => pending.push(occurrence.clone()),
                // Nothing waits behind the end of its session.
                Observation::End(..) => {
                    for occurrence in pending.drain(..) {
                        aggregator.push(Observation::Message(occurrence)).unwrap();
                    }
                    aggregator.push(observation.clone()).unwrap();
                }
                other => aggregator.push(other.clone()).unwrap(),
            }
        }
        at = next;
        let now = Now {
            read: read.clone(),
            ..Now::default()
        };
        let update = aggregator.update(now).unwrap();
        keeper.take(aggregator.changes(&pending, whole), whole);
        whole = random.below(10) == 0;
        updates += 1;
        if random.below(3) > 0 {
            rows.update(&update);
            keeper.stored = keeper.messages.len();
        } else {
            // Killed between the record and the rows, and some messages were read that nobody told of any more.
            kills += 1;
            let lost = at..(at + random.below(30)).min(observations.len());
            for observation in &observations[lost] {
                aggregator.push(observation.clone()).unwrap();
            }
            pending.clear();
            aggregator = keeper.restore(options);
            whole = true;
            // Sessions that go on tell who they are.
            let known = sessions.len().min(at);
            for session in &sessions[..known] {
                aggregator.push(session.clone()).unwrap();
            }
            if random.below(2) == 0 {
                let now = Now {
                    read: read.clone(),
                    ..Now::default()
                };
                rows.update(&aggregator.update(now).unwrap());
                keeper.stored = keeper.messages.len();
            }
        }
    }
    assert!(updates > 20 && kills > 3, "{updates} updates, {kills} kills");
    for occurrence in pending {
        aggregator.push(Observation::Message(occurrence)).unwrap();
    }
    let now = Now {
        read: read.clone(),
        last: true,
        ..Now::default()
    };
    let last = aggregator.update(now).unwrap();
    rows.update(&last);
    let mut finished = Collect::default();
    let facts = aggregator
        .finish(read, WorkerTotals::default(), &mut finished)
        .unwrap();
    (rows, facts, last, finished)
}

#[test]
fn a_restart_changes_nothing() {
    let observations = network().observations();
    for seed in 0..24 {
        let options = AnalysisOptions {
            open_deliveries: if seed % 2 == 0 { 60 } else { 400_000 },
            open_links: if seed % 3 == 0 { 5 } else { 400_000 },
            listed_sessions: if seed % 5 == 4 { 3 } else { 200_000 },
            ..AnalysisOptions::default()
        };
        let observations = shuffled(&observations, seed);
        let (heights, facts) = judge(observations.clone(), &options, &Tap::All);
        let (rows, ended, last, finished) = play(&observations, &options, seed);
        assert_eq!(
            format!("{:?}", finished.heights),
            format!("{heights:?}"),
            "seed {seed}"
        );
        assert_eq!(text(&ended), text(&facts), "seed {seed}");
        assert_eq!(
            text(&last.facts),
            text(&facts),
            "seed {seed}: copies and sums, too"
        );
        assert!(!last.renamed, "seed {seed}");
        assert_eq!(
            rows,
            Rows::of(&heights, &finished.minutes),
            "seed {seed}: each row was given, and the latest one is right"
        );
        let sums = |counts: &mut dyn Iterator<Item = u64>| counts.sum::<u64>();
        assert_eq!(
            sums(&mut last.sums.iter().map(|sum| sum.sums.messages)),
            sums(
                &mut heights
                    .iter()
                    .flat_map(|height| &height.counts)
                    .map(|count| count.messages)
            ),
        );
    }
}

/// What is kept is in proportion to what changed.
#[test]
fn what_is_told_is_what_changed() {
    let observations = network().observations();
    let mut aggregator = Aggregator::new(AnalysisOptions::default());
    aggregator.track_changes();
    aggregator.keep_changes();
    let (last, before) = observations
        .iter()
        .enumerate()
        .rev()
        .find(|(_, observation)| matches!(observation, Observation::Message(_)))
        .map(|(at, message)| (message.clone(), &observations[..at]))
        .unwrap();
    for observation in before {
        aggregator.push(observation.clone()).unwrap();
    }
    let all = aggregator.changes(&[], false);
    assert!(all.messages.len() > 10_000);
    let none = aggregator.changes(&[], false);
    assert!(none.messages.is_empty() && none.rest.len() < 100, "{none:?}");
    aggregator.push(last).unwrap();
    let one = aggregator.changes(&[], false);
    assert!((1..400).contains(&one.messages.len()) && one.rest.len() < 1000);
    let whole = aggregator.changes(&[], true);
    assert!(whole.messages.is_empty() && whole.rest.len() > 1000);
}

#[test]
fn what_cannot_be_is_an_error() {
    let observations = network().observations();
    let mut aggregator = Aggregator::new(AnalysisOptions::default());
    aggregator.keep_changes();
    for observation in observations {
        aggregator.push(observation).unwrap();
    }
    let told = aggregator.changes(&[], true);
    let recalled = |rest: &[u8], messages: &[u8]| {
        let mut aggregator = Aggregator::new(AnalysisOptions::default());
        aggregator.recall(rest, true)?;
        aggregator.recall_messages(messages, true)
    };
    recalled(&told.rest, &told.messages).unwrap();
    // Messages of parties that nobody knows; a list twice; records that are cut.
    let nobody = Aggregator::new(AnalysisOptions::default()).changes(&[], true);
    assert!(recalled(&nobody.rest, &told.messages).is_err());
    let mut twice = Aggregator::new(AnalysisOptions::default());
    twice.recall(&told.rest, false).unwrap();
    assert!(twice.recall(&told.rest, true).is_err());
    for len in (0..told.rest.len()).step_by(97) {
        assert!(recalled(&told.rest[..len], &[]).is_err(), "{len}");
    }
    for len in (1..told.messages.len()).step_by(997) {
        assert!(recalled(&told.rest, &told.messages[..len]).is_err(), "{len}");
    }
}

#[test]
fn counts_of_a_pause_are_lower_bounds() {
    let observations = network().observations();
    let options = AnalysisOptions::default();
    let (whole, _) = judge(observations.clone(), &options, &Tap::All);
    let times = |sequence: u64| {
        let counts = whole.iter().flat_map(|height| &height.counts);
        counts
            .filter(move |count| count.sequence == sequence)
            .map(|count| (count.first_seen, count.last_seen))
            .fold((CaptureTime::MAX, CaptureTime::MIN), |(a, b), (from, to)| {
                (a.min(from), b.max(to))
            })
    };
    let (from, to) = (times(9).0, times(11).1);
    let read = read_facts(&observations, &Tap::All);
    let mut aggregator = Aggregator::new(options);
    for observation in observations {
        aggregator.push(observation).unwrap();
    }
    aggregator.pause(from, to);
    let mut found = Collect::default();
    let facts = aggregator
        .finish(read, WorkerTotals::default(), &mut found)
        .unwrap();
    for count in found.heights.iter().flat_map(|height| &height.counts) {
        assert_eq!(count.lower_bound, (9..=11).contains(&count.sequence), "{count:?}");
    }
    assert_eq!(facts.totals.limits_reached["restarts"], 1);
    let restarts = facts.events.iter().filter(|event| event.rule == "restart");
    assert_eq!(restarts.count(), 1);
}
