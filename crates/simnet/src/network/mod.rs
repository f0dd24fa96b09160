//! A network in virtual time: nodes, connections, packets, faults, and what of it is captured.
//!
//! One thread, one queue of events. The same options give the same bytes: all randomness comes from the seed, and nothing
//! depends on the order of a hash map or on the machine's clock.

mod event;
mod node;
mod session;
mod tcp;
mod traffic;
mod truth;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use bftap_model::{Hash256, keccak256};
use hashbrown::HashMap;
use serde::Serialize;

use self::event::{ConnIndex, Event, NodeIndex, Queue, Time};
use self::node::{ChainBlock, ChainHead, Node, Tap};
use self::session::Session;
use self::tcp::{Conn, EndState, Latencies};
use self::truth::{ChainIndex, Closing, Receiver, TruthBook};
use crate::capture::SecretsPlace;
use crate::capture::file::CaptureWriter;
use crate::consensus::{Config, HeaderForm};
use crate::devp2p::DisconnectReason;
use crate::key::NodeKey;
use crate::options::{CaptureLayout, Ending, Fault, FaultKind, OptionsError, SimulateOptions};
use crate::prng::Prng;

/// Where the results of a simulation go. Each gets many small writes: give buffered ones.
pub struct Sinks<'a> {
    /// The captures, one for each of [`SimulateOptions::capture_names`], in that order.
    pub captures: Vec<Box<dyn Write + 'a>>,
    /// The key log. It holds the secrets of the simulated sessions.
    pub key_log: Box<dyn Write + 'a>,
    /// Names, addresses and keys of the nodes, as JSON.
    pub nodes: Box<dyn Write + 'a>,
    /// The truth, as JSON.
    pub truth: Box<dyn Write + 'a>,
}

/// What came out of a simulation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Packets written, in all captures.
    pub packets: u64,
    /// Bytes written, in all captures.
    pub bytes: u64,
    /// Consensus messages that the captures hold whole.
    pub messages: u64,
    /// Highest height that all nodes which are up have reached, on the last chain.
    pub height: u64,
    /// Virtual time that passed, in nanoseconds.
    pub nanos: u64,
}

/// Why a simulation did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// The options make no sense.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// A sink failed.
    #[error("writing the simulation: {0}")]
    Write(#[from] io::Error),
}

/// Simulates a network and writes what is captured of it, the secrets, the nodes, and the truth.
///
/// Memory does not grow with the length of the capture, but for some ten bytes a height and the list of sessions.
pub fn simulate(options: &SimulateOptions, sinks: Sinks<'_>) -> Result<Summary, SimulateError> {
    options.check()?;
    let names = options.capture_names();
    if names.len() != sinks.captures.len() {
        return Err(OptionsError::Sinks {
            expected: names.len(),
            found: sinks.captures.len(),
        }
        .into());
    }
    let mut network = Network::new(options, sinks)?;
    network.run()?;
    Ok(network.finish()?)
}

struct Network<'a> {
    options: &'a SimulateOptions,
    now: Time,
    queue: Queue,
    prng: Prng,
    /// Validators, and behind them a host that is none.
    nodes: Vec<Node>,
    node_of_validator: Vec<NodeIndex>,
    configs: Vec<Arc<Config>>,
    header_form: HeaderForm,
    conns: Vec<Option<Box<Conn>>>,
    latencies: Latencies,
    chains: Vec<Chain>,
    /// Decided blocks of the last heights.
    ledger: BTreeMap<(ChainIndex, u64), Arc<ChainBlock>>,
    /// When blocks of the last minutes were made.
    block_times: HashMap<Hash256, Time>,
    mempool: Vec<Vec<u8>>,
    consensus_start: Time,
    dial_start: Time,
    capture_from: Time,
    captures: Vec<CaptureWriter<'a>>,
    key_log: Box<dyn Write + 'a>,
    truth: TruthBook<'a>,
    frames: u64,
    refused: u64,
    other_flows: u64,
    other_flows_started: usize,
    secured_sessions: u64,
    ending: bool,
    ended: bool,
    /// A sink that failed inside an event.
    failed: Option<io::Error>,
}

