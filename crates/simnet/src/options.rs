//! What to simulate.

mod fault;

use bftap_model::{CaptureTime, Nanos};

use crate::capture::{CaptureFormat, SecretsPlace};
use crate::client::Client;
use crate::consensus::MAX_VALIDATORS;

pub use fault::{Fault, FaultKind, FloodOf, Role};

/// A simulated network and what of it is captured. The same options give the same bytes on every machine.
///
/// Times are counted from the start of the simulation. Nodes are numbered from 0; node 0 is called `cn1`.
#[derive(Clone, Debug)]
pub struct SimulateOptions {
    /// Everything random follows from this.
    pub seed: u64,
    /// Number of validators, 4 to 100.
    pub nodes: usize,
    /// Nodes besides the validators: they follow the chain and have no vote. Their numbers follow those of the validators.
    pub observers: Vec<Role>,
    /// Clients of the nodes, dealt out in turn; all of one dialect. The first decides on the form of blocks.
    pub clients: Vec<Client>,
    /// How consensus messages spread.
    pub gossip: Gossip,
    /// End once every node that is up has this height.
    pub sequences: Option<u64>,
    /// End after this time, at the latest. At least one of the two ends must be given.
    pub duration: Option<Nanos>,
    /// How the end looks.
    pub ending: Ending,
    /// Network id in Status.
    pub network_id: u64,
    /// Capture time at the start of the simulation.
    pub start: CaptureTime,
    /// Nodes start at random within this time; who is dialled before it started refuses.
    pub start_spread: Nanos,
    /// From a node's start to the begin of its consensus.
    pub warm_up: Nanos,
    /// From one block's time to the next proposal.
    pub block_period: Nanos,
    /// Time of round 0; round r has `2^r` seconds more.
    pub round_timeout: Nanos,
    /// Mean time of a packet from node to node; each pair of nodes has its own, between half and one and a half of it.
    pub latency: Nanos,
    /// What a packet may take longer, at random.
    pub jitter: Nanos,
    /// What a node's consensus takes for one message.
    pub processing: Nanos,
    /// Transactions in a block, on average.
    pub transactions: usize,
    /// Besides consensus, nodes exchange transactions and blocks.
    pub background: bool,
    /// TCP connections for each pair of nodes: 1, or 2 (Klaytn's multichannel: transactions have their own).
    pub channels: u8,
    /// All nodes dial all others at once; else the node with the lower number dials.
    pub simultaneous_dials: bool,
    /// IPv6 (`fd00::1` and so on) instead of IPv4 (`10.0.0.1`).
    pub ipv6: bool,
    /// 802.1Q tag on every packet.
    pub vlan: Option<u16>,
    /// Largest TCP payload of a packet.
    pub mss: u16,
    /// Segments that are lost between the taps of sender and receiver and sent again, in a million.
    pub loss: u32,
    /// Segments that are overtaken by later ones, in a million.
    pub reordering: u32,
    /// Whose ports are captured.
    pub taps: Taps,
    /// One file, or one for each tap.
    pub layout: CaptureLayout,
    /// Format of the capture.
    pub format: CaptureFormat,
    /// Whether the capture holds the secrets, too.
    pub secrets: SecretsPlace,
    /// Capture only from here on: sessions that are older are joined in the middle.
    pub capture_from: Nanos,
    /// The secret of every so-manyth captured session is not logged.
    pub withhold_secret_every: Option<u64>,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// At this height links fail so that two honest nodes lock different blocks (GoQuorum's issue 305): in round 0 the prepares
    /// reach one node only, in round 1 another one only, each time until all have left the round.
    pub conflicting_locks: Option<u64>,
    /// At this time all nodes stop and come back with a new genesis block.
    pub reinitialize: Option<Nanos>,
    /// Steps of the clock that stamps the packets.
    pub clock_steps: Vec<ClockStep>,
    /// HTTP requests from captured nodes to another host, one every second, so many in all.
    pub other_flows: usize,
}

/// How consensus messages spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gossip {
    /// As Klaytn and GoQuorum do: each node passes on what it accepts to all who are not known to have it.
    #[default]
    Flood,
    /// Each message goes from its author to every other validator, once.
    Direct,
}

