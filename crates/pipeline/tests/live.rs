//! Played at a pace: the facts of the end are those of a run without one, and what is told meanwhile leads there.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs::File;
use std::io::{Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use bftap_analysis::Update;
use bftap_analysis::facts::{FactSink, HeightFacts, LinkCountFact, RunFacts, SessionState};
use bftap_capture::packet::Batch;
use bftap_capture::source::{InputStats, PacketSource};
use bftap_decrypt::SecretStore;
use bftap_decrypt::keylog::LastLine;
use bftap_model::{CaptureTime, Nanos};
use bftap_pipeline::{
    Clock, Input, Live, LiveSink, Moment, Pace, PipelineOptions, Progress, analyze, analyze_live, files,
};
use bftap_simnet::SimulateOptions;
use bftap_testkit::damage::{damage, scenarios, simulated};

/// A clock that only runs while somebody waits for it.
#[derive(Default)]
struct Hurried(AtomicI64);

impl Clock for Hurried {
    fn now(&self) -> Nanos {
        Nanos(self.0.load(Ordering::SeqCst))
    }

    fn sleep_until(&self, at: Nanos) {
        self.0.fetch_max(at.0, Ordering::SeqCst);
    }
}

#[derive(Default)]
struct Found {
    heights: Vec<HeightFacts>,
    links: Vec<LinkCountFact>,
    updates: Vec<(Update, Moment)>,
}

impl FactSink for Found {
    type Error = Infallible;

    fn height(&mut self, height: &HeightFacts) -> Result<(), Infallible> {
        self.heights.push(height.clone());
        Ok(())
    }

    fn minute(&mut self, links: &[LinkCountFact]) -> Result<(), Infallible> {
        self.links.extend_from_slice(links);
        Ok(())
    }
}

impl LiveSink for Found {
    fn update(&mut self, update: Update, at: Moment) -> Result<(), Infallible> {
        self.updates.push((update, at));
        Ok(())
    }
}

impl Found {
    fn text(&self, facts: &RunFacts) -> String {
        format!("{:#?}\n{:#?}\n{facts:#?}", self.heights, self.links)
    }
}

fn options(key_log: &[u8], jobs: usize) -> Arc<PipelineOptions> {
    let secrets = SecretStore::new();
    secrets.add_key_log(key_log, 1, LastLine::Whole, &"test".into());
    Arc::new(PipelineOptions {
        jobs,
        secrets: Arc::new(secrets),
        ..PipelineOptions::default()
    })
}

type Open<'a> = &'a dyn Fn() -> Vec<Input>;

fn at_once(inputs: Open<'_>, key_log: &[u8]) -> String {
    let mut found = Found::default();
    let analysis = analyze(inputs(), options(key_log, 2), &Progress::default(), &mut found).unwrap();
    found.text(&analysis.facts)
}

fn played(inputs: Open<'_>, key_log: &[u8], pace: Option<f64>, jobs: usize) -> (Found, RunFacts) {
    let clock = Hurried::default();
    let live = Live {
        clock: &clock,
        pace: pace.map(|pace| Pace::new(pace).unwrap()),
    };
    let mut found = Found::default();
    let progress = Progress::default();
    let options = options(key_log, jobs);
    let source = files(inputs(), &options);
    let analysis = analyze_live(source, options, &progress, live, &mut found).unwrap();
    assert_eq!(
        progress.packets.load(Ordering::Relaxed),
        analysis.facts.totals.packets,
        "every packet was played"
    );
    (found, analysis.facts)
}

/// Rows given last, by height, and messages and bytes of links given last.
fn latest(found: &Found) -> (BTreeMap<String, String>, BTreeMap<String, (u64, u64)>) {
    let (mut heights, mut links) = (BTreeMap::new(), BTreeMap::new());
    for (update, _) in &found.updates {
        assert!(!update.renamed && update.gone.is_empty());
        for height in &update.heights {
            let count = &height.counts[0];
            heights.insert(
                format!("{} {:020}", count.chain, count.sequence),
                format!("{height:?}"),
            );
        }
        for link in &update.links {
            let key = format!(
                "{} {} {} {} {}",
                link.minute, link.chain, link.receiver_ip, link.sender, link.kind
            );
            links.insert(key, (link.messages, link.bytes));
        }
    }
    (heights, links)
}

/// The shared captures of a network, and its key log; `None` where they are absent.
fn shared(name: &str, files: &'static [&'static str]) -> Option<(impl Fn() -> Vec<Input>, Vec<u8>)> {
    let folder = bftap_testkit::shared_captures()?.join(name);
    let key_log = std::fs::read(folder.join("sessions.keylog")).unwrap();
    let inputs = move || {
        let input = |file: &&str| Input {
            path: (*file).to_owned(),
            read: Box::new(File::open(folder.join(file)).unwrap()),
        };
        files.iter().map(input).collect()
    };
    Some((inputs, key_log))
}