struct Chain {
    genesis: Hash256,
}

#[derive(Serialize)]
struct NodeEntry<'n> {
    name: &'n str,
    ip: IpAddr,
    port: u16,
    node_id: String,
    address: String,
}

impl<'a> Network<'a> {
    fn new(options: &'a SimulateOptions, sinks: Sinks<'a>) -> io::Result<Self> {
        let mut nodes = make_nodes(options);
        let entries: Vec<NodeEntry<'_>> = nodes.iter().map(NodeEntry::of).collect();
        let mut out = sinks.nodes;
        serde_json::to_writer_pretty(&mut out, &entries)?;
        out.write_all(b"\n")?;
        out.flush()?;

        let mut node_of_validator: Vec<NodeIndex> = (0..nodes.len()).collect();
        node_of_validator.sort_by_key(|&node| nodes[node].key.address());
        for (validator, &node) in node_of_validator.iter().enumerate() {
            nodes[node].validator = validator;
        }
        let validators: Vec<_> = node_of_validator
            .iter()
            .map(|&node| nodes[node].key.address())
            .collect();
        let configs = nodes
            .iter()
            .map(|node| {
                Arc::new(Config {
                    dialect: node.client.dialect(),
                    validators: validators.clone(),
                    quorum: node.client.quorum(options.nodes),
                    round_timeout: options.round_timeout,
                })
            })
            .collect();
        let receivers = nodes
            .iter()
            .map(|node| Receiver {
                name: node.name.clone(),
                ip: node.ip,
                address: node.key.address(),
            })
            .collect();
        let captures = open_captures(options, sinks.captures, &mut nodes)?;
        let header_form = nodes[0].client.header_form();
        nodes.push(other_host(options));

        let mut prng = Prng::derive(options.seed, "network", 0);
        let span = |nanos: bftap_model::Nanos| nanos.0.max(0).cast_unsigned();
        let latencies = Latencies::new(
            nodes.len(),
            span(options.latency),
            span(options.jitter),
            &mut prng,
        );
        let mut network = Self {
            options,
            now: 0,
            queue: Queue::default(),
            prng,
            nodes,
            node_of_validator,
            configs,
            header_form,
            conns: Vec::new(),
            latencies,
            chains: Vec::new(),
            ledger: BTreeMap::new(),
            block_times: HashMap::new(),
            mempool: Vec::new(),
            consensus_start: span(options.start_spread) + span(options.warm_up),
            dial_start: span(options.start_spread) + 1_000_000,
            capture_from: span(options.capture_from),
            captures,
            key_log: sinks.key_log,
            truth: TruthBook::new(sinks.truth, receivers)?,
            frames: 0,
            refused: 0,
            other_flows: 0,
            other_flows_started: 0,
            secured_sessions: 0,
            ending: false,
            ended: false,
            failed: None,
        };
        network.new_chain();
        network.schedule();
        Ok(network)
    }

    /// Puts what is known beforehand into the queue.
    fn schedule(&mut self) {
        let options = self.options;
        let spread = options.start_spread.0.cast_unsigned();
        for node in 0..options.nodes {
            let at = self.prng.between(0, spread);
            self.queue.push(at, Event::Start(node));
        }
        for fault in &options.faults {
            let from = fault.from.0.cast_unsigned();
            match fault.kind {
                FaultKind::Killed | FaultKind::PowerLoss | FaultKind::Paused => {
                    self.queue.push(from, Event::Stop(fault.node, fault.kind));
                }
                FaultKind::Silent
                | FaultKind::NoProposals
                | FaultKind::Slow(_)
                | FaultKind::WrongSignatures
                | FaultKind::WrongAddresses
                | FaultKind::Equivocation => continue,
            }
            if let (Some(until), false) = (fault.until, fault.kind == FaultKind::Paused) {
                self.queue.push(until.0.cast_unsigned(), Event::Start(fault.node));
            }
        }
        if let Some(at) = options.reinitialize {
            self.queue.push(at.0.cast_unsigned(), Event::Reinitialize);
        }
        if let Some(at) = options.duration {
            self.queue.push(at.0.cast_unsigned(), Event::End);
        }
        if options.background && options.transactions > 0 {
            self.queue.push(self.consensus_start, Event::Transactions);
        }
        if options.other_flows > 0 {
            self.queue.push(500_000_000, Event::OtherFlow);
        }
        self.queue.push(SWEEP_INTERVAL, Event::Sweep);
    }