/// How the end of the capture looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ending {
    /// Cut in the middle of things, as when the capturing stops.
    #[default]
    Cut,
    /// The nodes quit one after the other, with Disconnect.
    Quit,
}

/// Whose ports are captured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Taps {
    /// Every node's: each packet stands in the capture twice.
    #[default]
    All,
    /// These nodes'.
    Only(Vec<usize>),
}

/// What goes into which file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CaptureLayout {
    /// All taps in one file.
    #[default]
    Together,
    /// A file for each tap.
    PerTap,
}

/// A step of the clock that stamps the packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockStep {
    /// When.
    pub at: Nanos,
    /// How far; negative is back.
    pub by: Nanos,
}

impl Default for SimulateOptions {
    /// Seven Klaytn v1.4.2 nodes, ten blocks, captured at every port.
    fn default() -> Self {
        Self {
            seed: 1,
            nodes: 7,
            observers: Vec::new(),
            clients: vec![Client::Klaytn1_4],
            gossip: Gossip::Flood,
            sequences: Some(10),
            duration: None,
            ending: Ending::Cut,
            network_id: 1000,
            start: CaptureTime::from_nanos(1_795_000_000_000_000_000),
            start_spread: Nanos::from_millis(200),
            warm_up: Nanos::from_secs(2),
            block_period: Nanos::from_secs(1),
            round_timeout: Nanos::from_secs(10),
            latency: Nanos(150_000),
            jitter: Nanos(80_000),
            processing: Nanos(180_000),
            transactions: 3,
            background: true,
            channels: 1,
            simultaneous_dials: false,
            ipv6: false,
            vlan: None,
            mss: 1448,
            loss: 0,
            reordering: 0,
            taps: Taps::All,
            layout: CaptureLayout::Together,
            format: CaptureFormat::Pcapng,
            secrets: SecretsPlace::KeyLog,
            capture_from: Nanos(0),
            withhold_secret_every: None,
            faults: Vec::new(),
            conflicting_locks: None,
            reinitialize: None,
            clock_steps: Vec::new(),
            other_flows: 0,
        }
    }
}

/// Options that cannot be simulated; the text says what to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// Too few or too many nodes.
    #[error("{nodes} nodes: choose between {MIN_NODES} and {MAX_NODES}")]
    Nodes {
        /// Nodes wanted.
        nodes: usize,
    },
    /// Too many nodes that are no validators.
    #[error("{observers} observers: choose at most {MAX_OBSERVERS}")]
    Observers {
        /// Observers wanted.
        observers: usize,
    },
    /// A fault that only the other sort of nodes can have, or a link from a node to itself.
    #[error("{node} cannot have this fault: {fault}")]
    NotOfThisNode {
        /// Its name.
        node: String,
        /// The fault, as options write it.
        fault: String,
    },
    /// No client, or clients that do not understand each other.
    #[error("choose one client or several of one family (klaytn and kaia, or quorum)")]
    Clients,
    /// Nothing says when to stop.
    #[error("say when to stop: a number of sequences, a duration, or both")]
    NoEnd,
    /// A tap or a fault at a node that is not there.
    ///
    /// The text counts from 1, as the names of the nodes do (`cn1`).
    #[error("there is no node {}: nodes are numbered from 1 to {}", node.saturating_add(1), last.saturating_add(1))]
    NoSuchNode {
        /// Its number, counted from 0.
        node: usize,
        /// The highest number, counted from 0.
        last: usize,
    },
    /// Nothing is captured.
    #[error("choose at least one tap")]
    NoTaps,
    /// Only Klaytn has several connections for each pair of nodes.
    #[error("{channels} connections for each pair of nodes: choose 1, or 2 with a Klaytn client")]
    Channels {
        /// Connections wanted.
        channels: u8,
    },
    /// A time or a size out of its range.
    #[error("{option} is out of range: choose {range}")]
    OutOfRange {
        /// Name of the option.
        option: &'static str,
        /// What may be chosen.
        range: &'static str,
    },
    /// Not as many capture sinks as files.
    #[error("{expected} capture files are to be written, {found} sinks were given")]
    Sinks {
        /// Files of these options.
        expected: usize,
        /// Sinks given.
        found: usize,
    },
}

