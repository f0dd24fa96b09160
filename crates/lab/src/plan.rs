//! What is wanted, and the names of everything: pure.

use std::ffi::OsString;
use std::fmt;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use bftap_model::keccak256;
use serde::{Deserialize, Serialize};

/// A lab.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Where its state, sockets, keys and logs are; absolute. The names of all it makes follow from it.
    pub dir: PathBuf,
    /// Namespaces with a port each.
    pub nodes: usize,
    /// Tap devices for virtual machines.
    pub taps: usize,
    /// Addresses: node i has the i-th.
    pub subnet: Subnet,
    /// How namespaces hang on the bridge.
    pub ports: PortKind,
    /// Who moves packets.
    pub datapath: Datapath,
    /// Use the Open vSwitch that runs on the machine, instead of daemons of the lab's own.
    pub use_running: bool,
    /// Who decides where packets go.
    pub controller: Controller,
    /// Give the bridge the subnet's last address, so that the machine itself reaches the nodes.
    pub host_address: bool,
    /// Set `net.core.rmem_default` to this while the lab is up.
    pub rmem_default: Option<u64>,
    /// User and group who may read the key logs besides root.
    pub owner: Option<(u32, u32)>,
}

/// An IPv4 subnet, as `10.77.0.0/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet {
    base: Ipv4Addr,
    len: u8,
}

/// How a namespace hangs on the bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PortKind {
    /// A pair of virtual Ethernet devices.
    Veth,
    /// An internal port of the bridge, moved into the namespace: the classic tap.
    Internal,
}

/// Who moves packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Datapath {
    /// `ovs-vswitchd` itself, in user space.
    Netdev,
    /// The kernel's openvswitch module.
    System,
}

/// Who decides where packets go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Controller {
    /// Nobody: the bridge is a learning switch (`NORMAL`).
    Normal,
    /// `ovs-testcontroller`, an OpenFlow learning switch.
    Test,
    /// The user's own, at an address as `ovs-vsctl set-controller` takes it (`tcp:127.0.0.1:6633`).
    Address(String),
}

/// What runs in a namespace.
#[derive(Clone, Debug)]
pub enum NodeProgram {
    /// A program with arguments.
    Program(Vec<OsString>),
    /// A command of the user's, for `sh`; `{i}`, `{ip}`, `{keylog}` and `{dir}` stand for the node's own.
    Shell(String),
}

/// A plan that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Not a subnet.
    #[error("`{0}` is not a subnet: write one like 10.77.0.0/24, with a length from 8 to 29")]
    Subnet(String),
    /// More nodes than addresses.
    #[error("{nodes} nodes and taps do not fit into {subnet}: it has room for {room}")]
    Room {
        /// Nodes and taps wanted.
        nodes: usize,
        /// Where.
        subnet: Subnet,
        /// How many fit.
        room: usize,
    },
    /// More than names allow.
    #[error("{0} nodes and taps: at most {MAX_PORTS} can be")]
    TooMany(usize),
    /// Sockets in it could not be named.
    #[error("the folder's name {0} is longer than {MAX_DIR} bytes: sockets in it could not be named")]
    DirTooLong(PathBuf),
    /// Not from the root.
    #[error("the folder {0} is not an absolute path")]
    DirRelative(PathBuf),
    /// A controller that no switch understands.
    #[error("`{0}` is no controller: write normal, test or an address like tcp:127.0.0.1:6633")]
    Controller(String),
}

impl Plan {
    /// Says what cannot be.
    ///
    /// # Errors
    /// When addresses or names do not suffice.
    pub fn check(&self) -> Result<(), PlanError> {
        let ports = self.nodes + self.taps;
        if ports > MAX_PORTS {
            return Err(PlanError::TooMany(ports));
        }
        let room = self.subnet.room();
        if ports > room {
            return Err(PlanError::Room {
                nodes: ports,
                subnet: self.subnet,
                room,
            });
        }
        if !self.dir.is_absolute() {
            return Err(PlanError::DirRelative(self.dir.clone()));
        }
        if self.dir.as_os_str().len() > MAX_DIR {
            return Err(PlanError::DirTooLong(self.dir.clone()));
        }
        Ok(())
    }

