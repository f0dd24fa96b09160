//! `bftap lab-node`: what `bftap lab` starts in its namespaces, and anyone may elsewhere.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use bftap_lab_node::faults::Fault;
use bftap_model::Hash256;
use bftap_simnet::client::Client;
use clap::{Args, ValueEnum};

/// Run a small validator that speaks RLPx and Istanbul BFT over TCP, rightly or wrongly
///
/// For labs: its transactions and state are made up. What it did goes to --record (docs/lab-record.md).
#[derive(Args, Debug)]
#[command(
    after_help = "Example: bftap lab-node --nodes nodes.json --key 1/key --keylog 1.keylog --record 1.jsonl"
)]
pub(crate) struct LabNodeArgs {
    /// The validators, as JSON: a list of {"name", "ip", "port", "node_id"}
    #[arg(long, value_name = "FILE")]
    pub(crate) nodes: PathBuf,

    /// File with the node's key: 64 hexadecimal digits
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,

    /// Listen here instead of at its place in the list of nodes; with two channels also at the port behind
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,

    /// Hash of the genesis block [default: follows from network id and validators]
    #[arg(long, value_name = "HASH")]
    pub(crate) genesis: Option<Hash256>,

    /// Append the secrets of its sessions to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) keylog: Option<PathBuf>,

    /// Record here what it sends, receives and decides
    #[arg(long, value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,

    /// What it does wrong, as KIND@FROM..UNTIL; repeatable
    ///
    /// KIND is silent, no-proposals, slow-proposals=SPAN, slow=SPAN, partial=PEERS, equivocation, conflicting-commits, wrong-signatures,
    /// wrong-addresses, strange-votes, stale-rounds, flood=RATE[:same|future|stale|round-changes|undecodable], oversized=BYTES, churn=SPAN
    /// or role=en|pn|bn; without times it is on from the start. Example: --fault silent@10s..20s
    #[arg(long = "fault", value_name = "FAULT")]
    pub(crate) faults: Vec<Fault>,

    #[command(flatten)]
    pub(crate) behaviour: LabNodeBehaviour,
}

/// What all nodes of a lab have in common.
#[derive(Args, Clone, Debug)]
pub(crate) struct LabNodeBehaviour {
    /// Family of clients that the lab nodes behave like
    #[arg(long, value_enum, default_value_t = DialectWord::Klaytn, help_heading = "Lab nodes")]
    pub(crate) dialect: DialectWord,

    /// Client and version they behave like [default: klaytn-1.12, or quorum-20.10 with --dialect quorum]
    #[arg(long, value_name = "CLIENT", value_parser = client, help_heading = "Lab nodes")]
    client: Option<Client>,

    /// Network id in Status
    #[arg(long, value_name = "N", default_value_t = 1000, help_heading = "Lab nodes")]
    pub(crate) network_id: u64,

    /// Each consensus message goes from its author to every other validator, once, instead of gossip
    #[arg(long, help_heading = "Lab nodes")]
    pub(crate) direct: bool,

    /// TCP connections for each pair of nodes: 2 is Klaytn's multichannel
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2), help_heading = "Lab nodes")]
    pub(crate) channels: u8,

    /// All nodes dial all others at once, so that some connections are refused or given up
    #[arg(long, help_heading = "Lab nodes")]
    pub(crate) simultaneous_dials: bool,

    /// From one block's time to the next proposal
    #[arg(long, value_name = "SPAN", value_parser = super::parse::span, default_value = "1s", help_heading = "Lab nodes")]
    pub(crate) block_period: bftap_model::Nanos,

    /// Time of round 0; round r has 2^r seconds more
    #[arg(long, value_name = "SPAN", value_parser = super::parse::span, default_value = "10s", help_heading = "Lab nodes")]
    pub(crate) round_timeout: bftap_model::Nanos,

    /// Transactions in a block, on average
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(..=20_000), help_heading = "Lab nodes")]
    pub(crate) transactions: u32,
}

/// A family of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DialectWord {
    /// Klaytn and Kaia
    Klaytn,
    /// GoQuorum's IBFT
    Quorum,
}

impl LabNodeBehaviour {
    /// The client that is meant.
    pub(crate) fn client(&self) -> Client {
        self.client.unwrap_or(match self.dialect {
            DialectWord::Klaytn => Client::Klaytn1_12,
            DialectWord::Quorum => Client::Quorum20_10,
        })
    }

    /// The same as words, for a node of its own.
    pub(crate) fn words(&self) -> Vec<OsString> {
        let span = |nanos: bftap_model::Nanos| format!("{}ns", nanos.0);
        let mut words: Vec<OsString> = vec![
            format!("--client={}", self.client().as_str()).into(),
            format!("--network-id={}", self.network_id).into(),
            format!("--channels={}", self.channels).into(),
            format!("--block-period={}", span(self.block_period)).into(),
            format!("--round-timeout={}", span(self.round_timeout)).into(),
            format!("--transactions={}", self.transactions).into(),
        ];
        for (is_set, word) in [
            (self.direct, "--direct"),
            (self.simultaneous_dials, "--simultaneous-dials"),
        ] {
            if is_set {
                words.push(word.into());
            }
        }
        words
    }
}

fn client(text: &str) -> Result<Client, String> {
    text.parse()
        .map_err(|error: bftap_simnet::client::UnknownClient| error.to_string())
}
