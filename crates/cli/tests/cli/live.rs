//! `bftap live` on interfaces of namespaces of our own. As root.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bftap_testkit::Namespace;
use serde_json::Value;

use crate::common::{network, network_capture, network_options, rows, run, scratch};

/// A running monitor, and what it has said on standard error.
pub(crate) struct Monitor {
    child: Child,
    said: Arc<Mutex<String>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Monitor {
    /// Starts it in `folder`, and waits until it reads.
    pub(crate) fn start(namespace: &Namespace, folder: &Path, line: &str) -> Self {
        let monitor = Self::launch(namespace, folder, line);
        monitor.wait_for("reading ");
        monitor
    }

    pub(crate) fn launch(namespace: &Namespace, folder: &Path, line: &str) -> Self {
        Self::launch_by(namespace, &[], folder, line)
    }

    /// By a command that gets the program and its arguments behind its own.
    pub(crate) fn launch_by(namespace: &Namespace, by: &[&str], folder: &Path, line: &str) -> Self {
        let words: Vec<&str> = by
            .iter()
            .copied()
            .chain([env!("CARGO_BIN_EXE_bftap"), "live"])
            .collect();
        let mut child = namespace
            .command(words[0])
            .args(&words[1..])
            .args(line.split_whitespace())
            .current_dir(folder)
            .env_remove("BFTAP_STORE")
            .env_remove("SUDO_UID")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let hear = Arc::clone(&said);
        let reader = std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let mut said = hear.lock().unwrap();
                said.push_str(&line);
                said.push('\n');
            }
        });
        Self {
            child,
            said,
            reader: Some(reader),
        }
    }

    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    pub(crate) fn wait_for(&self, text: &str) {
        wait_until(&format!("it says {text:?}: {}", self.said()), || {
            self.said().contains(text)
        });
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &id])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Ends it as Ctrl-C does; its exit status, report, and what it said.
    pub(crate) fn end(self) -> (i32, String, String) {
        self.signal("-INT");
        self.finish()
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self) -> (i32, String, String) {
        let output = std::io::read_to_string(self.child.stdout.take().unwrap()).unwrap();
        let status = self.child.wait().unwrap();
        self.reader.take().unwrap().join().unwrap();
        (status.code().unwrap_or(-1), output, self.said())
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for a condition; long enough for any machine.
#[allow(
    clippy::disallowed_methods,
    reason = "how long a test waits at most is about this machine"
)]
pub(crate) fn wait_until(what: &str, mut met: impl FnMut() -> bool) {
    let start = Instant::now();
    while !met() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "it never was so: {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Counts, copies and sessions as far as they do not say when.
fn told(value: &Value) -> [Vec<String>; 3] {
    [
        rows(
            value,
            "counts",
            &[
                "chain",
                "receiver",
                "sequence",
                "round",
                "kind",
                "messages",
                "useful",
                "repeats",
                "echoes",
                "invalid",
                "bytes",
                "lower_bound",
            ],
        ),
        rows(value, "copies", &["receiver_ip", "copies", "payloads"]),
        rows(
            value,
            "sessions",
            &[
                "initiator",
                "recipient",
                "state",
                "mac",
                "frames_from_initiator",
                "frames_from_recipient",
                "gaps",
                "incomplete_bytes",
                "capabilities",
            ],
        ),
    ]
}

fn analysed(folder: &Path, captures: &str) -> Value {
    run(
        folder,
        &format!("analyze {captures} {} --json -", network_options()),
    )
    .json()
}

fn replay(namespace: &Namespace, interface: &str, capture: &str, options: &str) {
    namespace.run(&format!("tcpreplay -q {options} -i {interface} {capture}"));
}

#[test]
fn a_replayed_capture_counts_as_one_that_is_read() {
    let Some(namespace) = Namespace::new(&["tcpreplay"]) else {
        return;
    };
    let folder = scratch();
    namespace.cable("t0", "t1");
    // One that gives nothing, and one that is not there, hold up nothing.
    namespace.cable("i0", "i1");
    let monitor = Monitor::start(
        &namespace,
        folder.path(),
        &format!(
            "-i i1 t1 absent0 --json live.json --log-every 1 --write raw.pcapng --write-every 300ms --write-secrets {}",
            network_options()
        ),
    );
    monitor.wait_for("the interface absent0 is not there");
    replay(&namespace, "t0", &network_capture(), "--pps 4000");
    monitor.wait_for("sessions 6 decrypted");
    monitor.wait_for("1 of 3 interfaces away");
    let (code, report, said) = monitor.end();
    assert_eq!(code, 1, "one interface never came: {said}");
    assert!(said.contains("absent0: it is not there"), "{said}");
    assert!(report.contains("CAPTURE") && report.contains("t1"), "{report}");
    let live = json(&folder.path().join("live.json"));
    assert_eq!(told(&live), told(&analysed(folder.path(), &network_capture())));
    let captures = rows(&live, "captures", &["path", "kernel_drops", "times_down"]);
    assert_eq!(captures, [r#""absent0" 0 1"#, r#""i1" 0 0"#, r#""t1" 0 0"#]);

    // What was kept holds what was analysed, with its secrets and in several files.
    let mut kept: Vec<String> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("raw-"))
        .collect();
    kept.sort();
    assert!(kept.len() > 1, "{kept:?}");
    let kept = kept.join(" ");
    let again = run(folder.path(), &format!("analyze {kept} --store none --json -")).json();
    assert_eq!(again["totals"]["packets"], live["totals"]["packets"]);
    assert_eq!(told(&again)[1..], told(&live)[1..]);
    let mode = fs::metadata(folder.path().join("raw-00001.pcapng"))
        .unwrap()
        .permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o600);
}

/// The simulated capture of each node's own port, on an interface each: a packet that two of them show counts once.
#[test]
fn two_interfaces_are_two_taps() {
    let Some(namespace) = Namespace::new(&["tcpreplay"]) else {
        return;
    };
    let folder = scratch();
    let taps = ["cn1", "cn2"].map(|node| {
        network()
            .join(format!("taps.{node}.pcapng"))
            .display()
            .to_string()
    });
    for (index, tap) in taps.iter().enumerate() {
        namespace.cable(&format!("t{index}"), &format!("m{index}"));
        assert!(fs::metadata(tap).is_ok(), "{tap}");
    }
    let options = network_options();
    let monitor = Monitor::start(
        &namespace,
        folder.path(),
        &format!("-i m0 -i m1 --json live.json --write raw.pcapng {options}"),
    );
    // At their own speed, so that packets of both are as far apart as they were.
    let replays: Vec<_> = taps
        .iter()
        .enumerate()
        .map(|(index, tap)| {
            let mut command = namespace.command("tcpreplay");
            command.args(["-q", "-i", &format!("t{index}"), tap]);
            command
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut replay in replays {
        assert!(replay.wait().unwrap().success());
    }
    let (code, _, said) = monitor.end();
    assert_eq!(code, 0, "{said}");
    let live = json(&folder.path().join("live.json"));
    let kept = analysed(folder.path(), "raw.pcapng");
    assert_eq!(told(&live), told(&kept), "as the file that was kept");
    let [counts, copies, sessions] = told(&analysed(folder.path(), &taps.join(" ")));
    let [live_counts, live_copies, live_sessions] = told(&live);
    assert_eq!(live_sessions, sessions);
    assert_eq!(live_copies, copies);
    assert_eq!(live_counts, counts);
}

#[test]
fn an_interface_that_goes_and_comes_back_is_followed() {
    let Some(namespace) = Namespace::new(&["tcpreplay"]) else {
        return;
    };
    let folder = scratch();
    namespace.cable("t0", "t1");
    namespace.cable("i0", "i1");
    let options = network_options();
    let monitor = Monitor::start(
        &namespace,
        folder.path(),
        &format!("-i t1 i1 --json live.json {options}"),
    );
    namespace.run("ip link del t0");
    monitor.wait_for("the interface t1 is away");
    namespace.cable("t0", "t1");
    monitor.wait_for("the interface t1 is there");
    replay(&namespace, "t0", &network_capture(), "--pps 4000");
    // Down is not gone.
    namespace.run("ip link set i1 down");
    namespace.run("ip link set i1 up");
    let (code, _, said) = monitor.end();
    assert_eq!(code, 0, "{said}");
    let live = json(&folder.path().join("live.json"));
    let captures = rows(&live, "captures", &["path", "times_down", "problem"]);
    assert!(captures.contains(&r#""t1" 1 null"#.to_owned()), "{captures:?}");
    assert_eq!(told(&live), told(&analysed(folder.path(), &network_capture())));
}

#[test]
fn only_what_was_asked_for_is_read() {
    let Some(namespace) = Namespace::new(&["tcpreplay"]) else {
        return;
    };
    let folder = scratch();
    namespace.cable("t0", "t1");
    let options = network_options();
    let all = analysed(folder.path(), &network_capture());
    let mut ports: Vec<String> = rows(&all, "sessions", &["recipient"]);
    ports.sort();
    let port = ports[0].trim_matches('"').rsplit_once(':').unwrap().1;
    let start = |more: &str| {
        Monitor::start(
            &namespace,
            folder.path(),
            &format!("-i t1 --json live.json {options} {more}"),
        )
    };
    let monitor = start(&format!("--port {port}"));
    replay(&namespace, "t0", &network_capture(), "--pps 4000");
    let (code, _, said) = monitor.end();
    assert_eq!(code, 0, "{said}");
    let kept = json(&folder.path().join("live.json"));
    let expected = run(
        folder.path(),
        &format!("analyze {} {options} --port {port} --json -", network_capture()),
    )
    .json();
    assert_eq!(told(&kept), told(&expected));
}

#[test]
fn what_cannot_be_is_said_before_anything_is_done() {
    let Some(namespace) = Namespace::new(&[]) else {
        return;
    };
    let folder = scratch();
    for (line, code, why) in [
        ("-i nothere0", 1, "no such interface is there and up: nothere0"),
        ("-i lo lo", 1, "named twice"),
        ("-i x/y.pcap", 2, "bftap analyze"),
        ("-i waytoolongforaname", 1, "no name of an interface"),
        ("-i lo --user nosuchuser", 2, "no such user"),
        ("-i lo --store sqlite://no/such/folder/x.db", 1, "cannot store"),
    ] {
        let (status, report, said) = Monitor::launch(&namespace, folder.path(), line).finish();
        assert_eq!((status, report.as_str()), (code, ""), "{line}: {said}");
        assert!(said.contains(why), "{line}: {said}");
    }
    let mut command = namespace.command(env!("CARGO_BIN_EXE_bftap"));
    let output = command
        .args(["live", "-i", "lo", "--filter", "tcp port nowhere"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("the filter does not compile for lo"), "{said}");
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        0,
        "nothing was made"
    );
}

/// Only the thread of the interface may open it again; everybody else may do nothing.
#[test]
fn rights_are_given_up() {
    let Some(namespace) = Namespace::new(&["tcpreplay"]) else {
        return;
    };
    let folder = scratch();
    // As whoever it becomes.
    std::os::unix::fs::chown(folder.path(), Some(65_534), Some(65_534)).unwrap();
    namespace.cable("t0", "t1");
    let monitor = Monitor::start(
        &namespace,
        folder.path(),
        "-i t1 --user 65534:65534 --store sqlite://x.db --json live.json --metrics 127.0.0.1:0 --write raw.pcapng",
    );
    let tasks = fs::read_dir(format!("/proc/{}/task", monitor.id())).unwrap();
    let mut readers = 0;
    let mut others = 0;
    for task in tasks {
        // A thread may end meanwhile.
        let Ok(status) = fs::read_to_string(task.unwrap().path().join("status")) else {
            continue;
        };
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("{name} in {status}"))
                .trim()
                .to_owned()
        };
        let rights = |name: &str| u64::from_str_radix(&field(name), 16).unwrap();
        assert_eq!(field("Uid:"), "65534\t65534\t65534\t65534");
        assert_eq!(field("Gid:"), "65534\t65534\t65534\t65534");
        assert_eq!(field("NoNewPrivs:"), "1");
        assert_eq!(
            (rights("CapInh:"), rights("CapBnd:"), rights("CapAmb:")),
            (0, 0, 0)
        );
        let held = (rights("CapPrm:"), rights("CapEff:"));
        const NET_RAW: u64 = 1 << 13;
        if field("Name:") == "tap t1" {
            assert_eq!(held, (NET_RAW, NET_RAW));
            readers += 1;
        } else {
            assert_eq!(held, (0, 0), "{status}");
            others += 1;
        }
    }
    assert_eq!(readers, 1);
    assert!(others > 4, "{others}");
    // It can still open it again, and what it makes is the user's.
    namespace.run("ip link del t0");
    monitor.wait_for("the interface t1 is away");
    namespace.cable("t0", "t1");
    monitor.wait_for("the interface t1 is there");
    monitor.signal("-TERM");
    let (code, _, said) = monitor.finish();
    assert_eq!(code, 0, "{said}");
    for file in ["x.db", "live.json", "raw.pcapng"] {
        let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(folder.path().join(file)).unwrap());
        assert_eq!(owner, 65_534, "{file}");
    }
}

#[test]
fn it_ends_by_itself() {
    let Some(namespace) = Namespace::new(&[]) else {
        return;
    };
    let folder = scratch();
    let monitor = Monitor::launch(
        &namespace,
        folder.path(),
        "-i lo --duration 1s --store sqlite://x.db --run r",
    );
    let (code, report, said) = monitor.finish();
    assert_eq!(code, 0, "{said}");
    assert!(report.contains("CAPTURE"), "{report}");
    let listed = run(folder.path(), "store check --store sqlite://x.db").ok();
    assert!(listed.contains('r') && listed.contains("complete"), "{listed}");
}

/// On a terminal there is a screen, and behind it the terminal is as it was, with what was said meanwhile.
#[test]
fn the_screen_leaves_the_terminal_as_it_was() {
    let Some(namespace) = Namespace::new(&["script"]) else {
        return;
    };
    let folder = scratch();
    for key in [b"q", b"\x03"] {
        let bftap = env!("CARGO_BIN_EXE_bftap");
        let mut child = namespace
            .command("script")
            .args([
                "-qefc",
                &format!("stty rows 40 cols 120; exec '{bftap}' live -i lo --store none --duration 60s"),
                "shown",
            ])
            .current_dir(folder.path())
            .env("TERM", "xterm")
            .env_remove("SUDO_UID")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let shown = || {
            String::from_utf8_lossy(&fs::read(folder.path().join("shown")).unwrap_or_default()).into_owned()
        };
        wait_until("the screen is there", || shown().contains("INTERFACES"));
        let mut stdin = child.stdin.take().unwrap();
        std::io::Write::write_all(&mut stdin, key).unwrap();
        std::io::Write::flush(&mut stdin).unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(0), "{}", shown());
        let shown = shown();
        let (_, screen) = shown.split_once("\x1b[?1049h").expect("another screen");
        let (_, behind) = screen.split_once("\x1b[?1049l").expect("and back");
        assert!(behind.contains("\x1b[?25h"), "the cursor is there: {behind:?}");
        assert!(behind.contains("CAPTURE"), "{behind:?}");
        fs::remove_file(folder.path().join("shown")).unwrap();
    }
}
