//! A database that goes away: everything given is there in the end, each transaction once and in order.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bftap_analysis::Update;
use bftap_analysis::facts::{HeightFacts, RunFacts};
use bftap_store::rows::{Cell, CountRow, LinkCountRow, RunRow, Table};
use bftap_store::{
    Answer, Batch, NewRun, Opener, Opening, Prune, Pruned, Question, RunDetails, RunId, Store, StoreCheck,
    StoreError, StoreWriter, WriterOptions,
};

use crate::facts::{height, link, new_run, run_facts};

/// What a database holds, and when it fails.
#[derive(Debug, Default)]
struct World {
    /// Verbs and openings so far.
    calls: u64,
    /// Seed of what fails; 0 for nothing.
    seed: u64,
    /// Of a hundred calls so many fail.
    percent: u64,
    /// While this is set, nothing works.
    away: bool,
    /// So many calls are done and never answered.
    mute: u64,
    /// So many openings are never answered, from the first one on that follows a failure.
    closed: u64,
    /// Wrong for good.
    wrong: bool,
    number: i64,
    rows: BTreeMap<String, String>,
    live: Vec<(i64, usize)>,
    finished: Option<String>,
    failed: Option<String>,
    repeated: u64,
    most_rows: usize,
}

#[derive(Debug, PartialEq)]
enum Fate {
    Works,
    FailsBefore,
    LosesAnswer,
}

impl World {
    fn fate(&mut self) -> Fate {
        self.calls += 1;
        if self.away || self.wrong {
            return Fate::FailsBefore;
        }
        let mut hash =
            self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ self.calls.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 31)).wrapping_mul(0x94d0_49bb_1331_11eb);
        hash ^= hash >> 29;
        if self.seed == 0 || hash % 100 >= self.percent {
            Fate::Works
        } else if hash & 0x100 == 0 {
            Fate::FailsBefore
        } else {
            Fate::LosesAnswer
        }
    }

    fn error(&self) -> StoreError {
        if self.wrong {
            return StoreError::NotADatabase { store: "fake".into() };
        }
        StoreError::Full { store: "fake".into() }
    }

    /// One numbered transaction.
    fn commit(&mut self, number: i64, change: impl FnOnce(&mut Self)) -> Result<(), StoreError> {
        let fate = self.fate();
        if fate == Fate::FailsBefore {
            return Err(self.error());
        }
        if number == self.number + 1 {
            self.number = number;
            change(self);
        } else {
            assert!(number == self.number, "number {number} behind {}", self.number);
            self.repeated += 1;
        }
        if fate == Fate::LosesAnswer {
            Err(self.error())
        } else {
            Ok(())
        }
    }

    fn put(&mut self, batch: &Batch) {
        self.most_rows = self.most_rows.max(batch.len());
        for (chain, sequence) in &batch.replaced.heights {
            let of_height = format!("{chain} {sequence} ");
            self.rows.retain(|key, _| !key.starts_with(&of_height));
        }
        for row in &batch.counts {
            let key = format!(
                "{} {} count {} {} {}",
                row.chain, row.sequence, row.round, row.receiver_ip, row.kind
            );
            self.rows.insert(key, format!("{row:?}"));
        }
        for row in &batch.deliveries {
            let key = format!(
                "{} {} delivery {} {} {} {} {}",
                row.chain, row.sequence, row.round, row.receiver_ip, row.kind, row.sender, row.signer
            );
            self.rows.insert(key, format!("{row:?}"));
        }
        for row in &batch.rounds {
            self.rows.insert(
                format!("{} {} round {}", row.chain, row.sequence, row.round),
                format!("{row:?}"),
            );
        }
        for row in &batch.links {
            let key = format!(
                "link {} {} {} {} {}",
                row.minute, row.chain, row.receiver_ip, row.sender, row.kind
            );
            self.rows.insert(key, format!("{row:?}"));
        }
        if let Some(live) = &batch.live {
            self.live
                .push((live.seen_ns.unwrap_or(-1), live.facts.sessions.len()));
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Fake(Arc<Mutex<World>>);

impl Fake {
    fn failing(seed: u64, percent: u64) -> Self {
        let world = World {
            percent,
            ..World::default()
        };
        let fake = Self(Arc::new(Mutex::new(world)));
        fake.with(|world| world.seed = seed);
        fake
    }

    fn with<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        look(&mut self.0.lock().unwrap())
    }

    fn writer(&self, live: bool, options: &WriterOptions) -> StoreWriter {
        let run = NewRun {
            live,
            ..new_run("fake")
        };
        // The first opening tells mistakes; this is about what comes behind it.
        let (seed, away) =
            self.with(|world| (std::mem::take(&mut world.seed), std::mem::take(&mut world.away)));
        let writer = StoreWriter::with(Box::new(self.clone()), &run, options).unwrap();
        self.with(|world| (world.seed, world.away) = (seed, away));
        writer
    }
}

impl Opener for Fake {
    fn open(&mut self) -> Opening {
        let answer = self.with(|world| match world.fate() {
            Fate::Works => Ok(Box::new(self.clone()) as Box<dyn Store>),
            _ => Err(world.error()),
        });
        let closed = answer.is_ok()
            && self.with(|world| {
                // The first opening is that of the run.
                let closed = world.closed > 0 && world.number > 0;
                world.closed -= u64::from(closed);
                closed
            });
        if closed {
            return Box::pin(std::future::pending());
        }
        Box::pin(async { answer })
    }
}

fn no<T: Send + 'static>() -> Answer<'static, T> {
    Box::pin(async { Err(StoreError::Stopped) })
}

impl Fake {
    fn answer(&self, done: Result<(), StoreError>) -> Answer<'static, ()> {
        let mute = self.with(|world| {
            let mute = world.mute > 0;
            world.mute = world.mute.saturating_sub(1);
            mute
        });
        if mute {
            return Box::pin(std::future::pending());
        }
        Box::pin(async { done })
    }
}