    fn run(&mut self) -> io::Result<()> {
        while !self.ended {
            let Some((time, event)) = self.queue.pop() else {
                break;
            };
            self.now = time;
            self.happen(event)?;
            if let Some(error) = self.failed.take() {
                return Err(error);
            }
        }
        Ok(())
    }

    fn happen(&mut self, event: Event) -> io::Result<()> {
        match event {
            Event::Depart(segment) => self.depart(segment)?,
            Event::Arrive(segment) => self.arrive(segment)?,
            Event::Bulk { conn, side, end } => self.bulk(conn, side.into(), end),
            Event::AckTimer { conn, side } => self.ack_timer(conn, side.into()),
            Event::Deliver { conn, side, delivery } => self.deliver(conn, side.into(), *delivery),
            Event::SynTimer { conn, attempt } => self.syn_timer(conn, attempt),
            Event::Ping { conn, side } => self.ping(conn, side.into()),
            Event::ReadTimeout { conn, side } => {
                self.disconnect(conn, side.into(), DisconnectReason::ReadTimeout);
            }
            Event::Reap(conn) => self.reap(conn),
            Event::Dial {
                node,
                epoch,
                peer,
                channel,
            } => self.dial_peer(node, epoch, peer, channel),
            Event::CoreStart { node, epoch } => self.core_start(node, epoch),
            Event::Core { node, epoch, message } => self.core_message(node, epoch, &message),
            Event::Timer { node, epoch, token } => self.core_timer(node, epoch, token),
            Event::Request { node, epoch, height } => self.request(node, epoch, height),
            Event::Import {
                node,
                epoch,
                committed,
            } => {
                self.import(node, epoch, *committed);
                self.end_if_reached();
            }
            Event::Fetch { node, epoch, block } => {
                self.fetch(node, epoch, block);
                self.end_if_reached();
            }
            Event::Transactions => self.send_transactions(),
            Event::OtherFlow => self.other_flow(),
            Event::Start(node) => {
                if !self.nodes[node].running && !self.ending {
                    self.start_node(node);
                }
            }
            Event::Stop(node, kind) => self.stop(node, kind),
            Event::Reinitialize => self.reinitialize(),
            Event::Quit(node) => self.quit(node),
            Event::End => self.end(),
            Event::Sweep => {
                self.queue.push(self.now + SWEEP_INTERVAL, Event::Sweep);
                self.sweep()?;
                self.end_if_reached();
            }
        }
        Ok(())
    }

    /// A fault stops a node.
    fn stop(&mut self, index: NodeIndex, kind: FaultKind) {
        let until = self.options.faults.iter().find(|fault| {
            fault.node == index && fault.kind == kind && fault.from.0.cast_unsigned() == self.now
        });
        let until = until
            .and_then(|fault| fault.until)
            .map(|until| until.0.cast_unsigned());
        let node = &mut self.nodes[index];
        if kind == FaultKind::Paused {
            node.paused_until = until.unwrap_or(Time::MAX);
            node.gone = until.is_none();
            return;
        }
        node.gone = until.is_none();
        self.kill(index, kind == FaultKind::PowerLoss);
    }

