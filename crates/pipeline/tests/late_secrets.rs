//! Secrets that come while the sessions go on: 36 sessions are played as a monitor sees them, and their secrets come five seconds late.

use std::convert::Infallible;
use std::io::{Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bftap_analysis::Update;
use bftap_analysis::facts::{FactSink, HeightFacts, LinkCountFact, RunFacts, SessionFact, SessionState};
use bftap_capture::packet::Batch;
use bftap_capture::source::{InputStats, PacketSource};
use bftap_decrypt::SecretStore;
use bftap_decrypt::keylog::LastLine;
use bftap_model::{CaptureTime, Nanos};
use bftap_pipeline::{
    Clock, Input, Live, LiveSink, Moment, PipelineOptions, Progress, Selection, analyze, analyze_live, files,
};
use bftap_simnet::{CaptureFormat, SimulateOptions, Sinks, Taps, simulate};

/// A clock that runs ten times as fast as others.
struct Fast(Instant);

impl Fast {
    #[expect(
        clippy::disallowed_methods,
        reason = "a monitor has the clock of its machine, and this is one"
    )]
    fn start() -> Self {
        Self(Instant::now())
    }
}

impl Clock for Fast {
    fn now(&self) -> Nanos {
        Nanos(self.0.elapsed().as_nanos() as i64 * 10)
    }

    fn sleep_until(&self, at: Nanos) {
        let left = (at.0 - self.now().0).max(0) / 10;
        std::thread::sleep(Duration::from_nanos(left.unsigned_abs()));
    }
}

/// What was told last.
#[derive(Default)]
struct Told {
    packets: AtomicU64,
    decrypted: AtomicU64,
}

