//! What can be typed behind `bftap simulate`.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use bftap_model::{CaptureTime, Nanos};
use bftap_simnet::client::Client;
use bftap_simnet::{
    CaptureFormat, CaptureLayout, ClockStep, Ending, Gossip, Role, SecretsPlace, SimulateOptions, Taps,
};
use clap::{Args, ValueEnum};

use super::fault::FaultWord;
use super::parse;

/// Write a capture of a simulated network, with its truth and its session secrets
///
/// Validators with real keys dial each other, agree on real session secrets, and send signed Istanbul messages as real
/// clients do. The same options give the same bytes. Beside FILE stand FILE's name with .truth.json (what the nodes
/// decided and what passed the taps), .keylog (session secrets) and .nodes.json (names). Files that are there already stay
/// as they are unless --force is given.
///
/// Times are written with a unit: 150us, 20ms, 10s, 5min, 1h. Nodes are numbered from 1; node 1 is called cn1.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: bftap simulate -o net.pcapng --nodes 7 --sequences 100\n  \
    then:  bftap analyze net.pcapng --keylog net.keylog --nodes net.nodes.json"
)]
pub(crate) struct SimulateArgs {
    /// Capture to write; with --per-tap the name of each file gets the node's name
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    pub(crate) output: PathBuf,

    /// Write over files that are there already, FILE and those beside it
    #[arg(long)]
    pub(crate) force: bool,

    /// Everything random follows from this
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Number of validators, 4 to 100
    #[arg(long, value_name = "N", default_value_t = 7, help_heading = "Network")]
    nodes: usize,

    /// Add a node that is no validator, with this role; repeatable. Its number follows those of the validators
    #[arg(long = "observer", value_enum, value_name = "ROLE", help_heading = "Network")]
    observers: Vec<RoleWord>,