impl SimulateOptions {
    /// Validators and observers.
    pub fn hosts(&self) -> usize {
        self.nodes + self.observers.len()
    }

    /// Name of a node of this network: `cn1` for the first validator, like `en8` for an observer.
    pub fn name_of(&self, node: usize) -> String {
        match node.checked_sub(self.nodes).and_then(|at| self.observers.get(at)) {
            Some(role) => format!("{}{}", role.as_str(), node + 1),
            None => Self::node_name(node),
        }
    }

    /// The nodes whose ports are captured, ascending.
    pub fn tapped(&self) -> Vec<usize> {
        match &self.taps {
            Taps::All => (0..self.hosts()).collect(),
            Taps::Only(nodes) => {
                let mut nodes = nodes.clone();
                nodes.sort_unstable();
                nodes.dedup();
                nodes
            }
        }
    }

    /// Name of a validator.
    pub fn node_name(node: usize) -> String {
        format!("cn{}", node + 1)
    }

    /// Names of the capture files, without ending: `capture`, or one for each tap, like `cn1`.
    pub fn capture_names(&self) -> Vec<String> {
        match self.layout {
            CaptureLayout::Together => vec!["capture".to_owned()],
            CaptureLayout::PerTap => self.tapped().into_iter().map(|node| self.name_of(node)).collect(),
        }
    }

    /// Says what cannot be simulated.
    pub fn check(&self) -> Result<(), OptionsError> {
        if !(MIN_NODES..=MAX_NODES).contains(&self.nodes) {
            return Err(OptionsError::Nodes { nodes: self.nodes });
        }
        let dialect = self.clients.first().ok_or(OptionsError::Clients)?.dialect();
        if self.clients.iter().any(|client| client.dialect() != dialect) {
            return Err(OptionsError::Clients);
        }
        if self.sequences.is_none() && self.duration.is_none() {
            return Err(OptionsError::NoEnd);
        }
        let tapped = self.tapped();
        if tapped.is_empty() {
            return Err(OptionsError::NoTaps);
        }
        if self.observers.len() > MAX_OBSERVERS {
            return Err(OptionsError::Observers {
                observers: self.observers.len(),
            });
        }
        let last = self.hosts() - 1;
        let other_ends = self.faults.iter().filter_map(|fault| match fault.kind {
            FaultKind::Cut(node) | FaultKind::FalseKey(node) => Some(node),
            _ => None,
        });
        let mut named = tapped
            .into_iter()
            .chain(self.faults.iter().map(|fault| fault.node))
            .chain(other_ends);
        if let Some(node) = named.find(|&node| node > last) {
            return Err(OptionsError::NoSuchNode { node, last });
        }
        if let Some(fault) = self.faults.iter().find(|fault| !self.may_have(fault)) {
            return Err(OptionsError::NotOfThisNode {
                node: self.name_of(fault.node),
                fault: fault.kind.to_string(),
            });
        }
        let multichannel = dialect == crate::consensus::Dialect::Klaytn;
        if !(self.channels == 1 || (self.channels == 2 && multichannel)) {
            return Err(OptionsError::Channels {
                channels: self.channels,
            });
        }
        self.check_ranges()
    }

    /// Observers have no votes to forge; validators need no pretext to vote.
    fn may_have(&self, fault: &Fault) -> bool {
        let observer = fault.node >= self.nodes;
        match fault.kind {
            FaultKind::Paused
            | FaultKind::Killed
            | FaultKind::PowerLoss
            | FaultKind::Flood(..)
            | FaultKind::Churn(_)
            | FaultKind::LossyTap(_) => true,
            FaultKind::Cut(other) => other != fault.node,
            FaultKind::Votes => observer,
            FaultKind::FalseKey(other) => observer && other != fault.node,
            _ => !observer,
        }
    }