impl Store for Fake {
    fn begin_run<'a>(&'a mut self, _: &'a NewRun, _: i64) -> Answer<'a, RunId> {
        Box::pin(async { Ok(RunId(1)) })
    }

    fn resume_run<'a>(&'a mut self, _: &'a NewRun) -> Answer<'a, Option<(RunId, i64)>> {
        no()
    }

    fn write<'a>(&'a mut self, _: RunId, number: i64, batch: &'a Batch) -> Answer<'a, ()> {
        let done = self.with(|world| world.commit(number, |world| world.put(batch)));
        self.answer(done)
    }

    fn finish_run<'a>(&'a mut self, _: RunId, number: i64, facts: &'a RunFacts, _: i64) -> Answer<'a, ()> {
        let done =
            self.with(|world| world.commit(number, |world| world.finished = Some(format!("{facts:?}"))));
        self.answer(done)
    }

    fn fail_run<'a>(&'a mut self, _: RunId, problem: &'a str, _: i64) -> Answer<'a, ()> {
        self.with(|world| world.failed = Some(problem.to_owned()));
        Box::pin(async { Ok(()) })
    }

    fn runs(&mut self) -> Answer<'_, Vec<RunRow>> {
        no()
    }

    fn find_run<'a>(&'a mut self, _: Option<&'a str>) -> Answer<'a, RunRow> {
        no()
    }

    fn counts<'a>(
        &'a mut self,
        _: RunId,
        _: RangeInclusive<i64>,
        _: Option<&'a CountRow>,
        _: u32,
    ) -> Answer<'a, Vec<CountRow>> {
        no()
    }

    fn page<'a>(
        &'a mut self,
        _: &'static Table,
        _: RunId,
        _: Option<&'a [Cell]>,
        _: u32,
    ) -> Answer<'a, Vec<Vec<Cell>>> {
        no()
    }

    fn ask<'a>(&'a mut self, _: &'a Question<'a>) -> Answer<'a, Vec<Vec<Cell>>> {
        no()
    }

    fn details(&mut self, _: RunId) -> Answer<'_, RunDetails> {
        no()
    }

    fn latest_links(&mut self, _: RunId) -> Answer<'_, Vec<LinkCountRow>> {
        no()
    }

    fn check(&mut self) -> Answer<'_, StoreCheck> {
        no()
    }

    fn prune<'a>(&'a mut self, _: &'a Prune) -> Answer<'a, Pruned> {
        no()
    }

    fn original_views(&mut self, _: RunId) -> Answer<'_, Vec<String>> {
        no()
    }

    fn close(self: Box<Self>) -> Answer<'static, ()> {
        Box::pin(async { Ok(()) })
    }
}

