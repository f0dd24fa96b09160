//! Network namespaces of a test's own: interfaces in them are nobody else's, and go with them.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

/// A network namespace that lives as long as this.
///
/// Nothing in it has a name outside, so tests cannot clash, and nothing is left behind, also when the test is killed.
#[derive(Debug)]
pub struct Namespace {
    /// Waits in it for the end of its standard input.
    holder: Child,
}

impl Namespace {
    /// A new one with nothing in it but a loopback interface, and without IPv6, which would talk by itself.
    ///
    /// `None` where that is not possible, or one of `tools` is missing: said on standard error, and with `CI` set it fails.
    ///
    /// # Panics
    /// With `CI` set, where it is not possible.
    pub fn new(tools: &[&str]) -> Option<Self> {
        match Self::make(tools) {
            Ok(namespace) => Some(namespace),
            Err(why) => {
                assert!(
                    std::env::var_os("CI").is_none(),
                    "no network namespace: {why} (scripts/setup --test, as root)"
                );
                eprintln!("NOT TESTED: no network namespace: {why} (scripts/setup --test, as root)");
                None
            }
        }
    }

    fn make(tools: &[&str]) -> Result<Self, String> {
        for tool in ["unshare", "nsenter", "ip"].iter().chain(tools) {
            let found = Command::new("sh")
                .args(["-c", "command -v \"$0\"", tool])
                .stdout(Stdio::null())
                .status();
            if !found.is_ok_and(|status| status.success()) {
                return Err(format!("{tool} is not installed"));
            }
        }
        const HOLD: &str = "ip link set lo up && \
            { [ ! -d /proc/sys/net/ipv6 ] || echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6; } && \
            echo ready && read -r line";
        let mut holder = Command::new("unshare")
            .args(["--net", "sh", "-c", HOLD])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("unshare: {error}"))?;
        let mut line = String::new();
        if let Some(stdout) = holder.stdout.take() {
            // Nothing comes where it is refused.
            let _ = BufReader::new(stdout).read_line(&mut line);
        }
        let namespace = Self { holder };
        if line.trim() == "ready" {
            Ok(namespace)
        } else {
            Err("unshare --net is refused".to_owned())
        }
    }

    /// A command that runs in it.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/proc/{}/ns/net", self.holder.id()))
            .arg("--")
            .arg(program);
        command
    }

    /// Runs a program in it to its end, with arguments separated by spaces, and gives its standard output.
    ///
    /// # Panics
    /// If it fails.
    pub fn run(&self, line: &str) -> String {
        let mut words = line.split_whitespace();
        let program = words.next().expect("a program");
        let output = self.command(program).args(words).output().expect("nsenter runs");
        assert!(
            output.status.success(),
            "{line}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A cable: two interfaces, up, that give each other every packet, of up to 65,000 bytes.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn cable(&self, one: &str, other: &str) {
        self.run(&format!(
            "ip link add {one} mtu 65000 type veth peer name {other} mtu 65000"
        ));
        for end in [one, other] {
            self.run(&format!("ip link set {end} up"));
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