    fn check_ranges(&self) -> Result<(), OptionsError> {
        let spans = [
            (
                "duration",
                self.duration.unwrap_or(Nanos(1)),
                1,
                YEAR,
                "more than 0, at most a year",
            ),
            ("start-spread", self.start_spread, 0, HOUR, "0 to an hour"),
            ("warm-up", self.warm_up, 0, HOUR, "0 to an hour"),
            ("block-period", self.block_period, MILLI, HOUR, "1 ms to an hour"),
            (
                "round-timeout",
                self.round_timeout,
                MILLI,
                HOUR,
                "1 ms to an hour",
            ),
            ("latency", self.latency, 0, MINUTE, "0 to a minute"),
            ("jitter", self.jitter, 0, MINUTE, "0 to a minute"),
            ("processing", self.processing, 0, MINUTE, "0 to a minute"),
            ("capture-from", self.capture_from, 0, YEAR, "0 to a year"),
            (
                "reinitialize",
                self.reinitialize.unwrap_or(Nanos(0)),
                0,
                YEAR,
                "0 to a year",
            ),
        ];
        let faults = self.faults.iter().flat_map(|fault| {
            let until = fault.until.unwrap_or(fault.from);
            let slow = match fault.kind {
                FaultKind::Slow(extra) | FaultKind::SlowProposals(extra) => extra,
                _ => Nanos(0),
            };
            let every = match fault.kind {
                FaultKind::Churn(every) => every,
                _ => Nanos(MINUTE),
            };
            // A longer cut would end sessions, which is another fault.
            let cut = match fault.kind {
                FaultKind::Cut(_) => Nanos(fault.until.map_or(HOUR, |until| until.0 - fault.from.0)),
                _ => Nanos(0),
            };
            [
                (
                    "fault",
                    every,
                    10 * MILLI,
                    HOUR,
                    "a connection at most every 10 ms",
                ),
                (
                    "fault",
                    cut,
                    0,
                    LONGEST_CUT,
                    "a link that is cut for at most 25 seconds",
                ),
                ("fault", fault.from, 0, YEAR, "times from 0 to a year"),
                (
                    "fault",
                    until,
                    fault.from.0,
                    YEAR,
                    "an end behind its begin, within a year",
                ),
                ("fault", slow, 0, MINUTE, "a delay of at most a minute"),
            ]
        });
        let steps = self.clock_steps.iter().flat_map(|step| {
            [
                ("clock-step", step.at, 0, YEAR, "a time from 0 to a year"),
                ("clock-step", step.by, -YEAR, YEAR, "a step of at most a year"),
            ]
        });
        for (option, span, low, high, range) in spans.into_iter().chain(faults).chain(steps) {
            if !(low..=high).contains(&span.0) {
                return Err(OptionsError::OutOfRange { option, range });
            }
        }
        let numbers = [
            ("mss", u64::from(self.mss), 1, 65_000, "1 to 65000"),
            ("transactions", self.transactions as u64, 0, 20_000, "0 to 20000"),
            ("loss", self.loss.into(), 0, 500_000, "0 to 500000 in a million"),
            (
                "reordering",
                self.reordering.into(),
                0,
                500_000,
                "0 to 500000 in a million",
            ),
            (
                "conflicting-locks",
                self.conflicting_locks.unwrap_or(2),
                2,
                u64::MAX,
                "a height from 2 on",
            ),
            (
                "withhold-secret-every",
                self.withhold_secret_every.unwrap_or(1),
                1,
                u64::MAX,
                "1 or more",
            ),
        ];
        let of_faults = self.faults.iter().filter_map(|fault| match fault.kind {
            FaultKind::Flood(rate, _) => {
                Some(("fault", rate.into(), 1, MAX_RATE, "1 to 100000 messages a second"))
            }
            FaultKind::Oversized(bytes) => {
                Some(("fault", bytes.into(), 1, MAX_OVERSIZED, "1 to 16000000 bytes"))
            }
            FaultKind::LossyTap(share) => Some((
                "fault",
                share.into(),
                0,
                1_000_000,
                "0 to 1000000 packets in a million",
            )),
            _ => None,
        });
        for (option, value, low, high, range) in numbers.into_iter().chain(of_faults) {
            if !(low..=high).contains(&value) {
                return Err(OptionsError::OutOfRange { option, range });
            }
        }
        let start = self.start.nanos();
        // Behind the epoch, so that steps back stay there, and before pcap's seconds end.
        if !(YEAR..=4_000_000_000 * SECOND).contains(&start) {
            return Err(OptionsError::OutOfRange {
                option: "start",
                range: "1971 to 2096",
            });
        }
        Ok(())
    }
}

