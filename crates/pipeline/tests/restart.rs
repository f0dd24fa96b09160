//! A monitor that is killed and started again: what it tells in the end is what one tells that was never killed, but for what came
//! while it was down.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bftap_analysis::Update;
use bftap_analysis::facts::{FactSink, HeightFacts, LinkCountFact, RunFacts, SessionFact, SessionState};
use bftap_capture::packet::Batch;
use bftap_capture::source::{InputStats, PacketSource};
use bftap_decrypt::SecretStore;
use bftap_decrypt::keylog::LastLine;
use bftap_model::{MacState, Nanos};
use bftap_pipeline::journal::JournalError;
use bftap_pipeline::{
    Clock, Input, Journal, Live, LiveSink, Moment, Pace, PipelineError, PipelineOptions, Progress, analyze,
    analyze_kept, files,
};
use bftap_simnet::client::Client;
use bftap_simnet::{CaptureLayout, Gossip, SimulateOptions, Sinks, simulate};

/// A clock that runs many times as fast as others, so that updates come while packets do.
struct Fast(Instant);

const FAST: i64 = 25;

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
        Nanos(self.0.elapsed().as_nanos() as i64 * FAST)
    }

    fn sleep_until(&self, at: Nanos) {
        let left = (at.0 - self.now().0).max(0) / FAST;
        std::thread::sleep(Duration::from_nanos(left.unsigned_abs()));
    }
}

/// Packets from the `skip`th on. However fast the machine is, none comes behind those with which the monitor is to be killed, until it is.
struct From {
    source: Box<dyn PacketSource>,
    skip: usize,
    /// Of the only input.
    skipped: u64,
    /// Packets that may still come.
    left: usize,
    killed: Arc<AtomicBool>,
}

impl PacketSource for From {
    fn next_batch(&mut self) -> Option<Batch> {
        if self.left == 0 {
            while !self.killed.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
            return None;
        }
        let mut batch = self.source.next_batch()?;
        let skipped = self.skip.min(batch.records.len());
        batch.records.drain(..skipped);
        self.skip -= skipped;
        self.skipped += skipped as u64;
        batch.records.truncate(self.left);
        self.left -= batch.records.len();
        Some(batch)
    }

    fn inputs_of_taps(&self) -> Vec<usize> {
        self.source.inputs_of_taps()
    }

    fn inputs(&self) -> Vec<InputStats> {
        let mut inputs = self.source.inputs();
        if let [input] = &mut inputs[..] {
            input.packets = input.packets.saturating_sub(self.skipped);
        }
        inputs
    }
}

type Key = (String, u64, u64, String, String);

/// Rows as a store has them.
#[derive(Clone, Default)]
struct Rows {
    messages: BTreeMap<Key, (u64, u64, bool)>,
    links: BTreeMap<String, u64>,
}

impl Rows {
    fn height(&mut self, height: &HeightFacts) {
        for row in &height.counts {
            let key = (
                row.chain.to_string(),
                row.sequence,
                row.round,
                row.receiver_ip.to_string(),
                row.kind.to_string(),
            );
            self.messages
                .insert(key, (row.messages, row.useful, row.lower_bound));
        }
    }

    fn links(&mut self, links: &[LinkCountFact]) {
        for row in links {
            let key = format!(
                "{} {} {} {} {}",
                row.minute, row.chain, row.receiver_ip, row.sender, row.kind
            );
            self.links.insert(key, row.messages);
        }
    }

    fn sum(&self) -> u64 {
        self.messages.values().map(|row| row.0).sum()
    }
}

/// Takes updates until it is killed.
struct Sink<'s> {
    rows: &'s mut Rows,
    /// Updates are stored as long as so many packets were read.
    store: usize,
    /// It is killed when so many were.
    kill: usize,
    killed: Arc<AtomicBool>,
    arrived: Arc<AtomicU64>,
    packets: usize,
    updates: Vec<Update>,
    heights: Vec<HeightFacts>,
}

#[derive(Debug)]
struct Killed;

impl FactSink for Sink<'_> {
    type Error = Killed;

    fn height(&mut self, height: &HeightFacts) -> Result<(), Killed> {
        self.rows.height(height);
        self.heights.push(height.clone());
        Ok(())
    }

    fn minute(&mut self, links: &[LinkCountFact]) -> Result<(), Killed> {
        self.rows.links(links);
        Ok(())
    }
}