fn update(sequence: u64) -> Update {
    Update {
        // The one before once more, as it is when messages come late.
        heights: [sequence.saturating_sub(1), sequence].map(height).to_vec(),
        links: vec![link(sequence)],
        facts: run_facts(),
        ..Update::default()
    }
}

/// A run as it is seen, and its final rows.
fn played(fake: &Fake, heights: u64, options: &WriterOptions) -> Result<(), StoreError> {
    let mut writer = fake.writer(true, options);
    for sequence in 0..heights {
        writer.update(update(sequence), Some(sequence as i64), Duration::from_millis(7))?;
    }
    for sequence in 0..heights {
        writer.height(height(sequence))?;
        writer.minute(&[link(sequence)])?;
    }
    writer.finish(run_facts()).map(|_| ())
}

fn at_once(heights: impl Iterator<Item = HeightFacts>, links: u64) -> BTreeMap<String, String> {
    let mut world = World::default();
    let mut batch = Batch::default();
    heights.for_each(|height| batch.push_height(height));
    batch.links.extend((0..links).map(link));
    world.put(&batch);
    world.rows
}

#[test]
fn whatever_fails_all_rows_are_there_once_and_in_order() {
    let (mut repeated, mut calls) = (0, 0);
    for seed in 1..=3 {
        let fake = Fake::failing(seed, 20);
        played(&fake, 40, &WriterOptions::default()).unwrap();
        fake.with(|world| {
            assert_eq!(world.rows, at_once((0..40).map(height), 40), "seed {seed}");
            assert_eq!(world.finished, Some(format!("{:?}", run_facts())));
            assert!(world.live.is_sorted(), "{:?}", world.live);
            assert!(
                world
                    .live
                    .iter()
                    .all(|(_, sessions)| *sessions == run_facts().sessions.len()),
                "lists are never empty"
            );
            repeated += world.repeated;
            calls += world.calls;
        });
    }
    assert!(
        repeated > 0 && calls > 3 * 42,
        "there was something to repeat: {repeated} of {calls}"
    );
}

#[test]
fn what_is_seen_goes_on_while_the_database_is_away() {
    let fake = Fake::default();
    let mut writer = fake.writer(true, &WriterOptions::default());
    let status = writer.status();
    writer.update(update(0), Some(0), Duration::ZERO).unwrap();
    fake.with(|world| world.away = true);
    for sequence in 1..500 {
        writer
            .update(update(sequence), Some(sequence as i64), Duration::ZERO)
            .unwrap();
    }
    let load = |value: &std::sync::atomic::AtomicU64| value.load(std::sync::atomic::Ordering::Relaxed);
    assert!(load(&status.spooled_batches) > 400 && load(&status.spooled_bytes) > 0);
    fake.with(|world| world.away = false);
    writer.finish(run_facts()).unwrap();
    assert_eq!(load(&status.spooled_batches), 0);
    assert!(status.last_error().contains("fake"), "{}", status.last_error());
    fake.with(|world| assert_eq!(world.rows, at_once((0..500).map(height), 500)));
}

#[test]
fn a_full_spool_keeps_sums_and_the_end_brings_the_detail_back() {
    let fake = Fake::default();
    let options = WriterOptions {
        // Room for all sums, but not for all detail.
        spool_bytes: 440 << 10,
        ..WriterOptions::default()
    };
    let mut writer = fake.writer(true, &options);
    let status = writer.status();
    fake.with(|world| world.away = true);
    for sequence in 0..280 {
        writer
            .update(update(sequence), Some(sequence as i64), Duration::ZERO)
            .unwrap();
        let bytes = status.spooled_bytes.load(std::sync::atomic::Ordering::Relaxed);
        assert!(bytes <= options.spool_bytes, "{bytes}");
    }
    assert!(status.thinned_rows.load(std::sync::atomic::Ordering::Relaxed) > 0);
    fake.with(|world| world.away = false);
    for sequence in 0..280 {
        writer.height(height(sequence)).unwrap();
    }
    writer.finish(run_facts()).unwrap();
    fake.with(|world| {
        assert_eq!(world.rows, at_once((0..280).map(height), 280));
        // Several updates became one while they waited, but none is large: memory was bounded.
        assert!(
            world.number < 250 && world.most_rows < 16_384 * 2,
            "{} {}",
            world.number,
            world.most_rows
        );
    });
}

