//! Options of `bftap guard`.

use std::path::PathBuf;

use bftap_analysis::quorum::Threshold;
use bftap_guard::Measure;
use bftap_guard::rules::LONGEST_TTL;
use bftap_model::Nanos;
use clap::{ArgGroup, Args, Subcommand};

use super::{WhichStore, parse};

/// What to do with the switch.
#[derive(Debug, Subcommand)]
pub(crate) enum GuardCommand {
    List(GuardListArgs),
    Block(GuardBlockArgs),
    Unblock(GuardUnblockArgs),
}

/// The bridge, and who is behind it.
#[derive(Args, Clone, Debug)]
pub(crate) struct GuardSwitchArgs {
    /// Bridge of Open vSwitch that the nodes are on
    #[arg(long, value_name = "NAME", default_value = "br0", help_heading = "Switch")]
    pub(crate) bridge: String,

    /// Database of the switch, as for ovs-vsctl: unix:PATH [default: where Open vSwitch has it]
    #[arg(long, value_name = "DB", help_heading = "Switch")]
    pub(crate) db: Option<String>,

    /// OpenFlow socket of the bridge, as for ovs-ofctl: unix:PATH [default: BRIDGE.mgmt beside the database's socket]
    #[arg(long, value_name = "SOCKET", help_heading = "Switch")]
    pub(crate) ofp: Option<String>,

    /// Names and IP addresses of nodes, as for analyze; a name may stand there several times, once for each address
    #[arg(long, value_name = "FILE", help_heading = "Switch")]
    pub(crate) nodes: Option<PathBuf>,
}

/// Which validators there are, and how many it takes.
#[derive(Args, Clone, Debug)]
pub(crate) struct GuardQuorumArgs {
    /// These of the nodes file are the validators [default: all of them]
    #[arg(long, value_name = "NAME", value_delimiter = ',', help_heading = "Quorum")]
    pub(crate) validators: Vec<String>,

    /// How many validators must reach each other: 2f+1, ceil-2n/3, or ceil-2n/3-all-below-4, the strictest
    #[arg(long, value_name = "RULE", value_parser = threshold, default_value = "ceil-2n/3-all-below-4", help_heading = "Quorum")]
    pub(crate) quorum_rule: Threshold,

    /// This validator says nothing: it counts as one that is not reached; repeatable
    #[arg(long, value_name = "NAME", value_delimiter = ',', help_heading = "Quorum")]
    pub(crate) silent: Vec<String>,

    /// Take validators as silent that sent no message in the last minute or two of the latest run of --store
    #[arg(long, help_heading = "Quorum")]
    pub(crate) silent_from_store: bool,

    /// What a store says is believed for so long after its newest packet; then nobody is known to be reached, and blocks are refused
    #[arg(long, value_name = "TIME", value_parser = parse::span, default_value = "30s", requires = "silent_from_store", help_heading = "Quorum")]
    pub(crate) store_age: Nanos,
}

/// Say what is blocked, for how long still, and what that has kept away
///
/// Read from the switch: rules are found by their cookie, whoever made them.
#[derive(Args, Debug)]
#[command(after_help = "Example: bftap guard list --bridge br0 --nodes nodes.json")]
pub(crate) struct GuardListArgs {
    #[command(flatten)]
    pub(crate) switch: GuardSwitchArgs,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Block a node, or keep two apart, or limit what they send; for a time
///
/// Refuses what would leave fewer validators that all reach each other than the quorum. IP addresses are not authenticated: a node that
/// sends under another address is not held by this.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples: bftap guard block cn7 --nodes nodes.json --ttl 10min\n          bftap guard block cn7 --nodes nodes.json --rate 500"
)]
pub(crate) struct GuardBlockArgs {
    /// A name of the nodes file, or an IP address; two of them are kept apart from each other
    #[arg(required = true, value_name = "NODE", num_args = 1..=2)]
    pub(crate) node: Vec<String>,

    #[command(flatten)]
    pub(crate) switch: GuardSwitchArgs,

    #[command(flatten)]
    pub(crate) quorum: GuardQuorumArgs,

    #[command(flatten)]
    pub(crate) store: WhichStore,

    /// How long: 30s, 10min, at most 18h; 0 for ever, with --force only
    #[arg(long, value_name = "TIME", value_parser = ttl, default_value = "300s")]
    pub(crate) ttl: u32,

    /// Let so much through: 500 (packets a second), 20000kbit (a second); of one node: of what it sends
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub(crate) rate: Option<Measure>,

    /// Do it though fewer validators are left than it takes, or though nobody can say
    #[arg(long)]
    pub(crate) force: bool,

    /// Only print the rules
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Take away what was blocked
#[derive(Args, Debug)]
#[command(
    after_help = "Example: bftap guard unblock cn7 --nodes nodes.json",
    group = ArgGroup::new("what").required(true)
)]
pub(crate) struct GuardUnblockArgs {
    /// As for block
    #[arg(value_name = "NODE", num_args = 1..=2, group = "what")]
    pub(crate) node: Vec<String>,

    /// Everything that bftap has blocked on this bridge
    #[arg(long, group = "what")]
    pub(crate) all: bool,

    #[command(flatten)]
    pub(crate) switch: GuardSwitchArgs,

    /// Only print what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
}

pub(crate) fn ttl(text: &str) -> Result<u32, String> {
    if text == "0" {
        return Ok(0);
    }
    let nanos = parse::span(text)?;
    // What is shorter than a second is not for ever.
    let seconds = u32::try_from(nanos.0.div_euclid(1_000_000_000)).unwrap_or(u32::MAX);
    if (1..=LONGEST_TTL).contains(&seconds) {
        Ok(seconds)
    } else {
        Err("from 1s to 18h".to_owned())
    }
}

pub(crate) fn rate(text: &str) -> Result<Measure, String> {
    let wrong = || "packets a second belong here (500), or kilobits a second (20000kbit)".to_owned();
    let (number, is_bits) = match text.strip_suffix("kbit") {
        Some(number) => (number, true),
        None => (text, false),
    };
    let rate: u32 = number.parse().map_err(|_| wrong())?;
    if rate == 0 {
        return Err("a rate of 0 lets nothing through: leave --rate away to block".to_owned());
    }
    Ok(if is_bits {
        Measure::KilobitsPerSecond(rate)
    } else {
        Measure::PacketsPerSecond(rate)
    })
}

pub(crate) fn threshold(text: &str) -> Result<Threshold, String> {
    match text {
        "2f+1" => Ok(Threshold::TwoFPlusOne),
        "ceil-2n/3" => Ok(Threshold::CeilTwoThirds),
        "ceil-2n/3-all-below-4" => Ok(Threshold::CeilTwoThirdsAllBelowFour),
        _ => Err("2f+1, ceil-2n/3 or ceil-2n/3-all-below-4 belong here".to_owned()),
    }
}