/// Fewest nodes: below four, Istanbul bears no fault.
pub const MIN_NODES: usize = 4;
/// Most nodes.
pub const MAX_NODES: usize = 100;
/// Most nodes that are no validators.
pub const MAX_OBSERVERS: usize = 20;
const _: () = assert!(MAX_NODES + MAX_OBSERVERS < MAX_VALIDATORS);

/// A flood's messages a second.
const MAX_RATE: u64 = 100_000;
/// A frame holds no more (`MAX_FRAME_SIZE`), and Snappy needs some of it.
const MAX_OVERSIZED: u64 = 16_000_000;
/// Below the 30 seconds after which a node that hears nothing gives a session up.
const LONGEST_CUT: i64 = 25 * SECOND;

const MILLI: i64 = 1_000_000;
const SECOND: i64 = 1_000_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const YEAR: i64 = 365 * 24 * HOUR;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_can_be_simulated() {
        assert_eq!(SimulateOptions::default().check(), Ok(()));
    }

    #[test]
    fn what_cannot_be_simulated_is_refused() {
        let refused = |change: fn(&mut SimulateOptions)| {
            let mut options = SimulateOptions::default();
            change(&mut options);
            options.check().unwrap_err()
        };
        assert_eq!(refused(|o| o.nodes = 3), OptionsError::Nodes { nodes: 3 });
        assert_eq!(
            refused(|o| o.observers = vec![Role::Endpoint; 21]),
            OptionsError::Observers { observers: 21 }
        );
        assert_eq!(refused(|o| o.clients.clear()), OptionsError::Clients);
        assert_eq!(
            refused(|o| o.clients.push(Client::Quorum20_10)),
            OptionsError::Clients
        );
        assert_eq!(refused(|o| o.sequences = None), OptionsError::NoEnd);
        assert_eq!(refused(|o| o.taps = Taps::Only(vec![])), OptionsError::NoTaps);
        assert_eq!(
            refused(|o| o.taps = Taps::Only(vec![7])),
            OptionsError::NoSuchNode { node: 7, last: 6 }
        );
        assert_eq!(
            refused(|o| o.taps = Taps::Only(vec![7])).to_string(),
            "there is no node 8: nodes are numbered from 1 to 7",
            "node 0 is called cn1"
        );
        assert_eq!(
            refused(|o| o.channels = 3),
            OptionsError::Channels { channels: 3 }
        );
        assert!(matches!(
            refused(|o| o.mss = 0),
            OptionsError::OutOfRange { option: "mss", .. }
        ));
        assert!(matches!(
            refused(|o| o.latency = Nanos(-1)),
            OptionsError::OutOfRange { .. }
        ));
    }

    #[test]
    fn faults_must_fit_their_nodes() {
        let with = |node, kind, until| {
            let fault = Fault {
                node,
                kind,
                from: Nanos(0),
                until: Some(Nanos::from_secs(until)),
            };
            let options = SimulateOptions {
                observers: vec![Role::Proxy],
                faults: vec![fault],
                ..SimulateOptions::default()
            };
            options.check()
        };
        assert_eq!(with(7, FaultKind::Votes, 20), Ok(()));
        assert_eq!(with(7, FaultKind::Flood(10, FloodOf::Undecodable), 20), Ok(()));
        assert_eq!(with(0, FaultKind::Cut(6), 20), Ok(()));
        assert_eq!(
            with(8, FaultKind::Votes, 20),
            Err(OptionsError::NoSuchNode { node: 8, last: 7 })
        );
        for (node, kind) in [
            (0, FaultKind::Votes),
            (7, FaultKind::Equivocation),
            (3, FaultKind::Cut(3)),
        ] {
            assert!(matches!(
                with(node, kind, 20),
                Err(OptionsError::NotOfThisNode { .. })
            ));
        }
        for (kind, until) in [
            (FaultKind::Cut(6), 26),
            (FaultKind::Churn(Nanos(1)), 20),
            (FaultKind::Flood(0, FloodOf::Same), 20),
            (FaultKind::Oversized(17_000_000), 20),
        ] {
            assert!(
                matches!(with(0, kind, until), Err(OptionsError::OutOfRange { .. })),
                "{kind}"
            );
        }
    }
}
