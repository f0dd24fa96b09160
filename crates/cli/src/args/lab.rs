//! `bftap lab`.

use std::path::PathBuf;
use std::str::FromStr;

use bftap_lab::{Controller, Subnet};
use bftap_lab_node::faults::Fault;
use bftap_model::Nanos;
use clap::{Args, Subcommand, ValueEnum};

use super::{LabNodeBehaviour, parse};

#[derive(Debug, Subcommand)]
pub(crate) enum LabCommand {
    Up(LabUpArgs),
    Run(Box<LabRunArgs>),
    Down(LabDownArgs),
    Status(LabStatusArgs),
}

/// Bring a lab up: namespaces on an Open vSwitch bridge, a mirror port, and nodes that run until `lab down`
///
/// Needs root and Open vSwitch (scripts/setup --lab). By default the switch runs in user space, with daemons of its own, and each node
/// is a lab node: a small validator of bftap's. The guide to it all is ovs-lab/README.md.
#[derive(Args, Debug)]
#[command(after_help = "Example: bftap lab up --nodes 7\n  \
    then:  bftap lab status, bftap live -i MIRROR --keylog /run/bftap-lab/keylogs ..., bftap lab down")]
pub(crate) struct LabUpArgs {
    #[command(flatten)]
    pub(crate) net: LabNetArgs,

    /// Record here what lab nodes do, a file each
    #[arg(long, value_name = "DIR", help_heading = "Lab nodes")]
    pub(crate) record: Option<PathBuf>,
}

/// Bring a lab up, let its nodes run for a while, watch them at the mirror, report, and take all down
///
/// The monitor is `bftap live` on the mirror port. Ctrl-C ends it early, with the report.
#[derive(Args, Debug)]
#[command(after_help = "Example: bftap lab run --nodes 7 --for 60")]
pub(crate) struct LabRunArgs {
    #[command(flatten)]
    pub(crate) net: LabNetArgs,

    /// How long: seconds, or a number with a unit like 90s or 10min
    #[arg(long = "for", value_name = "SPAN", default_value = "60", value_parser = seconds_or_span)]
    pub(crate) duration: Nanos,

    /// Where results are stored: sqlite://FILE, mysql://..., postgres://... or none [env: BFTAP_STORE] [default: sqlite://bftap.db]
    #[arg(
        long,
        value_name = "URL",
        conflicts_with = "store_file",
        help_heading = "Output"
    )]
    pub(crate) store: Option<String>,

    /// File whose first line is the URL for --store; wins over the environment
    #[arg(long, value_name = "PATH", help_heading = "Output")]
    pub(crate) store_file: Option<PathBuf>,

    /// Write the machine-readable report here; `-` is standard output, and then nothing else is printed there
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) json: Option<PathBuf>,

    /// Write the report as one self-contained page
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) html: Option<PathBuf>,

    /// Keep the packets of the mirror, as pcapng
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) write: Option<PathBuf>,

    /// Record here what lab nodes do, a file each
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub(crate) record: Option<PathBuf>,

    /// Keep the nodes' key logs and names here, to analyse --write's file later; they open all sessions
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub(crate) keep_keys: Option<PathBuf>,

    /// More options for `bftap live`, behind `--`
    #[arg(last = true, value_name = "LIVE OPTIONS")]
    pub(crate) live: Vec<std::ffi::OsString>,
}

/// Take a lab down: everything that it made goes, also after a crash
#[derive(Args, Debug)]
pub(crate) struct LabDownArgs {
    #[command(flatten)]
    pub(crate) dir: LabDirArgs,
}

/// Say what there is of a lab, and what runs
#[derive(Args, Debug)]
pub(crate) struct LabStatusArgs {
    #[command(flatten)]
    pub(crate) dir: LabDirArgs,

    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which lab.
#[derive(Args, Debug)]
pub(crate) struct LabDirArgs {
    /// Folder of the lab: state, sockets, keys, logs; the names of all it makes follow from it
    #[arg(long, value_name = "DIR", default_value = "/run/bftap-lab")]
    pub(crate) dir: PathBuf,
}

/// What a lab consists of.
#[derive(Args, Debug)]
pub(crate) struct LabNetArgs {
    #[command(flatten)]
    pub(crate) dir: LabDirArgs,

