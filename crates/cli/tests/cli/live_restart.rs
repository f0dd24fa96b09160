//! A monitor that is killed and started again, beside one that nobody disturbs. As root.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Stdio};

use bftap_capture::source::{CaptureReader, ReadLimits};
use bftap_store::rows::{CountRow, SessionRow};
use bftap_store::{Access, RunId, StoreUrl, open};
use bftap_testkit::Namespace;

use crate::common::{run, scratch};
use crate::live::{Monitor, wait_until};

/// What a store has of the run of a monitor.
struct Stored {
    counts: BTreeMap<(String, i64, i64, String), CountRow>,
    sessions: Vec<SessionRow>,
    state: String,
    /// Capture time of the newest packet that was stored.
    seen_ns: i64,
    /// What the histogram of copies counts.
    copies: i64,
}

impl Stored {
    fn of(folder: &Path, file: &str) -> Self {
        Self::read(folder, file)
            .unwrap_or_else(|error| panic!("{file}: {error}"))
            .expect("a run")
    }

    /// `None` if there is no run yet.
    fn read(folder: &Path, file: &str) -> Result<Option<Self>, bftap_store::StoreError> {
        let url: StoreUrl = format!("sqlite://{}", folder.join(file).display())
            .parse()
            .unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut store = open(&url, Access::Read).await?;
            let mut runs = store.runs().await?;
            assert!(runs.len() <= 1, "it is one run");
            let Some(row) = runs.pop() else {
                return Ok(None);
            };
            let run = RunId(row.run_id);
            let counts = store.counts(run, 0..=i64::MAX, None, u32::MAX >> 1).await?;
            let details = store.details(run).await?;
            store.close().await?;
            Ok(Some(Self {
                counts: counts
                    .into_iter()
                    .map(|row| {
                        let key = (row.receiver_ip.clone(), row.sequence, row.round, row.kind.clone());
                        (key, row)
                    })
                    .collect(),
                sessions: details.sessions,
                state: row.state,
                seen_ns: row.seen_ns.unwrap_or(0),
                copies: details.copies.iter().map(|row| row.copies * row.payloads).sum(),
            }))
        })
    }

    fn messages(&self) -> i64 {
        self.counts.values().map(|row| row.messages).sum()
    }

    fn useful(&self) -> i64 {
        self.counts.values().map(|row| row.useful).sum()
    }
}

struct Replay(Child);

