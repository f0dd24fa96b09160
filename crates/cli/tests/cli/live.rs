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
        let mut child = namespace
            .command(env!("CARGO_BIN_EXE_bftap"))
            .arg("live")
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
        &format!("-i i1 t1 absent0 --json live.json {}", network_options()),
    );
    monitor.wait_for("the interface absent0 is not there");
    replay(&namespace, "t0", &network_capture(), "--pps 4000");
    let (code, report, said) = monitor.end();
    assert_eq!(code, 1, "one interface never came: {said}");
    assert!(said.contains("absent0: it is not there"), "{said}");
    assert!(report.contains("CAPTURE") && report.contains("t1"), "{report}");
    let live = json(&folder.path().join("live.json"));
    assert_eq!(told(&live), told(&analysed(folder.path(), &network_capture())));
    let captures = rows(&live, "captures", &["path", "kernel_drops", "times_down"]);
    assert_eq!(captures, [r#""absent0" 0 1"#, r#""i1" 0 0"#, r#""t1" 0 0"#]);
}