    /// A node's process is no more. With the power gone, too, nothing tells its peers.
    fn kill(&mut self, index: NodeIndex, power_loss: bool) {
        let node = &mut self.nodes[index];
        node.running = false;
        node.powered = !power_loss;
        node.core = None;
        node.paused_until = 0;
        for (conn, side) in self.connections_of(index) {
            if power_loss {
                let timeout = READ_TIMEOUT + self.prng.below(1_000_000_000);
                let event = Event::ReadTimeout {
                    conn,
                    side: 1 - side as u8,
                };
                self.queue.push(self.now + timeout, event);
                continue;
            }
            if self.prng.chance(TORN_FRAMES) {
                self.tear(conn, side);
            }
            self.close(conn, side);
        }
    }

    /// A node leaves in good order.
    fn quit(&mut self, index: NodeIndex) {
        for (conn, side) in self.connections_of(index) {
            self.disconnect(conn, side, DisconnectReason::Quitting);
        }
        let node = &mut self.nodes[index];
        node.running = false;
        node.core = None;
    }

    /// Open connections of a node, and its side of each.
    fn connections_of(&self, index: NodeIndex) -> Vec<(ConnIndex, usize)> {
        let open = self
            .conns
            .iter()
            .enumerate()
            .filter_map(|(conn, entry)| Some((conn, entry.as_ref()?)));
        open.flat_map(|(conn, entry)| {
            let ours =
                |side: &usize| entry.ends[*side].node == index && entry.ends[*side].state == EndState::Open;
            [0, 1]
                .into_iter()
                .filter(ours)
                .map(move |side| (conn as ConnIndex, side))
        })
        .collect()
    }

    /// All nodes stop, forget their chain, and start on a new one.
    fn reinitialize(&mut self) {
        for index in 0..self.options.nodes {
            self.kill(index, false);
        }
        self.dial_start = self.now + REINITIALIZE_TIME + self.options.start_spread.0.cast_unsigned();
        self.consensus_start = self.dial_start + self.options.warm_up.0.cast_unsigned();
        self.new_chain();
        for index in 0..self.options.nodes {
            if !self.nodes[index].gone {
                let spread = self.options.start_spread.0.cast_unsigned();
                let at = self.now + REINITIALIZE_TIME + self.prng.between(0, spread);
                self.queue.push(at, Event::Start(index));
            }
        }
    }

    fn new_chain(&mut self) {
        let number = self.chains.len() as u64;
        let entropy: [u8; 32] = Prng::derive(self.options.seed, "genesis", number).bytes();
        let genesis = keccak256(&entropy);
        let chain = self.truth.chain(format!("{}/{genesis}", self.options.network_id));
        self.chains.push(Chain { genesis });
        self.mempool.clear();
        let period = self.options.block_period.0.cast_unsigned();
        let time = (self.consensus_start + FIRST_PROPOSAL).saturating_sub(period);
        for node in &mut self.nodes {
            node.chain = chain;
            node.head = ChainHead {
                number: 0,
                hash: genesis,
                proposer: None,
                time,
            };
        }
    }

    /// Ends the simulation once every node that is up has the last height.
    fn end_if_reached(&mut self) {
        let last_chain = self.options.reinitialize.is_none() || self.chains.len() > 1;
        if let Some(sequences) = self.options.sequences
            && last_chain
            && self.height() >= sequences
            && !self.ending
        {
            // The last messages still arrive.
            self.ending = true;
            self.queue.push(self.now + LAST_MESSAGES, Event::End);
        }
    }

    fn end(&mut self) {
        self.ending = true;
        let all_left = self.nodes[..self.options.nodes].iter().all(|node| !node.running);
        if self.options.ending == Ending::Cut || all_left {
            self.ended = true;
            return;
        }
        let mut at = self.now;
        for index in 0..self.options.nodes {
            if self.nodes[index].running {
                self.queue.push(at, Event::Quit(index));
                at += QUIT_GAP;
            }
        }
        self.queue.push(at + QUIT_GAP, Event::End);
    }