impl LiveSink for Sink<'_> {
    fn update(&mut self, update: Update, _: Moment) -> Result<(), Killed> {
        assert!(!update.renamed && update.gone.is_empty());
        self.packets = update.facts.totals.packets as usize;
        if self.packets < self.store {
            for height in &update.heights {
                self.rows.height(height);
            }
            self.rows.links(&update.links);
            self.arrived.store(update.number, Ordering::SeqCst);
        }
        if self.packets >= self.kill {
            self.killed.store(true, Ordering::SeqCst);
            return Err(Killed);
        }
        self.updates.push(update);
        Ok(())
    }
}

struct Network {
    captures: Vec<Vec<u8>>,
    key_log: Vec<u8>,
}

impl Network {
    fn new(options: &SimulateOptions) -> Self {
        let taps = match options.layout {
            CaptureLayout::Together => 1,
            CaptureLayout::PerTap => options.nodes,
        };
        let mut captures = vec![Vec::new(); taps];
        let [mut key_log, mut nodes, mut truth] = [const { Vec::new() }; 3];
        simulate(
            options,
            Sinks {
                captures: captures
                    .iter_mut()
                    .map(|capture| Box::new(capture) as Box<dyn std::io::Write>)
                    .collect(),
                key_log: Box::new(&mut key_log),
                nodes: Box::new(&mut nodes),
                truth: Box::new(&mut truth),
            },
        )
        .unwrap();
        Self { captures, key_log }
    }

    fn inputs(&self) -> Vec<Input> {
        let input = |(number, capture): (usize, &Vec<u8>)| Input {
            path: format!("tap{number}"),
            read: Box::new(Cursor::new(capture.clone())) as Box<dyn Read + Send>,
        };
        self.captures.iter().enumerate().map(input).collect()
    }

    fn options(&self, jobs: usize) -> Arc<PipelineOptions> {
        let secrets = SecretStore::new();
        secrets.add_key_log(&self.key_log, 1, LastLine::Whole, &"test".into());
        Arc::new(PipelineOptions {
            jobs,
            secrets: Arc::new(secrets),
            content_hashes: false,
            ..PipelineOptions::default()
        })
    }

    /// Without a kill.
    fn whole(&self) -> (Rows, RunFacts) {
        let mut rows = Rows::default();
        let mut sink = Sink {
            rows: &mut rows,
            store: 0,
            kill: 0,
            killed: Arc::default(),
            arrived: Arc::default(),
            packets: 0,
            updates: Vec::new(),
            heights: Vec::new(),
        };
        let analysis = analyze(self.inputs(), self.options(2), &Progress::default(), &mut sink).unwrap();
        (rows, analysis.facts)
    }

    /// One life: from packet `from` on, when `known` were counted before; updates are stored up to so many packets, and with so many it is
    /// killed. The packets that the last update knew of, or the end.
    fn live(
        &self,
        state: &Path,
        (from, known): (usize, usize),
        (store, kill): (usize, usize),
        rows: &mut Rows,
        jobs: usize,
    ) -> Result<(RunFacts, Vec<Update>), usize> {
        let options = self.options(jobs);
        let clock = Fast::start();
        let live = Live {
            clock: &clock,
            pace: Pace::new(1.0),
        };
        let mut journal = Journal::open(state, None, "run").unwrap();
        let (arrived, killed) = (Arc::new(AtomicU64::new(0)), Arc::<AtomicBool>::default());
        let told = Arc::clone(&arrived);
        journal.set_arrived(Box::new(move || told.load(Ordering::SeqCst)));
        let mut sink = Sink {
            rows,
            store,
            kill,
            killed: Arc::clone(&killed),
            arrived,
            packets: 0,
            updates: Vec::new(),
            heights: Vec::new(),
        };
        let source = Box::new(From {
            source: files(self.inputs(), &options),
            skip: from,
            skipped: 0,
            left: kill.saturating_sub(known),
            killed,
        });
        let progress = Progress::default();
        match analyze_kept(source, options, &progress, live, Some(&mut journal), &mut sink) {
            Ok(analysis) => {
                assert_eq!(analysis.problems, [""; 0]);
                Ok((analysis.facts, sink.updates))
            }
            Err(PipelineError::Sink(Killed)) => Err(sink.packets),
            Err(error) => panic!("{error:?}"),
        }
    }
}

fn folder() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    folder
}

fn by_ends(facts: &RunFacts) -> BTreeMap<String, &SessionFact> {
    let sessions: BTreeMap<_, _> = facts
        .sessions
        .iter()
        .map(|session| (format!("{} {}", session.initiator, session.recipient), session))
        .collect();
    assert_eq!(sessions.len(), facts.sessions.len(), "each session once");
    sessions
}

struct Restart {
    /// Packets up to which updates are stored, and behind which it is killed, in thousandths of all.
    at: (usize, usize),
    /// Packets that pass while it is down; negative: so many come once more.
    down: isize,
}