    /// Client that the nodes run; several are dealt out in turn
    #[arg(long = "client", value_name = "CLIENT", value_parser = client, help_heading = "Network",
          default_value = Client::Klaytn1_4.as_str())]
    clients: Vec<Client>,

    /// How consensus messages spread
    #[arg(long, value_enum, default_value_t = GossipWord::Flood, help_heading = "Network")]
    gossip: GossipWord,

    /// Network id in Status
    #[arg(long, value_name = "N", default_value_t = 1000, help_heading = "Network")]
    network_id: u64,

    /// TCP connections for each pair of nodes: 2 is Klaytn's multichannel
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Network")]
    channels: u8,

    /// All nodes dial all others at once, so that some connections are refused or given up
    #[arg(long, help_heading = "Network")]
    simultaneous_dials: bool,

    /// IPv6 addresses (fd00::1 ...) instead of IPv4 (10.0.0.1 ...)
    #[arg(long, help_heading = "Network")]
    ipv6: bool,

    /// Transactions in a block, on average
    #[arg(long, value_name = "N", default_value_t = 3, help_heading = "Network")]
    transactions: usize,

    /// Nothing but consensus: no transactions and blocks between nodes
    #[arg(long, help_heading = "Network")]
    no_background: bool,

    /// HTTP requests from captured nodes to another host, one every second, so many in all
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Network")]
    other_flows: usize,

    /// End once every node that is up has this height [default: 10, unless --duration is given]
    #[arg(long, value_name = "N", help_heading = "Time")]
    sequences: Option<u64>,

    /// End after this time at the latest
    #[arg(long, value_name = "SPAN", value_parser = parse::span, help_heading = "Time")]
    duration: Option<Nanos>,

    /// How the capture ends
    #[arg(long, value_enum, default_value_t = EndingWord::Cut, help_heading = "Time")]
    ending: EndingWord,

    /// Time of the first packet: 2026-11-21T10:00:00Z, or seconds since 1970
    #[arg(long, value_name = "TIME", value_parser = parse::time, default_value = "1795000000",
          help_heading = "Time")]
    start: CaptureTime,

    /// Nodes start at random within this time
    #[arg(long, value_name = "SPAN", value_parser = parse::span, default_value = "200ms", help_heading = "Time")]
    start_spread: Nanos,

    /// From a node's start to the begin of its consensus
    #[arg(long, value_name = "SPAN", value_parser = parse::span, default_value = "2s", help_heading = "Time")]
    warm_up: Nanos,

    /// From one block's time to the next proposal
    #[arg(long, value_name = "SPAN", value_parser = parse::span, default_value = "1s", help_heading = "Time")]
    block_period: Nanos,

    /// Time of round 0; round r has 2^r seconds more
    #[arg(long, value_name = "SPAN", value_parser = parse::span, default_value = "10s", help_heading = "Time")]
    round_timeout: Nanos,

    /// Mean time of a packet from node to node
    #[arg(long, value_name = "SPAN", value_parser = parse::span, default_value = "150us", help_heading = "Time")]
    latency: Nanos,

    /// What a packet may take longer, at random
    #[arg(long, value_name = "SPAN", value_parser = parse::span, default_value = "80us", help_heading = "Time")]
    jitter: Nanos,

    /// What a node takes to handle one consensus message
    #[arg(long, value_name = "SPAN", value_parser = parse::span, default_value = "180us", help_heading = "Time")]
    processing: Nanos,

    /// Capture at this node's port: a number from 1; repeatable [default: at every node's]
    #[arg(long = "tap", value_name = "NODE", help_heading = "Capture")]
    taps: Vec<usize>,

    /// A file for each tap, instead of one for all
    #[arg(long, help_heading = "Capture")]
    per_tap: bool,

    /// Format of the capture [default: as FILE ends, .pcap or .pcapng; pcapng if it has no ending]
    #[arg(long, value_enum, help_heading = "Capture")]
    format: Option<FormatWord>,

    /// Put the session secrets into the capture too (pcapng only)
    #[arg(long, help_heading = "Capture")]
    secrets_in_capture: bool,

    /// Withhold the secret of every N-th captured session
    #[arg(long, value_name = "N", help_heading = "Capture")]
    withhold_secret_every: Option<u64>,

    /// Capture only from this time of the simulation on
    #[arg(long, value_name = "SPAN", value_parser = parse::span, default_value = "0s", help_heading = "Capture")]
    capture_from: Nanos,

    /// 802.1Q tag on every packet
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u16).range(0..4095), help_heading = "Capture")]
    vlan: Option<u16>,

    /// Largest TCP payload of a packet, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 1448, help_heading = "Capture")]
    mss: u16,

    /// Segments lost between two taps and sent again, in a million
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Capture")]
    loss: u32,

    /// Segments that later ones overtake, in a million
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Capture")]
    reordering: u32,

    /// What goes wrong, as NODE:KIND@FROM..UNTIL (UNTIL may be left out); repeatable
    ///
    /// What happens to a node: paused, killed, power-loss, slow=SPAN, cut=NODE (nothing passes between the two, for at most
    /// 25s), lossy-tap=N (packets in a million that its tap loses). What it does: silent, no-proposals, slow-proposals=SPAN,
    /// wrong-signatures, wrong-addresses, equivocation, conflicting-commits, stale-rounds, partial=PEERS, oversized=BYTES,
    /// churn=SPAN (connects and goes so often), flood=RATE[:same|future|stale|round-changes|undecodable] (messages a second),
    /// and of an observer: votes, false-key=NODE (shows that node's key in Hello). Example: --fault 3:paused@30s..45s
    #[arg(long = "fault", value_name = "FAULT", help_heading = "Faults")]
    faults: Vec<FaultWord>,

    /// At this height links fail so that two honest nodes lock different blocks (GoQuorum's issue 305)
    #[arg(long, value_name = "HEIGHT", help_heading = "Faults")]
    conflicting_locks: Option<u64>,

    /// At this time all nodes stop and come back with a new genesis block
    #[arg(long, value_name = "SPAN", value_parser = parse::span, help_heading = "Faults")]
    reinitialize: Option<Nanos>,

    /// Step the capture's clock, as AT:BY, BY may be negative; repeatable. Example: --clock-step 20s:-500ms
    #[arg(
        long = "clock-step",
        value_name = "STEP",
        allow_hyphen_values = true,
        help_heading = "Faults"
    )]
    clock_steps: Vec<ClockStepWord>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum GossipWord {
    /// Each node passes on what it accepts to all who are not known to have it, as Klaytn and GoQuorum do
    Flood,
    /// Each message goes from its author to every other validator, once
    Direct,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RoleWord {
    /// A consensus node without a vote
    Cn,
    /// An endpoint node
    En,
    /// A proxy node
    Pn,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum EndingWord {
    /// In the middle of things, as when capturing stops
    Cut,
    /// The nodes quit one after the other, with Disconnect
    Quit,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FormatWord {
    /// pcap with microseconds
    Pcap,
    /// pcap with nanoseconds
    PcapNanos,
    /// pcapng with nanoseconds, an interface for each tap
    Pcapng,
}

/// `20s:-500ms`.
#[derive(Clone, Copy, Debug)]
struct ClockStepWord(ClockStep);

impl SimulateArgs {
    /// What the options mean; the error is for the user.
    pub(crate) fn options(&self) -> Result<SimulateOptions, String> {
        let format = self.capture_format()?;
        if self.taps.contains(&0) || self.faults.iter().any(|fault| fault.0.node == usize::MAX) {
            return Err(format!(
                "there is no node 0: nodes are numbered from 1 to {}",
                self.nodes + self.observers.len()
            ));
        }
        if self.secrets_in_capture && format != CaptureFormat::Pcapng {
            return Err(
                "a pcap file cannot hold secrets: leave out --secrets-in-capture, or write a .pcapng file"
                    .to_owned(),
            );
        }
        Ok(SimulateOptions {
            seed: self.seed,
            nodes: self.nodes,
            observers: self
                .observers
                .iter()
                .map(|role| match role {
                    RoleWord::Cn => Role::Consensus,
                    RoleWord::En => Role::Endpoint,
                    RoleWord::Pn => Role::Proxy,
                })
                .collect(),
            clients: self.clients.clone(),
            gossip: match self.gossip {
                GossipWord::Flood => Gossip::Flood,
                GossipWord::Direct => Gossip::Direct,
            },
            sequences: self.sequences.or(if self.duration.is_none() {
                Some(DEFAULT_SEQUENCES)
            } else {
                None
            }),
            duration: self.duration,
            ending: match self.ending {
                EndingWord::Cut => Ending::Cut,
                EndingWord::Quit => Ending::Quit,
            },
            network_id: self.network_id,
            start: self.start,
            start_spread: self.start_spread,
            warm_up: self.warm_up,
            block_period: self.block_period,
            round_timeout: self.round_timeout,
            latency: self.latency,
            jitter: self.jitter,
            processing: self.processing,
            transactions: self.transactions,
            background: !self.no_background,
            channels: self.channels,
            simultaneous_dials: self.simultaneous_dials,
            ipv6: self.ipv6,
            vlan: self.vlan,
            mss: self.mss,
            loss: self.loss,
            reordering: self.reordering,
            taps: if self.taps.is_empty() {
                Taps::All
            } else {
                Taps::Only(self.taps.iter().map(|node| node - 1).collect())
            },
            layout: if self.per_tap {
                CaptureLayout::PerTap
            } else {
                CaptureLayout::Together
            },
            format,
            secrets: if self.secrets_in_capture {
                SecretsPlace::KeyLogAndCapture
            } else {
                SecretsPlace::KeyLog
            },
            capture_from: self.capture_from,
            withhold_secret_every: self.withhold_secret_every,
            faults: self.faults.iter().map(|fault| fault.0).collect(),
            conflicting_locks: self.conflicting_locks,
            reinitialize: self.reinitialize,
            clock_steps: self.clock_steps.iter().map(|step| step.0).collect(),
            other_flows: self.other_flows,
        })
    }

    /// What the user asks for, else what the file's name promises: readers believe a name.
    fn capture_format(&self) -> Result<CaptureFormat, String> {
        let ending = ending(&self.output);
        if matches!(ending.as_deref(), Some("gz" | "zst")) {
            return Err("simulate does not compress what it writes: leave out the ending, then run gzip or zstd on the file, \
                        or write to a name ending in .pcap or .pcapng"
                .to_owned());
        }
        match (self.format, ending.as_deref()) {
            (Some(FormatWord::Pcap), _) | (None, Some("pcap")) => Ok(CaptureFormat::Pcap),
            (Some(FormatWord::PcapNanos), _) => Ok(CaptureFormat::PcapNanos),
            (Some(FormatWord::Pcapng), _) | (None, Some("pcapng") | None) => Ok(CaptureFormat::Pcapng),
            (None, Some(other)) => Err(format!(
                "which format is .{other}? End FILE in .pcap or .pcapng, or say --format"
            )),
        }
    }
}

/// What stands behind the name's last dot, in lower case.
fn ending(path: &Path) -> Option<String> {
    path.extension()
        .map(|ending| ending.to_string_lossy().to_ascii_lowercase())
}

fn client(text: &str) -> Result<Client, String> {
    Client::ALL
        .into_iter()
        .find(|client| client.as_str() == text)
        .ok_or_else(|| {
            let names: Vec<_> = Client::ALL.iter().map(|client| client.as_str()).collect();
            format!("no such client; there are {}", names.join(", "))
        })
}

impl FromStr for ClockStepWord {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (at, by) = text
            .split_once(':')
            .ok_or("write AT:BY, for example 20s:-500ms")?;
        let by = match by.strip_prefix('-') {
            Some(back) => Nanos(-parse::span(back)?.0),
            None => parse::span(by)?,
        };
        Ok(Self(ClockStep {
            at: parse::span(at)?,
            by,
        }))
    }
}

/// Blocks when nothing says when to end.
const DEFAULT_SEQUENCES: u64 = 10;

#[cfg(test)]
mod tests {
    use bftap_simnet::{Fault, FaultKind};
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        args: SimulateArgs,
    }

    fn args_for(output: &str, line: &str) -> Result<SimulateArgs, clap::Error> {
        Only::try_parse_from(["x", "-o", output].into_iter().chain(line.split_whitespace()))
            .map(|only| only.args)
    }

    fn args(line: &str) -> Result<SimulateArgs, clap::Error> {
        args_for("a.pcapng", line)
    }

    #[test]
    fn the_defaults_are_those_of_the_simulator() {
        let ours = args("").unwrap().options().unwrap();
        assert_eq!(format!("{ours:?}"), format!("{:?}", SimulateOptions::default()));
    }

    #[test]
    fn options_reach_the_simulator() {
        let options = args(
            "--nodes 4 --observer pn --conflicting-locks 5 --client quorum-20.10 --client quorum-24.4 --duration 30s --tap 1 --tap 4 --per-tap --vlan 7 \
             --fault 3:paused@10s..15s --fault 1:slow=20ms@0s --clock-step 5s:-1s --no-background --gossip direct",
        )
        .unwrap()
        .options()
        .unwrap();
        assert_eq!(options.check(), Ok(()));
        assert_eq!(options.sequences, None);
        assert_eq!(options.duration, Some(Nanos::from_secs(30)));
        assert_eq!(options.taps, Taps::Only(vec![0, 3]));
        assert_eq!(options.clients.len(), 2);
        assert_eq!(options.observers, [Role::Proxy]);
        assert_eq!(options.conflicting_locks, Some(5));
        assert_eq!(
            options.faults,
            [
                Fault {
                    node: 2,
                    from: Nanos::from_secs(10),
                    until: Some(Nanos::from_secs(15)),
                    kind: FaultKind::Paused
                },
                Fault {
                    node: 0,
                    from: Nanos(0),
                    until: None,
                    kind: FaultKind::Slow(Nanos::from_millis(20))
                },
            ]
        );
        assert_eq!(
            options.clock_steps,
            [ClockStep {
                at: Nanos::from_secs(5),
                by: Nanos::from_secs(-1)
            }]
        );
    }

    #[test]
    fn nonsense_is_refused() {
        for line in [
            "--client parity",
            "--duration 10",
            "--duration 10parsecs",
            "--fault paused",
            "--fault 1:bored@1s",
            "--fault x:paused@1s",
            "--clock-step 1s",
            "--format cap",
            "--vlan 4095",
        ] {
            assert!(args(line).is_err(), "{line}");
        }
        let refused = |line: &str| args(line).unwrap().options().unwrap_err();
        assert!(refused("--tap 0").contains("no node 0"));
        assert!(refused("--fault 0:paused@1s").contains("no node 0"));
        assert!(refused("--secrets-in-capture --format pcap").contains("cannot hold secrets"));
        assert!(args("--secrets-in-capture").unwrap().options().is_ok());
    }

    #[test]
    fn the_format_is_what_the_name_promises() {
        let format = |output: &str, line: &str| {
            let options = args_for(output, line).unwrap().options();
            options.map(|options| options.format)
        };
        assert_eq!(format("a.pcap", ""), Ok(CaptureFormat::Pcap));
        assert_eq!(format("out.d/A.PCAP", ""), Ok(CaptureFormat::Pcap));
        assert_eq!(format("a.b.pcapng", ""), Ok(CaptureFormat::Pcapng));
        assert_eq!(format("out.d/a", ""), Ok(CaptureFormat::Pcapng));
        // Whoever names a format gets it.
        assert_eq!(format("a.pcap", "--format pcapng"), Ok(CaptureFormat::Pcapng));
        assert_eq!(
            format("a.pcap", "--format pcap-nanos"),
            Ok(CaptureFormat::PcapNanos)
        );
        assert_eq!(format("a.cap", "--format pcap"), Ok(CaptureFormat::Pcap));
        assert!(format("a.cap", "").unwrap_err().contains(".cap?"));
        for output in ["a.pcap.gz", "a.pcapng.zst", "a.GZ"] {
            for line in ["", "--format pcap"] {
                assert!(
                    format(output, line).unwrap_err().contains("does not compress"),
                    "{output}"
                );
            }
        }
        assert!(
            format("a.pcap", "--secrets-in-capture")
                .unwrap_err()
                .contains("cannot hold secrets")
        );
    }
}
