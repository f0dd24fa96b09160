//! What can be typed. What it means is resolved in [`crate::config`] and by each command.

mod evidence;
#[cfg(target_os = "linux")]
mod fault;
mod guard;
mod keys;
#[cfg(target_os = "linux")]
mod lab;
#[cfg(target_os = "linux")]
mod lab_node;
#[cfg(target_os = "linux")]
mod live;
mod parse;
mod simulate;
mod store;
mod web;

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use bftap_ibft_decode::Kind;
use bftap_model::CaptureTime;
use bftap_pipeline::Pace;
use clap::{Args, Parser, Subcommand};

pub(crate) use evidence::{
    EvidenceArgs, EvidenceCommand, EvidenceKeygenArgs, EvidenceMakeArgs, EvidenceVerifyArgs,
};
#[cfg(target_os = "linux")]
pub(crate) use guard::{
    GuardBlockArgs, GuardCommand, GuardListArgs, GuardQuorumArgs, GuardSwitchArgs, GuardUnblockArgs,
};
pub(crate) use keys::{
    IdentityArgs, KeysCheckArgs, KeysCommand, KeysInitArgs, KeysReceiveArgs, KeysShipArgs, LiveKeyArgs,
};
#[cfg(target_os = "linux")]
pub(crate) use lab::{
    DatapathWord as LabDatapath, LabCommand, LabNetArgs, LabRunArgs, LabStatusArgs, LabUpArgs,
    PortWord as LabPort,
};
#[cfg(target_os = "linux")]
pub(crate) use lab_node::{LabNodeArgs, LabNodeBehaviour};
#[cfg(target_os = "linux")]
pub(crate) use live::LiveArgs;
pub(crate) use parse::{NodeFilter, Span};
pub(crate) use simulate::SimulateArgs;
pub(crate) use store::{DiffArgs, ExportArgs, OriginalViewsArgs, PruneArgs, StoreCommand, WhichStore};
pub(crate) use web::{PageAccessArgs, PageArgs, ReportArgs, WebArgs};

/// Watches a BFT network from the wire.
///
/// Reads packet captures of Istanbul BFT networks (Klaytn, Kaia, GoQuorum), rebuilds the TCP streams, decrypts the
/// RLPx sessions with secrets that the nodes export, and says per sequence, round, kind and receiver how many
/// consensus messages moved and which of them were redundant. Nothing is ever sent to a node.
#[derive(Debug, Parser)]
#[command(name = "bftap", version, max_term_width = 110, after_help = EXIT_STATUS)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Analyze(Box<AnalyzeArgs>),
    Messages(MessagesArgs),
    Decode(DecodeArgs),
    Evidence(Box<EvidenceArgs>),
    /// Look into session secrets, and send them to the analyzer's host
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Block nodes and pairs on an Open vSwitch bridge, or limit them, for a time
    #[cfg(target_os = "linux")]
    #[command(subcommand)]
    Guard(GuardCommand),
    #[cfg(target_os = "linux")]
    Live(Box<LiveArgs>),
    #[cfg(target_os = "linux")]
    /// A whole lab on an Open vSwitch: namespaces, validators, a mirror
    #[command(subcommand)]
    Lab(LabCommand),
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    LabNode(LabNodeArgs),
    Simulate(SimulateArgs),
    /// Make a store, look into it, thin it out
    #[command(subcommand)]
    Store(StoreCommand),
    Report(ReportArgs),
    Export(ExportArgs),
    Diff(DiffArgs),
    Web(WebArgs),
}

/// Read captures, count and judge every consensus message, report, store
///
/// Several captures are one: their packets are ordered by time, and a packet that stands in two of them counts once.
/// The report goes to standard output, problems go to standard error.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: bftap analyze tap1.pcap --keylog sessions.keylog --nodes nodes.json --json run.json",
    // The one that is made up on the spot lists options of the mistake as if they were required.
    override_usage = "bftap analyze [OPTIONS] <CAPTURE>..."
)]
pub(crate) struct AnalyzeArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,

    #[command(flatten)]
    pub(crate) results: ResultArgs,

    /// Go on where the run before this one ended, and leave here what the next one has to know; made if it is not there
    ///
    /// For a capture that is cut into files: sessions that are open at the end of one file are read on at once in the next, and copies
    /// of payloads that came in an earlier file are repeats. It holds no secret, and only its owner can read it.
    #[arg(long, value_name = "FILE", help_heading = "Part of the capture")]
    pub(crate) checkpoint: Option<PathBuf>,

    /// Play the captures at X times their own speed, and store and show while they play; `--pace 1` is as it was
    ///
    /// What is stored meanwhile is of what was played so far; the report, the JSON and the rows at the end are those of an analysis
    /// without it. Ctrl-C ends it at once.
    #[arg(long, value_name = "X", value_parser = parse::pace, help_heading = "Work")]
    pub(crate) pace: Option<Pace>,
}