    /// Names of what it makes.
    pub fn names(&self) -> Names {
        Names::of(&self.dir)
    }

    /// Folder of a node (from 1): its key, key log, record and output.
    pub fn node_dir(&self, node: usize) -> PathBuf {
        self.dir.join("nodes").join(node.to_string())
    }

    /// Key log of a node.
    pub fn key_log(&self, node: usize) -> PathBuf {
        self.key_logs().join(format!("cn{node}.keylog"))
    }

    /// The folder of all key logs.
    pub fn key_logs(&self) -> PathBuf {
        self.dir.join("keylogs")
    }

    /// Names and addresses of the nodes, for `--nodes`.
    pub fn nodes_file(&self) -> PathBuf {
        self.dir.join("nodes.json")
    }
}

/// Names of what a lab makes; they follow from its folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    prefix: String,
    mark: String,
}

impl Names {
    /// Those of a folder.
    pub fn of(dir: &Path) -> Self {
        let hash = keccak256(dir.as_os_str().as_encoded_bytes()).to_hex();
        Self {
            prefix: format!("bftap-{}-", &hash[..4]),
            mark: hash[..32].to_owned(),
        }
    }

    /// What all names of interfaces and namespaces start with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// What stands in the environment of all its processes, as [`MARK`].
    pub fn mark(&self) -> &str {
        &self.mark
    }

    /// The bridge.
    pub fn bridge(&self) -> String {
        format!("{}br", self.prefix)
    }

    /// The port at which everything is mirrored.
    pub fn mirror(&self) -> String {
        format!("{}mon", self.prefix)
    }

    /// Namespace of a node (from 1), and its port at the bridge.
    pub fn node(&self, node: usize) -> String {
        format!("{}n{node}", self.prefix)
    }

    /// Tap device of a virtual machine (from 1).
    pub fn tap(&self, tap: usize) -> String {
        format!("{}t{tap}", self.prefix)
    }
}

impl Subnet {
    /// The `index`-th address (from 1).
    pub fn address(self, index: usize) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.base).wrapping_add(index as u32))
    }

    /// The last address, which the machine itself may have.
    pub fn last(self) -> Ipv4Addr {
        self.address(self.room() + 1)
    }

    /// Bits of the network.
    pub const fn prefix_len(self) -> u8 {
        self.len
    }

    /// Addresses for nodes: without network, broadcast and the machine's own.
    fn room(self) -> usize {
        (1_usize << (32 - self.len)) - 3
    }

    /// Whether two subnets share addresses.
    pub fn overlaps(self, other: Self) -> bool {
        let len = self.len.min(other.len);
        let mask = u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
        u32::from(self.base) & mask == u32::from(other.base) & mask
    }
}

impl FromStr for Subnet {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        let read = || {
            let (base, len) = text.split_once('/')?;
            let (base, len): (Ipv4Addr, u8) = (base.parse().ok()?, len.parse().ok()?);
            let mask = u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
            let base = Ipv4Addr::from(u32::from(base) & mask);
            (8..=29).contains(&len).then_some(Self { base, len })
        };
        read().ok_or_else(|| PlanError::Subnet(text.to_owned()))
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.len)
    }
}

impl TryFrom<String> for Subnet {
    type Error = PlanError;

    fn try_from(text: String) -> Result<Self, PlanError> {
        text.parse()
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> Self {
        subnet.to_string()
    }
}

impl FromStr for Controller {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        match text {
            "normal" => Ok(Self::Normal),
            "test" => Ok(Self::Test),
            _ => {
                let known = ["tcp:", "ssl:", "unix:"];
                let address = known
                    .iter()
                    .any(|scheme| text.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()));
                if address {
                    Ok(Self::Address(text.to_owned()))
                } else {
                    Err(PlanError::Controller(text.to_owned()))
                }
            }
        }
    }
}