#[test]
fn the_end_is_the_same_at_any_pace() {
    for (name, files) in [
        ("klaytn-7cn", &["tap1.pcap"][..]),
        ("quorum-4", &["tap1.pcap", "tap2.pcap", "tap3.pcap", "tap4.pcap"]),
        (
            "klaytn-4cn-faults",
            &["tap1.pcap", "tap2.pcap", "tap3.pcap", "tap4.pcap"],
        ),
    ] {
        let Some((inputs, key_log)) = shared(name, files) else {
            return;
        };
        let expected = at_once(&inputs, &key_log);
        for (pace, jobs) in [(Some(1.0), 1), (Some(30.0), 3), (None, 2)] {
            let (found, facts) = played(&inputs, &key_log, pace, jobs);
            assert!(
                found.text(&facts) == expected,
                "{name} at {pace:?} with {jobs} workers"
            );
        }
    }
}

#[test]
fn what_is_told_meanwhile_leads_to_the_end() {
    let Some((inputs, key_log)) = shared("klaytn-7cn", &["tap1.pcap"]) else {
        return;
    };
    let (found, facts) = played(&inputs, &key_log, Some(1.0), 2);
    let (last, _) = found.updates.last().unwrap();
    assert_eq!(format!("{:#?}", last.facts), format!("{facts:#?}"));
    let (heights, links) = latest(&found);
    assert_eq!(heights.len(), found.heights.len());
    let sum = found.links.iter().map(|link| (link.messages, link.bytes));
    let sum = sum.fold((0, 0), |(messages, bytes), link| {
        (messages + link.0, bytes + link.1)
    });
    let told = links.values().fold((0, 0), |(messages, bytes), link| {
        (messages + link.0, bytes + link.1)
    });
    assert_eq!(told, sum);

    // Updates come while the capture goes on, at most four a second at its own pace, and each is about what was played by then. The clock here
    // does not wait for threads, so on a busy machine some are left out.
    let (first, end) = facts
        .sessions
        .iter()
        .fold((CaptureTime::MAX, CaptureTime::MIN), |(first, end), session| {
            (first.min(session.first_seen_ns), end.max(session.last_seen_ns))
        });
    let seconds = end.since(first).0 / 1_000_000_000;
    let count = found.updates.len() as i64;
    assert!(
        (10..=5 * seconds).contains(&count),
        "{count} updates in {seconds} s"
    );
    let mut before = (0, 0);
    for (update, at) in &found.updates {
        let totals = &update.facts.totals;
        let now = (totals.packets, totals.consensus_messages);
        assert!(now >= before, "{now:?} behind {before:?}");
        before = now;
        let counted: u64 = update
            .heights
            .iter()
            .flat_map(|height| &height.counts)
            .map(|count| count.messages)
            .sum();
        assert!(counted <= totals.consensus_messages);
        let newest = update
            .heights
            .iter()
            .flat_map(|height| &height.counts)
            .map(|count| count.last_seen)
            .max();
        assert!(newest <= at.seen, "nothing is told before its time");
    }
    // Open sessions are there, opened, long before they end.
    let (half, _) = &found.updates[found.updates.len() / 2];
    let open = half
        .facts
        .sessions
        .iter()
        .filter(|session| session.state == SessionState::Decrypted);
    assert!(open.count() >= 6, "{:#?}", half.facts.sessions);
    assert!(half.facts.totals.frames > 0 && !half.facts.codes.is_empty() && !half.facts.copies.is_empty());
}

#[test]
fn damaged_captures_end_the_same() {
    let network = simulated(&SimulateOptions::default()).unwrap();
    for (scenario, harms) in scenarios() {
        let capture = damage(&network.capture, &harms, 3).unwrap();
        let inputs = || {
            vec![Input {
                path: "simulated".to_owned(),
                read: Box::new(Cursor::new(capture.clone())) as Box<dyn Read + Send>,
            }]
        };
        let expected = at_once(&inputs, &network.key_log);
        let (found, facts) = played(&inputs, &network.key_log, Some(1.0), 2);
        assert!(found.text(&facts) == expected, "{scenario}");
    }
}

