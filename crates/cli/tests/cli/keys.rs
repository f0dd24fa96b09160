//! `bftap keys init`, `ship` and `receive` as processes that are killed.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::common::{bftap, run};

/// A process that is killed when it is dropped.
struct Process {
    child: Child,
    /// Lines of its standard error.
    told: mpsc::Receiver<String>,
}

impl Process {
    fn start(folder: &Path, line: &str) -> Self {
        let mut child = bftap(folder)
            .args(line.split_whitespace())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = tell.send(line);
            }
        });
        Self { child, told }
    }

    /// The first line that it tells with this in it.
    fn wait_for(&self, text: &str) -> String {
        let mut told = Vec::new();
        loop {
            match self.told.recv_timeout(Duration::from_secs(60)) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => told.push(line),
                Err(_) => panic!("{text:?} is not in {told:?}"),
            }
        }
    }

    /// SIGKILL.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn terminate(&mut self) -> i32 {
        let pid = self.child.id().to_string();
        let status = std::process::Command::new("kill").arg(&pid).status().unwrap();
        assert!(status.success());
        self.child.wait().unwrap().code().expect("it ends by itself")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn receive(folder: &Path, listen: &str) -> (Process, SocketAddr) {
    let process = Process::start(
        folder,
        &format!("keys receive --listen {listen} --dir ca/receiver --out keylogs"),
    );
    let line = process.wait_for("listening on ");
    let address = line
        .split("listening on ")
        .nth(1)
        .unwrap()
        .split(';')
        .next()
        .unwrap();
    (process, address.parse().unwrap())
}

fn line(number: u32) -> String {
    let mut key = [0x5a; 32];
    key[..4].copy_from_slice(&number.to_be_bytes());
    let key = hex::encode(key);
    format!("RLPX-AES {key} session={key}\n")
}

fn stored(folder: &Path) -> Vec<String> {
    let text = fs::read_to_string(folder.join("keylogs/cn1.keylog")).unwrap_or_default();
    text.lines().map(|line| format!("{line}\n")).collect()
}

fn wait_until(done: impl Fn() -> bool, what: &str) {
    for _ in 0..3000 {
        if done() {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("not within a minute: {what}");
}

#[test]
fn both_ends_killed_at_any_moment_lose_and_repeat_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let told = run(
        folder,
        "keys init ca --receiver 127.0.0.1 localhost --shipper cn1",
    )
    .ok();
    assert!(
        told.contains("ca/shipper-cn1/cert.pem") && told.contains("keys ship --to"),
        "{told}"
    );
    let mode = |name: &str| fs::metadata(folder.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("ca"), mode("ca/shipper-cn1/key.pem")), (0o700, 0o600));

    let (process, address) = receive(folder, "127.0.0.1:0");
    let listen = address.to_string();
    let mut receiver = Some(process);
    let ship = || {
        Process::start(
            folder,
            &format!("keys ship --to {listen} --dir ca/shipper-cn1 --state places sessions.keylog"),
        )
    };
    let mut shipper = Some(ship());
    let mut log = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(folder.join("sessions.keylog"))
        .unwrap();
    let mut written = 0;
    let mut state = 0x0bad_5eed_u64;
    let mut random = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    for round in 0..24 {
        // In pieces that end anywhere, so that a kill finds half a line in the log too.
        let more = 1 + random(400) as u32;
        let text: String = (written..written + more).map(line).collect();
        written += more;
        for piece in text.as_bytes().chunks(4000) {
            log.write_all(piece).unwrap();
            thread::sleep(Duration::from_millis(random(20)));
        }
        thread::sleep(Duration::from_millis(random(150)));
        if round % 2 == 0 {
            receiver.take().unwrap().kill();
            receiver = Some(receive(folder, &listen).0);
        } else {
            shipper.take().unwrap().kill();
            shipper = Some(ship());
        }
    }
    wait_until(
        || stored(folder).len() >= written as usize,
        "all lines are stored",
    );
    let lines = stored(folder);
    assert_eq!(lines.len(), written as usize, "each once");
    let wanted: BTreeSet<_> = (0..written).map(line).collect();
    assert_eq!(lines.into_iter().collect::<BTreeSet<_>>(), wanted);
    assert_eq!(mode("keylogs/cn1.keylog"), 0o600);
    assert_eq!(mode("places"), 0o600);

    let mut shipper = shipper.unwrap();
    assert_eq!(shipper.terminate(), 0);
    let mut receiver = receiver.unwrap();
    assert_eq!(receiver.terminate(), 0);
    let told: Vec<String> = receiver.told.iter().chain(shipper.told.iter()).collect();
    let secret = &line(1)[9..30];
    for text in &told {
        assert!(!text.contains(secret), "{text}");
        assert!(text.starts_with("20") && text.contains("Z bftap: "), "{text}");
    }
    // Which shipper sent a line is the name of its file; the folder as a whole is a key source.
    let checked = run(folder, "keys check keylogs");
    assert!(checked.stderr.is_empty(), "{}", checked.stderr);
    let checked = checked.ok();
    assert!(checked.contains("keylogs/cn1.keylog: "), "{checked}");
}

#[test]
fn certificates_of_another_authority_are_refused_and_told_at_both_ends() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run(folder, "keys init ca --receiver 127.0.0.1 --shipper cn1").ok();
    run(folder, "keys init other --shipper cn1").ok();
    fs::copy(folder.join("ca/ca.pem"), folder.join("other/shipper-cn1/ca.pem")).unwrap();
    let (receiver, address) = receive(folder, "127.0.0.1:0");
    fs::write(folder.join("log"), line(1)).unwrap();
    let shipper = Process::start(
        folder,
        &format!("keys ship --to {address} --dir other/shipper-cn1 log"),
    );
    assert!(
        receiver
            .wait_for("refused 127.0.0.1:")
            .contains("another authority")
    );
    shipper.wait_for("refused our certificate");
    assert!(stored(folder).is_empty());
    let error = run(folder, "keys init ca --shipper cn1");
    assert!(
        error.code == 1 && error.stderr.contains("--force"),
        "{}",
        error.stderr
    );
    let error = run(folder, "keys init ca --shipper ../cn1");
    assert_eq!(error.code, 2, "{}", error.stderr);
    let error = run(folder, "keys receive --listen 127.0.0.1:0 --dir nowhere --out x");
    assert!(
        error.code == 1 && error.stderr.contains("nowhere/cert.pem"),
        "{}",
        error.stderr
    );
    let error = run(folder, "keys ship --to nohost --dir ca/shipper-cn1 log");
    assert!(
        error.code == 2 && error.stderr.contains("HOST:PORT"),
        "{}",
        error.stderr
    );
}