/// Lives one after the other, and checks everything that must hold whatever was lost.
fn restarts(options: &SimulateOptions, restarts: &[Restart], jobs: usize) -> (RunFacts, RunFacts) {
    let network = Network::new(options);
    let (truth, whole) = network.whole();
    let state = folder();
    let mut rows = Rows::default();
    let mut from = 0;
    let mut down = 0;
    let mut known = 0;
    for restart in restarts {
        let packets = |share: usize| share * whole.totals.packets as usize / 1000;
        let at = (packets(restart.at.0), packets(restart.at.1));
        known = network
            .live(state.path(), (from, known), at, &mut rows, jobs)
            .expect_err("it is killed before the end");
        assert!(known >= at.1);
        // Packets of earlier lives are counted, too; those that passed between are not.
        from = (known + down).saturating_add_signed(restart.down);
        down = down.saturating_add_signed(restart.down);
    }
    let jobs = 3 - jobs;
    let (facts, updates) = network
        .live(
            state.path(),
            (from, known),
            (usize::MAX, usize::MAX),
            &mut rows,
            jobs,
        )
        .expect("it comes to the end");

    // No count is greater than the truth, and none is gone.
    for (key, (messages, useful, _)) in &rows.messages {
        let (all, all_useful, _) = truth.messages[key];
        assert!(
            *messages <= all && *useful <= all_useful,
            "{key:?}: {messages} of {all}"
        );
    }
    for (key, messages) in &rows.links {
        assert!(*messages <= truth.links[key], "{key}");
    }
    assert_eq!(rows.links.values().sum::<u64>(), rows.sum());
    assert_eq!(facts.totals.consensus_messages, rows.sum());
    let last = updates.last().unwrap();
    assert_eq!(
        last.sums.iter().map(|sum| sum.sums.messages).sum::<u64>(),
        rows.sum()
    );
    // Every session is one, goes on, and accounts for each of its frames.
    let (sessions, expected) = (by_ends(&facts), by_ends(&whole));
    for (ends, expected) in &expected {
        let session = sessions[ends];
        assert_eq!(session.state, SessionState::Decrypted, "{session:#?}");
        assert_eq!(session.attached, Some("handshake"), "{ends}");
        assert_eq!(session.chain, expected.chain);
        assert_eq!(session.node_ids, expected.node_ids);
        assert_eq!(session.clients, expected.clients);
        assert_eq!(session.capabilities, expected.capabilities);
        assert_eq!(
            (session.first_seen_ns, session.last_seen_ns),
            (expected.first_seen_ns, expected.last_seen_ns)
        );
        let of = |session: &SessionFact| [session.frames_from_initiator, session.frames_from_recipient];
        let (frames, all) = (of(session), of(expected));
        for way in [0, 1] {
            // Where copies of two taps lie on both sides of the pause, a frame may be neither.
            let accounted = frames[way] + session.frames_lost[way];
            assert!(
                accounted <= all[way] && accounted + 1 >= all[way],
                "{ends}: {} of {session:#?}",
                all[way]
            );
        }
        assert!(session.gaps <= restarts.len() as u64);
        assert_eq!(session.gaps > 0, session.lost_bytes > 0, "{session:#?}");
        let bytes: u64 = expected.stream_bytes.iter().sum();
        assert!(session.lost_bytes < bytes);
    }
    assert_eq!(sessions.len(), expected.len());
    assert!(facts.totals.frames + facts.totals.frames_lost <= whole.totals.frames);
    let codes: u64 = facts.codes.iter().map(|code| code.frames).sum();
    assert_eq!(codes, facts.totals.frames);
    // A life that saw no packet ends no pause.
    let pauses = restarts.iter().filter(|restart| restart.at != (0, 0)).count();
    assert_eq!(
        facts.totals.limits_reached["restarts"], pauses as u64,
        "{:?}",
        facts.totals.limits_reached
    );
    let paused = facts.events.iter().filter(|event| event.rule == "restart");
    assert_eq!(paused.count(), pauses);
    // What is missing is no more than the frames that were lost; and where it is missing, it is said.
    let missing = truth.sum() - rows.sum();
    let unaccounted = whole.totals.frames - facts.totals.frames - facts.totals.frames_lost;
    assert!(missing <= facts.totals.frames_lost + unaccounted, "{missing}");
    for (key, all) in &truth.messages {
        let (messages, _, lower_bound) = rows.messages.get(key).copied().unwrap_or_default();
        assert!(
            messages == all.0 || messages == 0 || lower_bound,
            "{key:?}: {messages} of {}",
            all.0
        );
    }
    (facts, whole)
}