    /// Nodes, each in a network namespace of its own
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u16).range(..=100))]
    pub(crate) nodes: u16,

    /// Tap devices on the bridge, for virtual machines
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=100))]
    pub(crate) taps: u16,

    /// Start this in each namespace instead of a lab node; {i}, {ip}, {keylog} and {dir} stand for the node's own
    ///
    /// It runs in a shell, in the node's folder. Example: --node-cmd 'kcn --datadir {dir} --port 32323 ...'
    #[arg(long, value_name = "CMD")]
    pub(crate) node_cmd: Option<String>,

    /// Addresses: node 1 has the first one
    #[arg(
        long,
        value_name = "NET",
        default_value = "10.77.0.0/24",
        help_heading = "Switch"
    )]
    pub(crate) subnet: Subnet,

    /// How namespaces hang on the bridge
    #[arg(long, value_enum, default_value_t = PortWord::Veth, help_heading = "Switch")]
    pub(crate) ports: PortWord,

    /// Who moves packets
    #[arg(long, value_enum, default_value_t = DatapathWord::Netdev, help_heading = "Switch")]
    pub(crate) datapath: DatapathWord,

    /// Use the Open vSwitch that runs on this machine, instead of daemons of the lab's own
    #[arg(long, help_heading = "Switch")]
    pub(crate) use_running_ovs: bool,

    /// Who decides where packets go: normal, test (ovs-testcontroller), or an address like tcp:127.0.0.1:6633
    #[arg(
        long,
        value_name = "CONTROLLER",
        default_value = "normal",
        help_heading = "Switch"
    )]
    pub(crate) controller: Controller,

    /// Give this machine the subnet's last address, so that nodes reach it
    #[arg(long, help_heading = "Switch")]
    pub(crate) host_address: bool,

    /// Set net.core.rmem_default to so many bytes while the lab is up: a larger one loses fewer packets under load
    #[arg(long, value_name = "BYTES", help_heading = "Switch")]
    pub(crate) rmem_default: Option<u64>,

    /// What a lab node does wrong, as NODE:KIND@FROM..UNTIL; repeatable
    ///
    /// KIND is silent, no-proposals, slow-proposals=SPAN, slow=SPAN, partial=PEERS, equivocation, conflicting-commits, wrong-signatures,
    /// wrong-addresses, strange-votes, stale-rounds, flood=RATE[:same|future|stale|round-changes|undecodable], oversized=BYTES, churn=SPAN
    /// or role=en|pn|bn; without times it is on from the start. Example: --fault 3:silent@10s..20s
    #[arg(long = "fault", value_name = "FAULT", help_heading = "Lab nodes")]
    pub(crate) faults: Vec<NodeFault>,

    #[command(flatten)]
    pub(crate) behaviour: LabNodeBehaviour,
}

/// How a namespace hangs on the bridge.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum PortWord {
    /// A pair of virtual Ethernet devices
    Veth,
    /// An internal port of the bridge, moved into the namespace
    Internal,
}

/// Who moves packets.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum DatapathWord {
    /// ovs-vswitchd, in user space
    Netdev,
    /// The kernel's openvswitch module
    System,
}

/// `3:silent@10s..20s`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NodeFault {
    /// Number of the node, from 1.
    pub(crate) node: u16,
    pub(crate) fault: Fault,
}

impl FromStr for NodeFault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shape = || "write NODE:KIND@FROM..UNTIL, for example 3:silent@10s..20s".to_owned();
        let (node, fault) = text.split_once(':').ok_or_else(shape)?;
        let node = node.parse().ok().filter(|&node| node > 0).ok_or_else(shape)?;
        let fault = fault
            .parse()
            .map_err(|error: bftap_lab_node::faults::UnknownFault| error.to_string())?;
        Ok(Self { node, fault })
    }
}

fn seconds_or_span(text: &str) -> Result<Nanos, String> {
    match text.parse::<u32>() {
        Ok(seconds) => Ok(Nanos::from_secs(seconds.into())),
        Err(_) => parse::span(text),
    }
}