impl Replay {
    /// Sends a file's packets at the pace they were sent.
    fn start(namespace: &Namespace, folder: &Path, file: &str) -> Self {
        let replay = namespace
            .command("tcpreplay")
            .args(["-q", "-i", "t0", file])
            .current_dir(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(replay.unwrap())
    }

    /// Waits until all are sent.
    fn finish(mut self) {
        assert!(self.0.wait().unwrap().success());
    }
}

/// The packets of a file, each with its time in nanoseconds.
fn packets(path: &Path) -> Vec<(u64, Vec<u8>)> {
    let file = Box::new(std::fs::File::open(path).unwrap());
    let mut reader = CaptureReader::open(file, ReadLimits::for_readers(1)).unwrap();
    let mut packets = Vec::new();
    while let Some(batch) = reader.next_batch().unwrap() {
        let all = batch.packets();
        packets.extend(all.map(|packet| (packet.seen.nanos().cast_unsigned(), packet.bytes.to_vec())));
    }
    packets
}

/// Writes Ethernet packets to a file of nanosecond pcap.
fn write_pcap(path: &Path, packets: &[(u64, Vec<u8>)]) {
    let mut file = Vec::new();
    let word = |file: &mut Vec<u8>, word: u32| file.extend_from_slice(&word.to_le_bytes());
    for value in [0xa1b2_3c4d, 0x0004_0002, 0, 0, 1 << 18, 1] {
        word(&mut file, value);
    }
    for (time, bytes) in packets {
        let (seconds, nanos) = (time / 1_000_000_000, time % 1_000_000_000);
        for value in [
            seconds as u32,
            nanos as u32,
            bytes.len() as u32,
            bytes.len() as u32,
        ] {
            word(&mut file, value);
        }
        file.extend_from_slice(bytes);
    }
    std::fs::write(path, file).unwrap();
}

impl Drop for Replay {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Heights of the capture, and how much of it is seen before each kill, and passes behind it, in tenths of a height.
const HEIGHTS: usize = 40;
const SEEN: usize = 50;
const UNSEEN: usize = 15;
/// Messages that are stored from one kill to the next: once while sessions begin, and then at any moment.
const KILLS: [i64; 4] = [0, 900, 700, 1100];

#[test]
fn a_killed_monitor_goes_on_with_its_run() {
    let Some(namespace) = Namespace::new(&["tcpreplay"]) else {
        return;
    };
    let folder = scratch();
    run(
        folder.path(),
        "simulate -o net.pcapng --nodes 7 --duration 20s --block-period 500ms --seed 3",
    )
    .ok();
    // The replay goes on when the monitor is ready for it, whatever that takes here: what is seen before each kill, what passes while the
    // monitor is down, and the rest are files of their own, in tenths of a height.
    let all = packets(&folder.path().join("net.pcapng"));
    let slice = |name: &str, from: usize, until: usize| {
        let at = |tenths: usize| all.len() * tenths / (10 * HEIGHTS);
        write_pcap(&folder.path().join(name), &all[at(from)..at(until)]);
    };
    for kill in 0..KILLS.len() {
        let from = kill * (SEEN + UNSEEN);
        slice(&format!("seen{kill}.pcap"), from, from + SEEN);
        slice(&format!("unseen{kill}.pcap"), from + SEEN, from + SEEN + UNSEEN);
    }
    slice("rest.pcap", KILLS.len() * (SEEN + UNSEEN), 10 * HEIGHTS);
    namespace.cable("t0", "t1");
    let line = |file: &str, more: &str| {
        format!(
            "-i t1 --keylog net.keylog --nodes net.nodes.json --run lab --log-every 1 --store sqlite://{file} {more}"
        )
    };
    let undisturbed = Monitor::start(&namespace, folder.path(), &line("truth.db", ""));
    let mut monitor = Monitor::start(
        &namespace,
        folder.path(),
        &line("killed.db", "--state state --json report.json"),
    );

    let mut committed = Vec::new();
    // A reader may be turned away for a moment.
    let now = || Stored::read(folder.path(), "killed.db").ok().flatten();
    for (kill, more_messages) in KILLS.into_iter().enumerate() {
        let before = now().map_or(0, |stored| stored.messages());
        let replay = Replay::start(&namespace, folder.path(), &format!("seen{kill}.pcap"));
        let what = format!("{more_messages} more messages are stored, after {kill} kills");
        wait_until(&what, || {
            now().is_some_and(|stored| stored.seen_ns > 0 && stored.messages() >= before + more_messages)
        });
        monitor.signal("-KILL");
        let _ = monitor.finish();
        let left = Stored::of(folder.path(), "killed.db");
        assert_eq!(left.state, "running", "kill {kill}");
        committed.push((left.seen_ns, left.messages()));
        replay.finish();
        // More than a height passes unseen, and so something of each session.
        Replay::start(&namespace, folder.path(), &format!("unseen{kill}.pcap")).finish();
        monitor = Monitor::start(
            &namespace,
            folder.path(),
            &line("killed.db", "--state state --json report.json"),
        );
        assert!(
            monitor.said().contains("going on with the run lab"),
            "{}",
            monitor.said()
        );
    }
    Replay::start(&namespace, folder.path(), "rest.pcap").finish();
    wait_until("the last packets are stored by both", || {
        let [truth, killed] = ["truth.db", "killed.db"].map(|file| Stored::of(folder.path(), file));
        truth.seen_ns > 0 && truth.seen_ns == killed.seen_ns
    });
    let (code, report, said) = monitor.end();
    assert_eq!(code, 0, "{report}{said}");
    let (code, _, said) = undisturbed.end();
    assert_eq!(code, 0, "{said}");

    let truth = Stored::of(folder.path(), "truth.db");
    let killed = Stored::of(folder.path(), "killed.db");
    assert_eq!(
        (truth.state.as_str(), killed.state.as_str()),
        ("complete", "complete")
    );
    let mut exact = 0;
    for (key, row) in &killed.counts {
        let right = truth
            .counts
            .get(key)
            .unwrap_or_else(|| panic!("nobody sent {key:?}"));
        let pair = |pick: fn(&CountRow) -> i64| (pick(row), pick(right));
        for (told, right) in [
            pair(|row| row.messages),
            pair(|row| row.bytes),
            pair(|row| row.repeats + row.useful),
        ] {
            assert!(told <= right, "{key:?} counted twice: {told} of {right}");
        }
        assert!(
            row.messages == right.messages || row.lower_bound,
            "{key:?} looks whole and is not"
        );
        exact += i64::from(row.messages == right.messages);
    }
    // What was stored before a kill is there as it was: heights that were over by then are whole.
    let (first_kill, _) = committed[0];
    for (key, right) in &truth.counts {
        if right.last_seen_ns <= first_kill {
            let told = killed
                .counts
                .get(key)
                .map(|row| (row.messages, row.useful, row.repeats, row.echoes));
            let right = (right.messages, right.useful, right.repeats, right.echoes);
            assert_eq!(told, Some(right), "{key:?}");
        }
    }
    let mut kept = 0;
    for (_, messages) in committed {
        assert!(messages >= kept, "what was stored is kept");
        kept = messages;
    }
    assert!(killed.messages() > kept && killed.messages() < truth.messages());
    assert!(exact > 0, "rows that nothing was missed of are exact");
    // A payload that came before and after is useful once, and its copies are one payload's.
    assert_eq!(killed.copies, killed.messages());
    assert!(killed.useful() <= truth.useful());

    // Each session goes on as the one it was, without another handshake.
    let ends = |stored: &Stored| -> Vec<_> {
        let ends = |row: &SessionRow| (row.initiator.clone(), row.recipient.clone());
        stored.sessions.iter().map(ends).collect()
    };
    assert_eq!(ends(&killed), ends(&truth));
    for session in &killed.sessions {
        let of = format!("{} - {}", session.initiator, session.recipient);
        assert_eq!(
            (session.state.as_str(), session.attached.is_some()),
            ("decrypted", true),
            "{of}"
        );
        assert!(
            session.gaps > 0 && session.lost_bytes > 0,
            "{of}: the pause is a gap"
        );
    }
    assert!(report.contains("gap"), "{report}");
}

/// As on a full disk: no file may grow beyond 20 KiB.
#[test]
fn a_state_that_cannot_be_written_is_told_at_once() {
    let Some(namespace) = Namespace::new(&["tcpreplay"]) else {
        return;
    };
    let folder = scratch();
    run(
        folder.path(),
        "simulate -o net.pcapng --nodes 7 --duration 20s --block-period 500ms --seed 3",
    )
    .ok();
    namespace.cable("t0", "t1");
    let limited = ["sh", "-c", "trap '' XFSZ; ulimit -f 40; exec \"$0\" \"$@\""];
    let line = "-i t1 --keylog net.keylog --run lab --log-every 1 --store none --state state";
    let monitor = Monitor::launch_by(&namespace, &limited, folder.path(), line);
    monitor.wait_for("reading ");
    let _replay = Replay::start(&namespace, folder.path(), "net.pcapng");
    // While it runs, and it goes on.
    monitor.wait_for("the state could not be written");
    let said = monitor.said();
    let lines = |said: &str| said.lines().filter(|line| line.contains("packets")).count();
    wait_until("it goes on", || lines(&monitor.said()) > lines(&said) + 1);
    let names = |stem: &str| {
        let entries = std::fs::read_dir(folder.path().join("state")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(stem)).count()
    };
    assert_eq!(
        names("state.") + names("messages."),
        0,
        "nothing is left that would lead astray"
    );
    let (_, _, said) = monitor.end();
    assert_eq!(
        said.matches("the state could not be written").count(),
        2,
        "when it happened, and at the end: {said}"
    );
}
