//! `bftap live`.

use std::path::PathBuf;

use bftap_model::Nanos;
use clap::Args;

use super::{LiveKeyArgs, ReadArgs, ResultArgs, parse};

/// Read packets of interfaces while they come, count and judge, show, store
///
/// As `analyze`, until Ctrl-C (SIGINT), SIGTERM or the end of --duration; then what was read is judged once more, stored and reported. A
/// second Ctrl-C ends at once. An interface that is not there, or goes, is waited for. Interfaces are opened first; then all rights
/// but that to open them again are given up, and files are made as the user who is left.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: bftap live -i mon0 --port 32323 --keylog /run/keys --nodes nodes.json --store postgres://bftap@db/bftap"
)]
pub(crate) struct LiveArgs {
    /// Interface to read: a port of a switch, a tap, a mirror, or `any`; repeatable, each one is a tap of its own
    #[arg(short, long = "interface", required = true, value_name = "IFACE", num_args = 1..)]
    pub(crate) interfaces: Vec<String>,

    #[command(flatten)]
    pub(crate) keys: LiveKeyArgs,

    #[command(flatten)]
    pub(crate) read: ReadArgs,

    #[command(flatten)]
    pub(crate) results: ResultArgs,

    /// Only packets that this filter keeps, in tcpdump's language; in place of the one that follows from --port
    #[arg(long, value_name = "EXPR", help_heading = "Capture")]
    pub(crate) filter: Option<String>,

    /// End after this time: 60s, 10min, 12h [default: when told to]
    #[arg(long, value_name = "TIME", value_parser = parse::span, help_heading = "Capture")]
    pub(crate) duration: Option<Nanos>,

    /// Bytes of each packet that are kept; offloading makes packets of up to 64 KiB
    #[arg(long, value_name = "BYTES", default_value_t = 256 << 10,
          value_parser = clap::value_parser!(u32).range(96..=16 << 20), help_heading = "Capture")]
    pub(crate) snaplen: u32,

    /// Kernel memory for packets of each interface that wait to be read
    #[arg(long, value_name = "MIB", default_value_t = 64,
          value_parser = clap::value_parser!(u32).range(1..=1024), help_heading = "Capture")]
    pub(crate) buffer: u32,

    /// Keep in this folder what a restarted monitor has to know: it goes on with its run, its sessions and its counts
    ///
    /// Made if it is not there, readable by its owner alone. What passes while no monitor runs is missing, and shown as a gap. Without
    /// --run the run whose state it is goes on.
    #[arg(long, value_name = "DIR", help_heading = "Restart")]
    pub(crate) state: Option<PathBuf>,

    /// Keep the packets as they came in this pcapng file, which must not be there yet
    ///
    /// With --write-size or --write-every, and with --state, in files FILE-00001.pcapng and so on, going on behind those that are there.
    #[arg(long, value_name = "FILE", help_heading = "Raw packets")]
    pub(crate) write: Option<PathBuf>,

    /// Begin another file at this size
    #[arg(long, value_name = "MIB", requires = "write", value_parser = clap::value_parser!(u64).range(1..=1 << 24),
          help_heading = "Raw packets")]
    pub(crate) write_size: Option<u64>,

    /// Begin another file when this one spans so much time: 600s, 10min, 1h
    #[arg(long, value_name = "TIME", requires = "write", value_parser = parse::span, help_heading = "Raw packets")]
    pub(crate) write_every: Option<Nanos>,

    /// Keep only so many files, the newest; those of earlier runs count, too
    #[arg(long, value_name = "N", requires = "write", value_parser = clap::value_parser!(u32).range(1..),
          help_heading = "Raw packets")]
    pub(crate) write_keep: Option<u32>,

    /// Put the session secrets into the files: whoever has such a file can read the sessions
    #[arg(long, requires = "write", help_heading = "Raw packets")]
    pub(crate) write_secrets: bool,

    /// Go on as this user once the interfaces are open: a name, or UID:GID; only root can [default: who called sudo, else nobody
    /// else, but without root's rights]
    #[arg(long, value_name = "NAME", help_heading = "Capture")]
    pub(crate) user: Option<String>,

    /// Between two lines on standard error that say how it goes, where that is no terminal; 0 for none
    #[arg(long, value_name = "SECONDS", default_value_t = 10, help_heading = "Output")]
    pub(crate) log_every: u32,

    /// Take orders for the switch on this Unix socket, which only this user can use (docs/cli.md); as with `bftap guard`
    #[arg(long, value_name = "PATH", requires = "nodes", help_heading = "Switch")]
    pub(crate) admin_socket: Option<PathBuf>,

    /// For --admin-socket: bridge of Open vSwitch that the nodes are on
    #[arg(
        long,
        value_name = "NAME",
        default_value = "br0",
        requires = "admin_socket",
        help_heading = "Switch"
    )]
    pub(crate) guard_bridge: String,

    /// For --admin-socket: database of the switch, as for ovs-vsctl
    #[arg(long, value_name = "DB", requires = "admin_socket", help_heading = "Switch")]
    pub(crate) guard_db: Option<String>,

    /// For --admin-socket: OpenFlow socket of the bridge, as for ovs-ofctl
    #[arg(
        long,
        value_name = "SOCKET",
        requires = "admin_socket",
        help_heading = "Switch"
    )]
    pub(crate) guard_ofp: Option<String>,

    /// For --admin-socket: these of the nodes file are the validators [default: all of them]
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        requires = "admin_socket",
        help_heading = "Switch"
    )]
    pub(crate) guard_validators: Vec<String>,

    /// For --admin-socket: how many validators must reach each other, as for guard block
    #[arg(
        long,
        value_name = "RULE",
        value_parser = super::guard::threshold,
        default_value = "ceil-2n/3-all-below-4",
        requires = "admin_socket",
        help_heading = "Switch"
    )]
    pub(crate) guard_quorum_rule: bftap_analysis::quorum::Threshold,

    /// For --admin-socket: what the store says of who is silent is believed for so long after its newest packet
    #[arg(
        long,
        value_name = "TIME",
        value_parser = super::parse::span,
        default_value = "30s",
        requires = "admin_socket",
        help_heading = "Switch"
    )]
    pub(crate) guard_store_age: Nanos,
}