/// Print one line per consensus message
///
/// In the order of time, while reading. A reader that closes the pipe (`| head`) ends it at once. Filters of
/// different options must all hold; of one option that is given several times, one must.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: bftap messages tap1.pcap --keylog sessions.keylog --kind commit --sequence 20..30"
)]
pub(crate) struct MessagesArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,

    /// Print JSON, one object a line
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,

    /// Only messages handed over by this node: name, address or IP
    #[arg(long, value_name = "NODE", help_heading = "Filters")]
    pub(crate) sender: Vec<NodeFilter>,

    /// Only messages that reached this node: name, address or IP
    #[arg(long, value_name = "NODE", help_heading = "Filters")]
    pub(crate) receiver: Vec<NodeFilter>,

    /// Only messages signed by this node: name or address
    #[arg(long, value_name = "NODE", help_heading = "Filters")]
    pub(crate) signer: Vec<NodeFilter>,

    /// Only messages of this kind: preprepare, prepare, commit, roundchange
    #[arg(long, value_name = "KIND", help_heading = "Filters")]
    pub(crate) kind: Vec<Kind>,

    /// Only messages of this round, or of rounds A..B, both included
    #[arg(long, value_name = "A..B", help_heading = "Filters")]
    pub(crate) round: Option<Span>,
}

/// What comes out and how the work is done; shared by the commands that count.
#[derive(Args, Debug)]
pub(crate) struct ResultArgs {
    #[command(flatten)]
    pub(crate) store: StoreArgs,

    /// Write the machine-readable report here; `-` is standard output, and then nothing else is printed there
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) json: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) page: PageArgs,

    /// Append each event of a rule to this file, one JSON object a line, as soon as it is found; `-` is standard error (docs/rules.md)
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) events: Option<PathBuf>,
    /// List in --json also the votes that reached everybody in time, or of which loss may hide what became: most of them
    #[arg(long, requires = "json", help_heading = "Output")]
    pub(crate) all_votes: bool,

    /// Serve metrics for Prometheus at http://ADDR/metrics while this runs: for example 127.0.0.1:9464 (docs/metrics.md)
    #[arg(long, value_name = "ADDR", help_heading = "Output")]
    pub(crate) metrics: Option<SocketAddr>,

    /// Worker threads; the answer is the same for any number [default: processors]
    #[arg(long, value_name = "N", value_parser = parse::jobs, help_heading = "Work")]
    pub(crate) jobs: Option<NonZeroUsize>,

    /// Who may talk to whom, as TOML or JSON: what happens against it becomes events (docs/exposure.md)
    #[arg(long, value_name = "FILE", help_heading = "Meaning")]
    pub(crate) policy: Option<PathBuf>,

    /// These nodes' own ports are captured: their coverage is full [default: inferred from the packets]
    #[arg(long, value_name = "IP", help_heading = "Meaning")]
    pub(crate) tapped: Vec<IpAddr>,
}

/// Captures, and how to understand them; shared by the commands that read captures.
#[derive(Args, Debug)]
pub(crate) struct InputArgs {
    /// Capture to read: pcap or pcapng, plain, gzip or zstd; `-` is standard input
    #[arg(required = true, value_name = "CAPTURE")]
    pub(crate) captures: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) keys: KeyArgs,

    #[command(flatten)]
    pub(crate) read: ReadArgs,
}

/// How to understand packets, wherever they come from.
#[derive(Args, Debug)]
pub(crate) struct ReadArgs {
    /// Names of nodes, as JSON: a list of {"name", "ip", "port", "node_id", "address"}, all but the name optional
    #[arg(long, value_name = "FILE", help_heading = "Meaning")]
    pub(crate) nodes: Option<PathBuf>,

    /// Limits, validators, quorum rules and other settings, as TOML (docs/config.md)
    #[arg(long, value_name = "FILE", help_heading = "Meaning")]
    pub(crate) config: Option<PathBuf>,

    /// Dialect of sessions whose Hello is missing: klaytn or quorum-ibft [default: inferred]
    #[arg(long, value_name = "D", value_parser = parse::dialect, help_heading = "Meaning")]
    pub(crate) dialect: Option<&'static str>,

