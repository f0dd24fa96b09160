//! `bftap live`.

use bftap_model::Nanos;
use clap::Args;

use super::{ReadArgs, ResultArgs, parse};

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

    /// Go on as this user once the interfaces are open: a name, or UID:GID; only root can [default: who called sudo, else nobody
    /// else, but without root's rights]
    #[arg(long, value_name = "NAME", help_heading = "Capture")]
    pub(crate) user: Option<String>,

    /// Between two lines on standard error that say how it goes, where that is no terminal; 0 for none
    #[arg(long, value_name = "SECONDS", default_value_t = 10, help_heading = "Output")]
    pub(crate) log_every: u32,
}