impl Told {
    /// Waits until so much was told; a limit only so that a failing test ends.
    fn wait(&self, of: &AtomicU64, least: u64) -> bool {
        for _ in 0..12_000 {
            if of.load(Ordering::SeqCst) >= least {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }
}

struct Sink(Arc<Told>);

impl FactSink for Sink {
    type Error = Infallible;

    fn height(&mut self, _: &HeightFacts) -> Result<(), Infallible> {
        Ok(())
    }

    fn minute(&mut self, _: &[LinkCountFact]) -> Result<(), Infallible> {
        Ok(())
    }
}

impl LiveSink for Sink {
    fn update(&mut self, update: Update, _: Moment) -> Result<(), Infallible> {
        let totals = &update.facts.totals;
        self.0.packets.store(totals.packets, Ordering::SeqCst);
        self.0.decrypted.store(decrypted(&update.facts), Ordering::SeqCst);
        Ok(())
    }
}

fn decrypted(facts: &RunFacts) -> u64 {
    let open = facts
        .sessions
        .iter()
        .filter(|session| session.state == SessionState::Decrypted);
    open.count() as u64
}

/// A capture that is cut in two. Between the parts it waits until the first was seen, and secrets come; behind them, until `last` says so.
struct InTwo {
    parts: [Box<dyn PacketSource>; 2],
    second: bool,
    between: Box<dyn FnMut() + Send>,
    last: Option<Box<dyn FnOnce() + Send>>,
}

impl PacketSource for InTwo {
    fn next_batch(&mut self) -> Option<Batch> {
        if !self.second {
            if let Some(batch) = self.parts[0].next_batch() {
                return Some(batch);
            }
            (self.between)();
            self.second = true;
        }
        let batch = self.parts[1].next_batch();
        if batch.is_none()
            && let Some(last) = self.last.take()
        {
            last();
        }
        batch
    }

    fn inputs_of_taps(&self) -> Vec<usize> {
        self.parts[usize::from(self.second)].inputs_of_taps()
    }

    fn inputs(&self) -> Vec<InputStats> {
        self.parts[usize::from(self.second)].inputs()
    }
}

struct Network {
    key_log: Vec<u8>,
    whole: Vec<u8>,
    parts: [Vec<u8>; 2],
    /// Packets of the first part.
    first: u64,
    /// Time of the cut.
    cut: CaptureTime,
}

impl Network {
    /// Nine nodes that talk for twelve seconds.
    fn new() -> Self {
        Self::of(SimulateOptions {
            nodes: 9,
            duration: Some(Nanos::from_secs(12)),
            ..SimulateOptions::default()
        })
    }

    /// Cut behind five seconds.
    fn of(options: SimulateOptions) -> Self {
        let options = SimulateOptions {
            sequences: None,
            format: CaptureFormat::Pcap,
            ..options
        };
        let [mut whole, mut key_log, mut nodes, mut truth] = [const { Vec::new() }; 4];
        let sinks = Sinks {
            captures: vec![Box::new(&mut whole)],
            key_log: Box::new(&mut key_log),
            nodes: Box::new(&mut nodes),
            truth: Box::new(&mut truth),
        };
        simulate(&options, sinks).unwrap();
        let word = |at: usize| u32::from_le_bytes(whole[at..at + 4].try_into().unwrap());
        let (mut at, mut first) = (24, 0);
        let cut = word(24) + 5;
        while word(at) < cut {
            at += 16 + word(at + 8) as usize;
            first += 1;
        }
        let parts = [whole[..at].to_vec(), [&whole[..24], &whole[at..]].concat()];
        Self {
            key_log,
            parts,
            first,
            cut: CaptureTime::from_nanos(i64::from(cut) * 1_000_000_000),
            whole,
        }
    }

    fn options(&self, with_secrets: bool, waiting_limit: Option<usize>) -> PipelineOptions {
        let mut options = PipelineOptions {
            jobs: 2,
            content_hashes: false,
            ..PipelineOptions::default()
        };
        if with_secrets {
            self.add_secrets(&options.secrets);
        }
        if let Some(limit) = waiting_limit {
            options.sessions.waiting_limit = limit;
        }
        options
    }

    fn add_secrets(&self, secrets: &SecretStore) {
        secrets.add_key_log(&self.key_log, 1, LastLine::Whole, &"test".into());
    }

    /// Messages of the whole capture, from this time on, with all secrets known before.
    fn truth(&self, from: CaptureTime) -> RunFacts {
        let options = PipelineOptions {
            selection: Selection {
                from,
                ..Selection::default()
            },
            ..self.options(true, None)
        };
        let mut sink = Sink(Arc::default());
        analyze(
            vec![input(&self.whole)],
            Arc::new(options),
            &Progress::default(),
            &mut sink,
        )
        .unwrap()
        .facts
    }

    /// Played live, the secrets coming between the parts; before the end, `opened` sessions have to be told as decrypted.
    fn late(&'static self, waiting_limit: Option<usize>, opened: u64) -> RunFacts {
        let options = Arc::new(self.options(false, waiting_limit));
        let told = Arc::new(Told::default());
        let (seen, secrets) = (Arc::clone(&told), Arc::clone(&options.secrets));
        let ended = Arc::clone(&told);
        let source = InTwo {
            parts: [0, 1].map(|part| files(vec![input(&self.parts[part])], &options)),
            second: false,
            between: Box::new(move || {
                assert!(seen.wait(&seen.packets, self.first), "the first part is told");
                self.add_secrets(&secrets);
            }),
            last: Some(Box::new(move || {
                let all = ended.wait(&ended.decrypted, opened);
                let decrypted = ended.decrypted.load(Ordering::SeqCst);
                assert!(
                    all,
                    "{decrypted} of {opened} sessions are opened while nothing comes"
                );
            })),
        };
        let clock = Fast::start();
        let live = Live {
            clock: &clock,
            pace: None,
        };
        let mut sink = Sink(told);
        analyze_live(Box::new(source), options, &Progress::default(), live, &mut sink)
            .unwrap()
            .facts
    }
}

fn input(capture: &[u8]) -> Input {
    Input {
        path: "eth0".to_owned(),
        read: Box::new(Cursor::new(capture.to_vec())) as Box<dyn Read + Send>,
    }
}

const SESSIONS: u64 = 36;

#[test]
fn secrets_that_come_late_lose_nothing_where_all_may_wait() {
    let network = Box::leak(Box::new(Network::new()));
    let truth = network.truth(CaptureTime::MIN);
    let facts = network.late(None, SESSIONS);
    assert_eq!(decrypted(&facts), SESSIONS);
    let messages = facts.totals.consensus_messages;
    println!("{messages} messages, all of them, in {SESSIONS} sessions");
    assert_eq!(messages, truth.totals.consensus_messages);
    assert!(facts.sessions.iter().all(|session| session.lost_bytes == 0));
    nobody_is_blamed(&facts);
}

/// What nobody could read for a while is no fault of a node.
fn nobody_is_blamed(facts: &RunFacts) {
    let blamed: Vec<_> = facts.events.iter().filter(|event| event.suspicious).collect();
    assert!(blamed.is_empty(), "{blamed:#?}");
    let absent = |event: &&bftap_analysis::facts::EventFact| {
        [
            "silent_validator",
            "missing_proposer",
            "partial_sender",
            "stalled_chain",
        ]
        .contains(&event.rule)
    };
    let absent: Vec<_> = facts.events.iter().filter(absent).collect();
    assert!(absent.is_empty(), "{absent:#?}");
    let deficits = facts
        .scores
        .iter()
        .filter(|score| score.delivery_deficit_milli < 0);
    assert_eq!(deficits.count(), 0, "{:?}", facts.scores);
}

#[test]
fn behind_the_limit_sessions_are_joined_where_they_are() {
    let network = Box::leak(Box::new(Network::new()));
    let truth = network.truth(CaptureTime::MIN).totals.consensus_messages;
    let after = network.truth(network.cut).totals.consensus_messages;
    let facts = network.late(Some(1), SESSIONS);
    assert_eq!(decrypted(&facts), SESSIONS);
    let lost = facts
        .sessions
        .iter()
        .filter(|session| session.lost_bytes > 0)
        .count();
    let messages = facts.totals.consensus_messages;
    println!(
        "{messages} messages of {truth}, {after} of them after the secrets came; {lost} sessions lost bytes"
    );
    assert!(
        messages < truth,
        "{messages} of {truth}: the limit was not reached"
    );
    assert!(
        messages >= after * 97 / 100,
        "{messages}, and {after} came behind the secrets"
    );
    assert_eq!(lost as u64, SESSIONS);
    nobody_is_blamed(&facts);
}

/// So few bytes that a search by bytes never comes.
#[test]
fn sessions_without_a_handshake_are_joined_while_little_comes() {
    let network = Box::leak(Box::new(Network::of(SimulateOptions {
        nodes: 5,
        duration: Some(Nanos::from_secs(14)),
        capture_from: Nanos::from_secs(6),
        taps: Taps::Only(vec![0]),
        ..SimulateOptions::default()
    })));
    assert!(network.whole.len() < 1 << 20, "{} bytes", network.whole.len());
    let after = network.truth(network.cut).totals.consensus_messages;
    let facts = network.late(None, 4);
    assert_eq!(decrypted(&facts), 4);
    let midstream = |session: &SessionFact| session.attached == Some("midstream");
    assert!(facts.sessions.iter().all(midstream));
    let messages = facts.totals.consensus_messages;
    println!("{messages} messages, {after} came behind the secrets");
    assert!(
        messages > 0 && messages <= after && messages >= after * 90 / 100,
        "{messages} of {after}"
    );
}