    /// Only messages seen at or after this time: 2026-11-21T10:00:00Z, or seconds since 1970
    #[arg(long, value_name = "TIME", value_parser = parse::time, help_heading = "Part of the capture")]
    pub(crate) from: Option<CaptureTime>,

    /// Only messages seen at or before this time
    #[arg(long, value_name = "TIME", value_parser = parse::time, help_heading = "Part of the capture")]
    pub(crate) to: Option<CaptureTime>,

    /// Only consensus messages of heights A to B, both included: 10..20, 10.., ..20 or 10
    #[arg(long, value_name = "A..B", help_heading = "Part of the capture")]
    pub(crate) sequence: Option<Span>,

    /// Only TCP connections with such a port at either end [default: every connection that looks like RLPx]
    #[arg(long = "port", value_name = "P", value_parser = clap::value_parser!(u16).range(1..),
          help_heading = "Part of the capture")]
    pub(crate) ports: Vec<u16>,

    /// Look for sessions that were joined in the middle as long as they had carried at most so many GiB in each direction
    #[arg(long, value_name = "GIB", default_value_t = 64, help_heading = "Work")]
    pub(crate) attach_search: u32,

    /// Processor time that all these searches together may take, in seconds of one core (counted as 2 GiB each)
    #[arg(long, value_name = "SECONDS", default_value_t = 600, help_heading = "Work")]
    pub(crate) attach_budget: u32,

    /// Do not check the MACs of frames
    #[arg(long, help_heading = "Work")]
    pub(crate) no_mac: bool,

    /// Do not recover signers from signatures: the claimed address is taken as the signer
    #[arg(long, help_heading = "Work")]
    pub(crate) no_signatures: bool,
}

impl ReadArgs {
    /// As if none of them was typed: for commands that read captures as `bftap analyze` does by default.
    pub(crate) fn untyped() -> Self {
        #[derive(Parser)]
        struct Only {
            #[command(flatten)]
            read: ReadArgs,
        }
        // None of them is required.
        Only::parse_from(["bftap"]).read
    }
}

/// Where session secrets come from.
#[derive(Args, Debug)]
pub(crate) struct KeyArgs {
    /// Session secrets: a key log, or a directory of key logs or of files in the original tool's layout; repeatable
    ///
    /// Secrets that stand in a pcapng capture are always used.
    #[arg(long, value_name = "PATH", help_heading = "Meaning")]
    pub(crate) keylog: Vec<PathBuf>,
}

/// Where rows go.
#[derive(Args, Debug)]
pub(crate) struct StoreArgs {
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

    /// Name of the run in the store; a run of the same name is replaced [default: hash of the captures' content, and of the part that was asked for; live: time of the start]
    #[arg(long, value_name = "NAME", value_parser = parse::run_name, help_heading = "Output")]
    pub(crate) run: Option<String>,
}

/// Take one consensus message apart, field by field
///
/// Takes a message as it stands in a frame behind its code, or the payload that is gossiped in it, in hex with or
/// without 0x and with any white space, and says what it is.
#[derive(Args, Debug)]
#[command(after_help = "Example: bftap decode 0xf8b5... or: xxd -p message.bin | bftap decode -")]
pub(crate) struct DecodeArgs {
    /// The message in hex; `-` reads it from standard input
    #[arg(value_name = "HEX")]
    pub(crate) hex: String,

    /// Take it as a message of this dialect: klaytn or quorum-ibft [default: found by trying]
    #[arg(long, value_name = "D", value_parser = parse::dialect)]
    pub(crate) dialect: Option<&'static str>,
}

