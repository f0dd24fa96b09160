//! A machine of a test's own: namespaces for network, mounts and processes. As root, with Open vSwitch.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// A machine of a test's own: nothing in it has a name outside, and all that runs in it ends with this.
pub(crate) struct Machine {
    unshare: Child,
    /// Its first process, as seen from outside.
    first: u32,
}

impl Machine {
    /// `None` where that is not possible, or Open vSwitch is missing: said on standard error, and with `CI` set it fails.
    pub(crate) fn new() -> Option<Self> {
        match Self::make() {
            Ok(machine) => Some(machine),
            Err(why) => {
                let text = format!("no lab: {why} (scripts/setup --lab, as root)");
                assert!(std::env::var_os("CI").is_none(), "{text}");
                eprintln!("NOT TESTED: {text}");
                None
            }
        }
    }

    fn make() -> Result<Self, String> {
        for tool in ["unshare", "nsenter", "ip", "ethtool", "ovs-vsctl", "ovs-vswitchd"] {
            let found = Command::new("sh")
                .args(["-c", "PATH=$PATH:/usr/sbin:/sbin command -v \"$0\"", tool])
                .stdout(Stdio::null())
                .status();
            if !found.is_ok_and(|status| status.success()) {
                return Err(format!("{tool} is not installed"));
            }
        }
        const HOLD: &str = "mount -t tmpfs none /run && mkdir /run/netns && ip link set lo up && \
                            echo ready && read -r line";
        let mut unshare = Command::new("unshare")
            .args(["--net", "--mount", "--propagation", "private"])
            .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["sh", "-c", HOLD])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("unshare: {error}"))?;
        let mut line = String::new();
        if let Some(stdout) = unshare.stdout.take() {
            // Nothing comes where it is refused.
            let _ = BufReader::new(stdout).read_line(&mut line);
        }
        let id = unshare.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        let first = children.split_whitespace().next().and_then(|id| id.parse().ok());
        match first.filter(|_| line.trim() == "ready") {
            Some(first) => Ok(Self { unshare, first }),
            None => {
                let _ = unshare.kill();
                let _ = unshare.wait();
                Err("unshare is refused".to_owned())
            }
        }
    }

    /// A command that runs in it, in a folder.
    pub(crate) fn command(&self, folder: &Path, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--target={}", self.first))
            .args(["--net", "--mount", "--pid", "--", "env", "-C"])
            .arg(folder)
            .arg(program)
            .env_remove("BFTAP_STORE")
            .env_remove("SUDO_UID")
            .stdin(Stdio::null());
        command
    }

    /// `bftap` with arguments separated by spaces.
    pub(crate) fn bftap(&self, folder: &Path, line: &str) -> Command {
        let mut command = self.command(folder, env!("CARGO_BIN_EXE_bftap"));
        command.args(line.split_whitespace());
        command
    }

    pub(crate) fn run(&self, folder: &Path, line: &str) -> Output {
        self.bftap(folder, line).output().unwrap()
    }

    /// Runs it, and it goes well.
    pub(crate) fn ok(&self, folder: &Path, line: &str) -> String {
        let output = self.run(folder, line);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "{line}: {}{}",
            text(&output.stdout),
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    /// Starts it in the background; what it says goes to a file. It ends with the machine, or by a signal of [`Machine::signal`].
    pub(crate) fn start(&self, folder: &Path, line: &str, said: &str) -> Child {
        let said = File::options()
            .create(true)
            .append(true)
            .open(folder.join(said))
            .unwrap();
        self.bftap(folder, line)
            .stdout(Stdio::null())
            .stderr(said)
            .spawn()
            .unwrap()
    }

    /// Sends a signal to the `bftap` processes whose arguments begin like this, as a pattern; there are some.
    pub(crate) fn signal(&self, signal: &str, words: &str) {
        // From the start, so that shells with such words in their scripts are not meant.
        let sent = self.shell(&format!("pkill -{signal} -f '^[^ ]*bftap {words}' && echo yes"));
        assert!(sent.contains("yes"), "{words} does not run: {}", self.traces());
    }

    /// Output of a shell.
    pub(crate) fn shell(&self, script: &str) -> String {
        let mut command = self.command(Path::new("/"), "sh");
        let output = command.args(["-c", script]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Interfaces, namespaces, processes (by name) and the files in /run: what a lab might leave behind.
    pub(crate) fn traces(&self) -> String {
        let script = "ip -o link | cut -d: -f2 | sort; ip netns list; find /run | sort; \
                      for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline; echo; done | sort";
        let own = |line: &&str| !line.contains("ip -o link") && !line.trim().is_empty();
        let text = self.shell(script);
        let lines: Vec<_> = text
            .lines()
            .filter(own)
            .filter(|line| !line.starts_with("tr ") && !line.starts_with("sort"))
            .collect();
        lines.join("\n")
    }

    pub(crate) fn wait_for(&self, what: &str, script: &str) {
        for _ in 0..600 {
            if self.shell(script).contains("yes") {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("{what} does not come: {}", self.traces());
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(self.unshare.stdin.take());
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}