    /// Height that every node which is up has.
    fn height(&self) -> u64 {
        let up = self.nodes[..self.options.nodes]
            .iter()
            .filter(|node| node.running && node.paused_until <= self.now);
        up.map(|node| node.head.number).min().unwrap_or(0)
    }

    /// Lets go of what nobody will ask for again.
    fn sweep(&mut self) -> io::Result<()> {
        let nodes = &self.nodes[..self.options.nodes];
        let chain = self.chains.len() - 1;
        let lowest = nodes
            .iter()
            .filter(|node| !node.gone)
            .map(|node| node.head.number)
            .min()
            .unwrap_or(0);
        let highest = nodes.iter().map(|node| node.head.number).max().unwrap_or(0);
        let quiet = self.now.saturating_sub(QUIET_TIME);
        self.truth
            .close(chain, lowest.saturating_sub(HEIGHTS_BEHIND), quiet)?;
        let kept = (chain, highest.saturating_sub(LEDGER_HEIGHTS));
        self.ledger = self.ledger.split_off(&kept);
        let now = self.now;
        self.block_times.retain(|_, time| *time + BLOCK_TIMES > now);
        Ok(())
    }

    /// A captured node asks the other host for a page.
    fn other_flow(&mut self) {
        self.other_flows_started += 1;
        if self.other_flows_started < self.options.other_flows {
            self.queue.push(self.now + 1_000_000_000, Event::OtherFlow);
        }
        let tapped = self.options.tapped();
        let from = tapped[self.other_flows_started % tapped.len()];
        let host = self.options.nodes;
        self.dial(from, host, HTTP_PORT, Session::http(self.nodes[from].client));
    }

    /// The faults that a node has now.
    fn active_faults(&self, index: NodeIndex) -> impl Iterator<Item = FaultKind> + '_ {
        let now = self.now.cast_signed();
        let active = move |fault: &&Fault| {
            fault.node == index && fault.from.0 <= now && fault.until.is_none_or(|until| now < until.0)
        };
        self.options.faults.iter().filter(active).map(|fault| fault.kind)
    }

    /// What the clock that stamps the packets shows, in nanoseconds since the epoch.
    fn capture_time(&self, at: Time) -> i64 {
        let at = at.cast_signed();
        let steps = self.options.clock_steps.iter().filter(|step| step.at.0 <= at);
        self.options.start.nanos() + at + steps.map(|step| step.by.0).sum::<i64>()
    }

    /// Writes a line of the key log; `first` tells that the other end has not logged the session yet.
    fn log_line(&mut self, line: &str, ends: [NodeIndex; 2], first: bool) -> io::Result<()> {
        self.key_log.write_all(line.as_bytes())?;
        if first && self.options.secrets == SecretsPlace::KeyLogAndCapture {
            let mut files: Vec<usize> = ends
                .iter()
                .filter_map(|&node| Some(self.nodes[node].tap?.file))
                .collect();
            files.dedup();
            for file in files {
                self.captures[file].secrets(line)?;
            }
        }
        Ok(())
    }

    fn finish(mut self) -> io::Result<Summary> {
        for conn in 0..self.conns.len() {
            self.reap(conn as ConnIndex);
        }
        for capture in &mut self.captures {
            capture.finish()?;
        }
        self.key_log.flush()?;
        let summary = Summary {
            packets: self.captures.iter().map(|capture| capture.packets).sum(),
            bytes: self.captures.iter().map(|capture| capture.bytes).sum(),
            messages: self.truth.messages,
            height: self.height(),
            nanos: self.now,
        };
        let closing = Closing {
            packets: self.captures.iter().map(|capture| capture.packets).collect(),
            bytes: self.captures.iter().map(|capture| capture.bytes).collect(),
            refused: self.refused,
            other_flows: self.other_flows,
            frames: self.frames,
            consensus_messages: self.truth.messages,
        };
        let options = self.options;
        let capture_time = |at: Time| {
            let steps = options
                .clock_steps
                .iter()
                .filter(|step| step.at.0 <= at.cast_signed());
            options.start.nanos() + at.cast_signed() + steps.map(|step| step.by.0).sum::<i64>()
        };
        self.truth.finish(&closing, capture_time)?;
        Ok(summary)
    }
}