const EXIT_STATUS: &str = "Exit status: 0 when every capture was read to its end, also where sessions in it could not be opened for \
    want of their secret (the report says so); 1 when a capture could not be read, or something not be written (what could be is \
    still reported); 2 for wrong usage.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    fn analyze(line: &str) -> AnalyzeArgs {
        match parse(line).unwrap().command {
            Command::Analyze(args) => *args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    /// CONTRACT: exactly these commands work now; none is listed that does not.
    #[test]
    fn commands_are_those_of_the_contract() {
        let command = Cli::command();
        let names: Vec<_> = command.get_subcommands().map(clap::Command::get_name).collect();
        assert_eq!(
            names,
            [
                "analyze", "messages", "decode", "evidence", "keys", "guard", "live", "lab", "lab-node",
                "simulate", "store", "report", "export", "diff", "web"
            ]
        );
    }

    #[test]
    fn every_option_is_explained() {
        fn check(command: &clap::Command, path: &str) {
            for argument in command.get_arguments() {
                assert!(
                    argument.get_help().is_some(),
                    "{path} {}: no help",
                    argument.get_id()
                );
            }
            for sub in command.get_subcommands() {
                assert!(sub.get_about().is_some(), "{path} {}: no help", sub.get_name());
                check(sub, &format!("{path} {}", sub.get_name()));
            }
        }
        check(&Cli::command(), "bftap");
    }

    #[test]
    fn options_of_the_contract_are_taken() {
        let args = analyze(
            "bftap analyze a.pcap - --keylog k1 --keylog k2 --nodes n.json --store sqlite://x.db --json - \
             --config c.toml --from 2026-11-21T10:00:00Z --to 2026-11-21T11:00:00Z --sequence 10..20 --port 32323 \
             --port 32324 --dialect quorum-ibft --jobs 3 --tapped 10.0.0.1 --tapped fe80::1 --run night --no-mac \
             --no-signatures --attach-search 128 --attach-budget 60 --pace 0.5 --metrics [::1]:9464 --events -",
        );
        assert_eq!(args.input.captures.len(), 2);
        assert_eq!(args.input.keys.keylog.len(), 2);
        assert_eq!(args.input.read.ports, [32323, 32324]);
        assert_eq!(args.input.read.sequence, Some(Span { first: 10, last: 20 }));
        assert_eq!(args.input.read.dialect, Some("quorum-ibft"));
        assert_eq!(args.results.tapped.len(), 2);
        assert_eq!(args.pace.map(Pace::milli), Some(500));
        assert_eq!(args.results.metrics.map(|address| address.port()), Some(9464));
        assert_eq!(args.results.events.as_deref(), Some(std::path::Path::new("-")));
        assert_eq!(args.results.store.run.as_deref(), Some("night"));
        assert!(args.input.read.no_mac && args.input.read.no_signatures);
        assert_eq!(
            (args.input.read.attach_search, args.input.read.attach_budget),
            (128, 60)
        );
        let args = analyze("bftap analyze a.pcap");
        assert_eq!(
            (args.input.read.attach_search, args.input.read.attach_budget),
            (64, 600)
        );
    }

    #[test]
    fn what_is_not_typed_has_its_default() {
        let args = analyze("bftap analyze a.pcap");
        assert_eq!(
            format!("{:?}", ReadArgs::untyped()),
            format!("{:?}", args.input.read)
        );
    }

    #[test]
    fn wrong_usage_is_refused_before_anything_is_read() {
        for line in [
            "bftap",
            "bftap analyze",
            "bftap analyze a.pcap --jobs 0",
            "bftap analyze a.pcap --port 0",
            "bftap analyze a.pcap --sequence 20..10",
            "bftap analyze a.pcap --from yesterday",
            "bftap analyze a.pcap --tapped cn1",
            "bftap analyze a.pcap --dialect raft",
            "bftap analyze a.pcap --attach-search far",
            "bftap analyze a.pcap --attach-budget -1",
            "bftap evidence 3",
            "bftap evidence -o d",
            "bftap evidence three -o d",
            "bftap evidence --sign-key k",
            "bftap evidence verify",
            "bftap evidence verify d --public-key 02",
            "bftap evidence keygen",
            "bftap messages a.pcap --kind vote",
            "bftap keys check",
            "bftap keys init",
            "bftap keys ship k",
            "bftap keys ship k --to a:1",
            "bftap keys ship --to a:1 --dir d",
            "bftap keys ship k --to a:1 --dir d --cert c --key k --ca a",
            "bftap keys ship k --to a:1 --cert c --key k",
            "bftap keys receive --out o --dir d",
            "bftap keys receive --out o --dir d --listen 9465",
            "bftap simulate",
            "bftap report",
            "bftap analyze a.pcap --web 8787",
            "bftap web --listen localhost:http",
            "bftap web --tls-cert c",
            "bftap web --token-file t",
            "bftap analyze a.pcap --pace 0",
            "bftap analyze a.pcap --pace -1",
            "bftap analyze a.pcap --pace fast",
            "bftap analyze a.pcap --pace NaN",
            "bftap analyze a.pcap --metrics 9464",
            "bftap analyze a.pcap --metrics localhost:http",
            "bftap live",
            "bftap live -i eth0 --duration soon",
            "bftap live -i eth0 --snaplen 10",
            "bftap live -i eth0 --buffer 0",
        ] {
            let error = parse(line).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn help_and_version_are_not_errors() {
        assert_eq!(parse("bftap --help").unwrap_err().exit_code(), 0);
        assert_eq!(parse("bftap --version").unwrap_err().exit_code(), 0);
    }
}