#[test]
fn sessions_and_counts_go_on_behind_a_kill() {
    for (at, down) in [(200, 0), (350, 1), (401, 40), (500, 300), (655, 2000), (51, 7)] {
        let restart = Restart { at: (at, at), down };
        let (facts, whole) = restarts(&SimulateOptions::default(), &[restart], 1 + at % 2);
        assert_eq!(
            facts.totals.packets + down as u64,
            whole.totals.packets,
            "packets are counted over both lives"
        );
        let macs: Vec<_> = facts.sessions.iter().map(|session| session.mac).collect();
        assert!(macs.contains(&Some(MacState::Unverifiable)));
        if down == 2000 {
            assert!(facts.totals.lost_bytes > 10_000 && facts.totals.frames_lost > 100);
        }
    }
}

#[test]
fn packets_that_come_once_more_count_once() {
    for again in [1, 20, 400] {
        let restart = Restart {
            at: (400, 400),
            down: -again,
        };
        let (facts, _) = restarts(&SimulateOptions::default(), &[restart], 2);
        assert_eq!(facts.totals.frames_lost, 0, "all of it was there");
        assert_eq!(facts.totals.lost_bytes, 0);
        assert_eq!(facts.totals.gaps, 0);
    }
}

#[test]
fn many_kills_also_with_rows_that_never_arrived() {
    let options = SimulateOptions {
        nodes: 4,
        clients: vec![Client::Quorum20_10],
        gossip: Gossip::Direct,
        sequences: Some(14),
        ..SimulateOptions::default()
    };
    let many: Vec<Restart> = [
        (200, 200, 3),
        (250, 300, 20),
        (350, 380, -30),
        (0, 450, 0),
        (0, 0, 1),
        (600, 700, 100),
        (800, 850, 0),
    ]
    .into_iter()
    .map(|(store, kill, down)| Restart {
        at: (store, kill),
        down,
    })
    .collect();
    restarts(&options, &many, 1);
}

#[test]
fn messages_that_wait_for_a_second_tap_are_kept() {
    let options = SimulateOptions {
        nodes: 4,
        layout: CaptureLayout::PerTap,
        channels: 2,
        ..SimulateOptions::default()
    };
    for (at, down) in [(300, 0), (600, 30)] {
        let restart = Restart {
            at: (at - 50, at),
            down,
        };
        restarts(&options, &[restart], 2);
    }
}

#[test]
fn a_folder_is_one_monitors_own() {
    use std::os::unix::fs::PermissionsExt as _;
    let state = folder();
    let journal = Journal::open(state.path(), Some("one"), "new").unwrap();
    assert!(!journal.resumes() && journal.run() == "one");
    let refused = |run| Journal::open(state.path(), run, "new").map(|_| ()).unwrap_err();
    assert!(matches!(refused(None), JournalError::Taken));
    drop(journal);
    std::fs::set_permissions(state.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    assert!(matches!(refused(None), JournalError::Exposed { mode: 0o755 }));
    std::fs::set_permissions(state.path(), std::fs::Permissions::from_mode(0o700)).unwrap();

    let network = Network::new(&SimulateOptions {
        nodes: 4,
        sequences: Some(3),
        ..SimulateOptions::default()
    });
    let mut rows = Rows::default();
    network
        .live(state.path(), (0, 0), (1000, 1000), &mut rows, 1)
        .expect_err("it is killed");
    assert!(matches!(refused(Some("other")), JournalError::OtherRun { .. }));
    for entry in std::fs::read_dir(state.path()).unwrap() {
        let mode = entry.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    // Without --run it is the run whose state it is.
    assert_eq!(Journal::open(state.path(), None, "new").unwrap().run(), "run");
    let file = |stem: &str| {
        let entries = std::fs::read_dir(state.path())
            .unwrap()
            .map(|entry| entry.unwrap().path());
        entries
            .into_iter()
            .find(|path| path.file_name().unwrap().to_str().unwrap().starts_with(stem))
            .unwrap()
    };
    // A torn last record is none; one in the middle that is not what was written is told.
    let whole = std::fs::read(file("state.")).unwrap();
    for cut in [1, 5, 100] {
        std::fs::write(file("state."), &whole[..whole.len() - cut]).unwrap();
        assert!(Journal::open(state.path(), None, "new").unwrap().resumes());
    }
    std::fs::write(file("state."), &whole[..60]).unwrap();
    assert!(matches!(refused(None), JournalError::Damaged { .. }));
    std::fs::write(file("state."), b"something else, and quite long").unwrap();
    assert!(matches!(refused(None), JournalError::Version { .. }));
}