#[test]
fn a_full_spool_makes_an_analysis_wait() {
    let fake = Fake::default();
    let options = WriterOptions {
        spool_bytes: 1 << 20,
        ..WriterOptions::default()
    };
    let mut writer = fake.writer(false, &options);
    let status = writer.status();
    fake.with(|world| world.away = true);
    let back = fake.clone();
    let waiting = Arc::clone(&status);
    let helper = std::thread::spawn(move || {
        let load = |value: &std::sync::atomic::AtomicU64| value.load(std::sync::atomic::Ordering::Relaxed);
        let mut before = (0, 0);
        loop {
            std::thread::sleep(Duration::from_millis(300));
            let now = (load(&waiting.waiting_batches), load(&waiting.spooled_bytes));
            if now == before && now.0 > 0 {
                break;
            }
            before = now;
        }
        back.with(|world| world.away = false);
        before
    });
    for sequence in 0..40_000 {
        writer.height(height(sequence)).unwrap();
    }
    writer.finish(run_facts()).unwrap();
    let (batches, bytes) = helper.join().unwrap();
    assert!(batches < 8 && bytes <= options.spool_bytes, "{batches} {bytes}");
    fake.with(|world| {
        assert_eq!(world.rows.len(), at_once((0..40_000).map(height), 0).len());
        assert!(world.finished.is_some());
    });
}

#[test]
fn patience_ends_and_says_so() {
    let fake = Fake::default();
    let options = WriterOptions {
        patience: Duration::from_millis(300),
        ..WriterOptions::default()
    };
    let mut writer = fake.writer(true, &options);
    fake.with(|world| world.away = true);
    for sequence in 0..5 {
        writer.update(update(sequence), None, Duration::ZERO).unwrap();
    }
    let error = writer.finish(run_facts()).unwrap_err();
    let StoreError::Away { source, .. } = &error else {
        panic!("{error}")
    };
    assert!(matches!(**source, StoreError::Full { .. }));
    assert!(error.to_string().contains("patience_seconds"), "{error}");
    fake.with(|world| assert_eq!(world.finished, None));
}

#[test]
fn a_database_that_falls_silent_is_asked_again() {
    let fake = Fake::default();
    let options = WriterOptions {
        answer: Duration::from_millis(50),
        ..WriterOptions::default()
    };
    let mut writer = fake.writer(true, &options);
    fake.with(|world| (world.mute, world.closed) = (2, 2));
    for sequence in 0..5 {
        writer.update(update(sequence), None, Duration::ZERO).unwrap();
    }
    writer.finish(run_facts()).unwrap();
    fake.with(|world| {
        assert!(world.finished.is_some() && (world.mute, world.closed) == (0, 0));
        assert_eq!(world.repeated, 2, "it was committed, and is not done twice");
    });
}

#[test]
fn what_no_waiting_mends_ends_the_run_at_once() {
    let fake = Fake::default();
    let mut writer = fake.writer(true, &WriterOptions::default());
    fake.with(|world| world.wrong = true);
    let error = (0..1_000_000)
        .find_map(|sequence| writer.update(update(sequence), None, Duration::ZERO).err())
        .expect("the error comes back");
    assert!(matches!(error, StoreError::NotADatabase { .. }), "{error}");
    fake.with(|world| assert_eq!(world.failed.as_deref(), Some("the store could not be written")));
}

#[test]
fn giving_up_does_not_wait_for_the_database() {
    let fake = Fake::default();
    let mut writer = fake.writer(true, &WriterOptions::default());
    fake.with(|world| world.away = true);
    for sequence in 0..50 {
        writer.update(update(sequence), None, Duration::ZERO).unwrap();
    }
    drop(writer);
    fake.with(|world| assert_eq!((world.number, world.finished.as_deref()), (0, None)));
}
