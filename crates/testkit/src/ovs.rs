//! A switch of the test's own: Open vSwitch in user space, in a network namespace of its own, with a node a namespace.
//!
//! Nothing of it is seen outside: interfaces and namespaces are in an outer namespace that ends with the process that holds it.

use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// A bridge `br0` with nodes behind it; all of it goes when this is dropped, or when the program ends in whatever way.
#[derive(Debug)]
pub struct Switch {
    folder: TempDir,
    /// The process whose namespaces everything is in.
    holder: Child,
    /// The holder cleans up when this is closed.
    alive: Option<ChildStdin>,
}

impl Switch {
    /// Starts a switch with nodes `n1` to `nN`: `10.99.0.I` and `fd99::I`, each in a namespace.
    ///
    /// `None`, and a loud word on standard error, where that cannot be: tests that need it then end early. On a build
    /// server (`CI` is set) that is a failure.
    ///
    /// # Panics
    /// If `CI` is set and it cannot be, or if it does not start.
    pub fn start(nodes: u32) -> Option<Self> {
        if let Some(missing) = missing() {
            let message = format!("Open vSwitch cannot be tested: {missing}");
            assert!(std::env::var_os("CI").is_none(), "{message}");
            eprintln!("NOT TESTED: {message}");
            return None;
        }
        let folder = tempfile::Builder::new()
            .prefix("bftap-ovs-")
            .tempdir()
            .expect("a temporary folder");
        std::fs::write(folder.path().join("echo.py"), ECHO).expect("a script");
        std::fs::write(folder.path().join("ask.py"), ASK).expect("a script");
        let mut holder = Command::new("unshare")
            .args(["--net", "--mount", "--propagation", "private", "sh", "-c", HOLD])
            .env("D", folder.path())
            .env("NODES", nodes.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.path().join("hold.log")).expect("a log"))
            .spawn()
            .expect("unshare starts");
        let alive = holder.stdin.take();
        let mut switch = Self {
            folder,
            holder,
            alive,
        };
        for _ in 0..600 {
            if switch.path("ready").exists() {
                return Some(switch);
            }
            if let Ok(Some(status)) = switch.holder.try_wait() {
                let log = std::fs::read_to_string(switch.path("hold.log")).unwrap_or_default();
                panic!("the switch does not start ({status}): {log}");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("the switch does not start within a minute");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Its folder, with its sockets.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its database, as `ovs-vsctl --db` takes it.
    pub fn db(&self) -> String {
        format!("unix:{}", self.path("db.sock").display())
    }

    /// Address of a node, from 1.
    pub fn ip(&self, node: u32) -> String {
        format!("10.99.0.{node}")
    }

    /// IPv6 address of a node, from 1.
    pub fn ip6(&self, node: u32) -> String {
        format!("fd99::{node}")
    }

    /// Runs a command of a shell beside the switch.
    ///
    /// # Panics
    /// If it cannot be run.
    pub fn shell(&self, script: &str) -> Output {
        let pid = self.holder.id().to_string();
        Command::new("nsenter")
            .args(["--target", &pid, "--net", "--mount", "sh", "-c", script])
            .env("D", self.folder.path())
            .env("OVS_RUNDIR", self.folder.path())
            .output()
            .expect("nsenter runs")
    }

    /// Runs a command of a shell beside the switch, which must work.
    ///
    /// # Panics
    /// If it fails.
    pub fn must(&self, script: &str) -> String {
        let output = self.shell(script);
        assert!(
            output.status.success(),
            "{script}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Whether a node's packet reaches another, and its answer comes back; the address decides by which protocol.
    pub fn reaches(&self, from: u32, to: &str) -> bool {
        self.echoes(from, to, 1, 0.0) == 1
    }

    /// How many of so many packets a node answers that another sends it, with so many seconds between them.
    ///
    /// # Panics
    /// If they cannot be sent.
    pub fn echoes(&self, from: u32, to: &str, packets: u32, pause: f64) -> u32 {
        let said = self.must(&format!(
            "ip netns exec n{from} python3 $D/ask.py {to} {packets} {pause}"
        ));
        said.trim().parse().expect("a number")
    }

    /// IP packets that an interface of a node's has received so far.
    pub fn received(&self, node: u32) -> u64 {
        let text = self.must(&format!(
            "ip netns exec n{node} cat /sys/class/net/eth0/statistics/rx_packets 2>/dev/null || \
             ip netns exec n{node} sed -n 's/^ *eth0: *[0-9]* *\\([0-9]*\\).*/\\1/p' /proc/net/dev"
        ));
        text.trim().parse().expect("a number")
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        drop(self.alive.take());
        // It ends the switch and itself.
        let _ = self.holder.wait();
    }
}

/// What keeps it from being tested.
fn missing() -> Option<String> {
    let uid = Command::new("id").arg("-u").output().ok()?;
    if uid.stdout.trim_ascii() != b"0" {
        return Some("this is not root".to_owned());
    }
    [
        "ovs-vswitchd",
        "ovsdb-server",
        "ovs-ofctl",
        "unshare",
        "nsenter",
        "ip",
        "ethtool",
        "python3",
    ]
    .into_iter()
    .find(|program| {
        !["/usr/sbin", "/usr/bin", "/sbin", "/bin"]
            .iter()
            .any(|folder| Path::new(folder).join(program).is_file())
    })
    .map(|program| format!("{program} is not installed (scripts/setup --test)"))
}

/// Makes everything, says so, waits until nobody holds its standard input, and takes all down.
const HOLD: &str = r#"
set -e
PATH=$PATH:/usr/sbin:/sbin
export OVS_RUNDIR=$D OVS_LOGDIR=$D OVS_DBDIR=$D
mkdir -p /run/netns
mount -t tmpfs none /run/netns
ip link set lo up
down() {
  kill $echoes 2>/dev/null || true
  for daemon in ctl vswitchd ovsdb; do
    [ -f "$D/$daemon.pid" ] && kill "$(cat "$D/$daemon.pid")" 2>/dev/null || true
  done
}
echoes=
trap down EXIT
ovsdb-tool create "$D/conf.db" /usr/share/openvswitch/vswitch.ovsschema
ovsdb-server "$D/conf.db" "--remote=punix:$D/db.sock" "--pidfile=$D/ovsdb.pid" "--log-file=$D/ovsdb.log" "--unixctl=$D/ovsdb.ctl" --detach --no-chdir
vs="ovs-vsctl --db=unix:$D/db.sock"
$vs --no-wait init
ovs-vswitchd "unix:$D/db.sock" "--pidfile=$D/vswitchd.pid" "--log-file=$D/vswitchd.log" "--unixctl=$D/vswitchd.ctl" --detach --no-chdir
$vs add-br br0 -- set bridge br0 datapath_type=netdev
ip link set br0 up
i=1
while [ "$i" -le "$NODES" ]; do
  ip netns add "n$i"
  ip link add "v$i" type veth peer name eth0 netns "n$i"
  ip link set "v$i" up
  ip -n "n$i" link set lo up
  ip -n "n$i" addr add "10.99.0.$i/24" dev eth0
  ip -n "n$i" addr add "fd99::$i/64" dev eth0 nodad
  ip -n "n$i" link set eth0 up
  ip netns exec "n$i" ethtool -K eth0 tx off >/dev/null 2>&1 || true
  $vs add-port br0 "v$i"
  ip netns exec "n$i" python3 "$D/echo.py" &
  echoes="$echoes $!"
  i=$((i + 1))
done
touch "$D/ready"
cat >/dev/null
"#;

/// Sends back what comes to UDP port 7 of either protocol.
const ECHO: &str = r#"
import select, socket
sockets = []
for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
    s = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    s.bind((address, 7))
    sockets.append(s)
while True:
    for s in select.select(sockets, [], [])[0]:
        s.sendto(*s.recvfrom(2048))
"#;

/// Sends packets, and says how many distinct ones were sent back within a second of the last.
const ASK: &str = r#"
import socket, sys, time
to, packets, pause = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
s = socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET, socket.SOCK_DGRAM)
s.setblocking(False)
back = set()
def take():
    while True:
        try:
            back.add(s.recv(2048))
        except OSError:
            return
for number in range(packets):
    try:
        s.sendto(b"%d" % number, (to, 7))
    except OSError:
        pass
    time.sleep(pause)
    take()
until = time.monotonic() + 1
while len(back) < packets and time.monotonic() < until:
    time.sleep(0.005)
    take()
print(len(back))
"#;
