//! The binary in scratch folders, and a small simulated network to feed it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

/// What a run of the binary gave.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The binary, in a folder, with nothing of the environment that could change what it does.
pub(crate) fn bftap(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bftap"));
    command
        .current_dir(folder)
        .env_remove("BFTAP_STORE")
        .env_remove("NO_COLOR")
        .stdin(Stdio::null());
    command
}

/// Runs the binary with arguments separated by spaces.
pub(crate) fn run(folder: &Path, line: &str) -> Ran {
    finish(bftap(folder).args(line.split_whitespace()).output().unwrap())
}

/// As [`run`], with something on standard input.
pub(crate) fn run_with_input(folder: &Path, line: &str, input: &[u8]) -> Ran {
    let mut command = bftap(folder);
    command
        .args(line.split_whitespace())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // The program may end before it has read everything.
    let feeder = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    finish(output)
}

fn finish(output: Output) -> Ran {
    Ran {
        code: output.status.code().expect("not killed by a signal"),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Ran {
    /// Standard output of a run that went well.
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}{}", self.stdout, self.stderr);
        self.stdout
    }

    /// As JSON.
    pub(crate) fn json(self) -> Value {
        let text = self.ok();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"))
    }
}

/// A folder with a simulated network: `net.pcapng`, `net.keylog`, `net.nodes.json`, `net.truth.json`; and the same once more
/// with a file a tap: `taps.cn1.pcapng` to `taps.cn4.pcapng`.
pub(crate) fn network() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        run(
            folder.path(),
            "simulate -o net.pcapng --nodes 4 --sequences 4 --seed 7",
        )
        .ok();
        run(
            folder.path(),
            "simulate -o taps.pcapng --nodes 4 --sequences 4 --seed 7 --per-tap",
        )
        .ok();
        folder
    });
    folder.path()
}

/// A scratch folder.
pub(crate) fn scratch() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Options that name the network's secrets and nodes, and store nothing.
pub(crate) fn network_options() -> String {
    let folder = network().display();
    format!("--keylog {folder}/net.keylog --nodes {folder}/net.nodes.json --store none")
}

/// The capture of the network.
pub(crate) fn network_capture() -> String {
    network().join("net.pcapng").display().to_string()
}

/// Rows of a list as comparable texts of some of their keys.
pub(crate) fn rows(value: &Value, list: &str, keys: &[&str]) -> Vec<String> {
    let mut rows: Vec<_> = value[list]
        .as_array()
        .unwrap_or_else(|| panic!("no list {list}"))
        .iter()
        .map(|row| {
            keys.iter()
                .map(|key| row[*key].to_string())
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    rows.sort();
    rows
}

/// The shared captures of real nodes, if they are there.
pub(crate) fn shared(set: &str) -> Option<PathBuf> {
    bftap_testkit::shared_captures().map(|folder| folder.join(set))
}