impl NodeProgram {
    /// What is started in the namespace of a node.
    pub fn command(&self, plan: &Plan, node: usize) -> Vec<OsString> {
        match self {
            Self::Program(words) => words.clone(),
            Self::Shell(text) => {
                let quoted = |path: PathBuf| quote(&path.to_string_lossy());
                let text = text
                    .replace("{i}", &node.to_string())
                    .replace("{ip}", &plan.subnet.address(node).to_string())
                    .replace("{keylog}", &quoted(plan.key_log(node)))
                    .replace("{dir}", &quoted(plan.node_dir(node)));
                ["sh".into(), "-c".into(), text.into()].into()
            }
        }
    }
}

/// A word that the shell takes as it is.
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The variable in the environment of all processes of a lab.
pub const MARK: &str = "BFTAP_LAB";
/// The variable that says what a process is for: `switch`, or `node` with its number.
pub const ROLE: &str = "BFTAP_LAB_ROLE";
/// So that interface names stay within 15 bytes.
const MAX_PORTS: usize = 999;
/// Sockets' names have 107 bytes, and some stand below the folder.
const MAX_DIR: usize = 70;

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(dir: &str) -> Plan {
        Plan {
            dir: dir.into(),
            nodes: 7,
            taps: 0,
            subnet: "10.77.0.9/24".parse().unwrap(),
            ports: PortKind::Veth,
            datapath: Datapath::Netdev,
            use_running: false,
            controller: Controller::Normal,
            host_address: false,
            rmem_default: None,
            owner: None,
        }
    }

    #[test]
    fn names_fit_and_follow_from_the_folder() {
        let names = plan("/run/bftap-lab").names();
        assert_eq!(names, Names::of(Path::new("/run/bftap-lab")));
        assert_ne!(names.prefix(), Names::of(Path::new("/run/other")).prefix());
        for name in [names.bridge(), names.mirror(), names.node(999), names.tap(999)] {
            assert!(name.len() <= 15 && name.starts_with("bftap-"), "{name}");
        }
    }

    #[test]
    fn subnets_have_addresses() {
        let subnet: Subnet = "10.77.0.9/24".parse().unwrap();
        assert_eq!(subnet.to_string(), "10.77.0.0/24");
        assert_eq!(subnet.address(7), Ipv4Addr::new(10, 77, 0, 7));
        assert_eq!(subnet.last(), Ipv4Addr::new(10, 77, 0, 254));
        assert_eq!(subnet.room(), 253);
        for text in ["10.77.0.0", "10.77.0.0/30", "10.77.0.0/4", "fd00::/64", "x/24"] {
            assert!(text.parse::<Subnet>().is_err(), "{text}");
        }
        let overlaps = |other: &str| subnet.overlaps(other.parse().unwrap());
        assert!(overlaps("10.77.0.128/25") && overlaps("10.0.0.0/8") && !overlaps("10.78.0.0/24"));
        assert!(plan("/run/x").check().is_ok());
        let full = Plan {
            nodes: 14,
            subnet: "10.0.0.0/28".parse().unwrap(),
            ..plan("/run/x")
        };
        assert!(matches!(full.check(), Err(PlanError::Room { room: 13, .. })));
        assert!(plan("run/x").check().is_err());
    }

    #[test]
    fn commands_of_the_user_know_their_node() {
        let shell = NodeProgram::Shell("kcn --bind {ip} --n {i} --log {keylog} > {dir}/out".into());
        let words = shell.command(&plan("/run/my lab"), 3);
        assert_eq!(words[..2], ["sh", "-c"]);
        assert_eq!(
            words[2],
            "kcn --bind 10.77.0.3 --n 3 --log '/run/my lab/keylogs/cn3.keylog' > '/run/my lab/nodes/3'/out"
        );
    }

    #[test]
    fn controllers_have_words() {
        assert_eq!("normal".parse(), Ok(Controller::Normal));
        assert_eq!("test".parse(), Ok(Controller::Test));
        assert!(matches!("tcp:10.0.0.1:6633".parse(), Ok(Controller::Address(_))));
        for text in ["", "pox", "tcp:"] {
            assert!(text.parse::<Controller>().is_err(), "{text}");
        }
    }
}