impl<'n> NodeEntry<'n> {
    fn of(node: &'n Node) -> Self {
        Self {
            name: &node.name,
            ip: node.ip,
            port: node.client.port(),
            node_id: node.key.id().to_hex(),
            address: node.key.address().to_string(),
        }
    }
}

fn make_nodes(options: &SimulateOptions) -> Vec<Node> {
    let clients = options.clients.iter().cycle();
    (0..options.nodes)
        .zip(clients)
        .map(|(index, &client)| {
            let key = NodeKey::draw(&mut Prng::derive(options.seed, "node key", index as u64));
            let last = index as u8 + 1;
            Node::new(
                SimulateOptions::node_name(index),
                ip(options.ipv6, last),
                mac(last),
                key,
                client,
            )
        })
        .collect()
}

/// A host that runs something else.
fn other_host(options: &SimulateOptions) -> Node {
    let key = NodeKey::draw(&mut Prng::derive(options.seed, "other host", 0));
    let last = 250;
    let mut host = Node::new(
        "other".to_owned(),
        ip(options.ipv6, last),
        mac(last),
        key,
        options.clients[0],
    );
    host.running = true;
    host.gone = true;
    host
}

fn ip(v6: bool, last: u8) -> IpAddr {
    if v6 {
        Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last.into()).into()
    } else {
        Ipv4Addr::new(10, 0, 0, last).into()
    }
}

/// A locally administered address.
const fn mac(last: u8) -> [u8; 6] {
    [0x02, 0, 0, 0, 0, last]
}

fn open_captures<'a>(
    options: &SimulateOptions,
    sinks: Vec<Box<dyn Write + 'a>>,
    nodes: &mut [Node],
) -> io::Result<Vec<CaptureWriter<'a>>> {
    let tapped = options.tapped();
    let names: Vec<String> = tapped.iter().map(|&node| nodes[node].name.clone()).collect();
    for (position, &node) in tapped.iter().enumerate() {
        nodes[node].tap = Some(match options.layout {
            CaptureLayout::Together => Tap {
                file: 0,
                interface: position as u32,
            },
            CaptureLayout::PerTap => Tap {
                file: position,
                interface: 0,
            },
        });
    }
    let interfaces = |file: usize| match options.layout {
        CaptureLayout::Together => &names[..],
        CaptureLayout::PerTap => &names[file..=file],
    };
    sinks
        .into_iter()
        .enumerate()
        .map(|(file, sink)| CaptureWriter::new(sink, options.format, interfaces(file)))
        .collect()
}

/// From the begin of consensus on a new chain to the first proposal.
const FIRST_PROPOSAL: Time = 100_000_000;
/// From the last block to the end of the capture.
const LAST_MESSAGES: Time = 60_000_000;
const QUIT_GAP: Time = 20_000_000;
const REINITIALIZE_TIME: Time = 1_500_000_000;
/// A node hears nothing for so long before it gives a session up (`frameReadTimeout`).
const READ_TIMEOUT: Time = 30_000_000_000;
/// How often, in a million, a killed process dies in the middle of a frame.
const TORN_FRAMES: u32 = 500_000;
const HTTP_PORT: u16 = 80;
const SWEEP_INTERVAL: Time = 1_000_000_000;
/// A height is over when all nodes are so far beyond it, and nothing of it was seen for the quiet time.
const HEIGHTS_BEHIND: u64 = 16;
const QUIET_TIME: Time = 10_000_000_000;
const LEDGER_HEIGHTS: u64 = 256;
const BLOCK_TIMES: Time = 600_000_000_000;