#[test]
fn updates_come_while_a_pipe_gives_nothing() {
    /// Gives a capture, and then nothing until it was seen.
    struct Slow {
        content: Cursor<Vec<u8>>,
        go_on: crossbeam_channel::Receiver<()>,
    }

    impl Read for Slow {
        fn read(&mut self, space: &mut [u8]) -> std::io::Result<usize> {
            let len = self.content.read(space)?;
            if len == 0 {
                // Hung up: the end.
                let _ = self.go_on.recv();
            }
            Ok(len)
        }
    }

    struct Seen {
        go_on: Option<crossbeam_channel::Sender<()>>,
        before_end: u64,
    }

    impl FactSink for Seen {
        type Error = Infallible;

        fn height(&mut self, _: &HeightFacts) -> Result<(), Infallible> {
            Ok(())
        }

        fn minute(&mut self, _: &[LinkCountFact]) -> Result<(), Infallible> {
            Ok(())
        }
    }

    impl LiveSink for Seen {
        fn update(&mut self, update: Update, _: Moment) -> Result<(), Infallible> {
            if self.go_on.is_some() {
                self.before_end = self.before_end.max(update.facts.totals.packets);
                // Two thirds are as good as all: the rest may be a block that is not full.
                if update.facts.totals.consensus_messages > 0 {
                    self.go_on = None;
                }
            }
            Ok(())
        }
    }

    let network = simulated(&SimulateOptions::default()).unwrap();
    let (go_on, wait) = crossbeam_channel::bounded(0);
    let inputs = vec![Input {
        path: "-".to_owned(),
        read: Box::new(Slow {
            content: Cursor::new(network.capture.clone()),
            go_on: wait,
        }),
    }];
    let clock = Hurried::default();
    let live = Live {
        clock: &clock,
        pace: None,
    };
    let mut seen = Seen {
        go_on: Some(go_on),
        before_end: 0,
    };
    let options = options(&network.key_log, 1);
    let source = files(inputs, &options);
    analyze_live(source, options, &Progress::default(), live, &mut seen).unwrap();
    assert!(seen.before_end > 0);
}

/// Two taps, and then silence: messages that wait for a second sight are told when time alone has gone on.
#[test]
fn time_goes_on_without_packets() {
    /// A source that says how time goes on when its packets are over, until `told` or, if it never is, for long.
    struct ThenIdle {
        files: Box<dyn PacketSource>,
        reached: CaptureTime,
        ticks: u32,
        told: Arc<AtomicBool>,
    }

    impl PacketSource for ThenIdle {
        fn next_batch(&mut self) -> Option<Batch> {
            if let Some(batch) = self.files.next_batch() {
                self.reached = self.reached.max(batch.records.last()?.seen);
                return Some(batch);
            }
            if self.told.load(Ordering::SeqCst) || self.ticks == 0 {
                return None;
            }
            self.ticks -= 1;
            self.reached = self.reached.saturating_add(Nanos::from_millis(20));
            std::thread::sleep(std::time::Duration::from_millis(5));
            Some(Batch {
                reached: Some(self.reached),
                ..Batch::default()
            })
        }

        fn inputs_of_taps(&self) -> Vec<usize> {
            self.files.inputs_of_taps()
        }

        fn inputs(&self) -> Vec<InputStats> {
            self.files.inputs()
        }
    }

    struct Until {
        expected: u64,
        told: Arc<AtomicBool>,
        before_end: u64,
    }

    impl FactSink for Until {
        type Error = Infallible;

        fn height(&mut self, _: &HeightFacts) -> Result<(), Infallible> {
            Ok(())
        }

        fn minute(&mut self, _: &[LinkCountFact]) -> Result<(), Infallible> {
            Ok(())
        }
    }

    impl LiveSink for Until {
        fn update(&mut self, update: Update, _: Moment) -> Result<(), Infallible> {
            if !self.told.load(Ordering::SeqCst) {
                self.before_end = update.sums.iter().map(|sum| sum.sums.messages).sum();
                self.told
                    .store(self.before_end == self.expected, Ordering::SeqCst);
            }
            Ok(())
        }
    }

    /// Time as the machine has it, four times as fast: updates come behind what the ticks brought.
    struct Real(std::time::Instant);

    impl Clock for Real {
        fn now(&self) -> Nanos {
            Nanos(4 * self.0.elapsed().as_nanos() as i64)
        }

        fn sleep_until(&self, at: Nanos) {
            let left = at.0 - self.now().0;
            std::thread::sleep(std::time::Duration::from_nanos(left.max(0).unsigned_abs() / 4));
        }
    }

    let network = simulated(&SimulateOptions::default()).unwrap();
    let options = options(&network.key_log, 2);
    let inputs = || {
        ["a", "b"]
            .map(|path| Input {
                path: path.to_owned(),
                read: Box::new(Cursor::new(network.capture.clone())),
            })
            .into()
    };
    let mut all = Found::default();
    analyze(inputs(), Arc::clone(&options), &Progress::default(), &mut all).unwrap();
    let counts = all.heights.iter().flat_map(|height| &height.counts);
    let told = Arc::new(AtomicBool::new(false));
    let mut until = Until {
        expected: counts.map(|count| count.messages).sum(),
        told: Arc::clone(&told),
        before_end: 0,
    };
    assert!(until.expected > 0);
    let source = ThenIdle {
        files: files(inputs(), &options),
        reached: CaptureTime::MIN,
        ticks: 4000,
        told,
    };
    #[allow(
        clippy::disallowed_methods,
        reason = "the machine's clock, as the command has it"
    )]
    let clock = Real(std::time::Instant::now());
    let live = Live {
        clock: &clock,
        pace: None,
    };
    analyze_live(Box::new(source), options, &Progress::default(), live, &mut until).unwrap();
    assert_eq!(until.before_end, until.expected, "all were told before the end");
}
