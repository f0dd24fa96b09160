//! A network in virtual time: nodes, connections, packets, faults, and what of it is captured.
//!
//! One thread, one queue of events. The same options give the same bytes: all randomness comes from the seed, and nothing
//! depends on the order of a hash map or on the machine's clock.

mod blocks;
mod conn;
mod event;
mod faults;
mod frame_log;
mod links;
mod messages;
mod misbehaviour;
mod node;
mod session;
mod setup;
mod tap;
mod tcp;
mod traffic;
mod truth;
mod validator;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use bftap_model::{Hash256, keccak256};
use hashbrown::HashMap;

use self::blocks::{ChainBlock, ChainHead};
use self::conn::{Conn, Latencies};
use self::event::{ConnIndex, Event, NodeIndex, Queue, Time};
pub use self::frame_log::{LoggedFrame, LoggedMessage};
use self::links::LockScript;
use self::node::Node;
use self::session::Session;
use self::setup::{NodeEntry, make_nodes, open_captures, other_host};
use self::truth::{ChainIndex, Closing, Deed, DeedBy, Receiver, TruthBook};
use crate::capture::SecretsPlace;
use crate::capture::file::CaptureWriter;
use crate::consensus::{Config, HeaderForm};
use crate::devp2p::DisconnectReason;
use crate::options::{Ending, FaultKind, OptionsError, SimulateOptions};
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
    /// Height that all nodes have reached, but for those that failed for good; on the last chain.
    pub height: u64,
    /// Virtual time that passed, in nanoseconds.
    pub nanos: u64,
    /// The network stood still for ten minutes of virtual time before the wanted height, so the simulation ended there: too
    /// many nodes failed, or the chain split (with 5 or 6 nodes a quorum of 2F+1 allows that).
    pub stalled: bool,
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
/// Memory does not grow with the length of the capture, but for about a hundred bytes a height and the list of sessions.
pub fn simulate(options: &SimulateOptions, sinks: Sinks<'_>) -> Result<Summary, SimulateError> {
    run(options, sinks, None)
}

/// [`simulate`], and tells of each whole frame on captured connections where in its stream it lies, as it is written.
///
/// What is simulated and captured does not depend on who listens.
pub fn simulate_with_frames<'a>(
    options: &'a SimulateOptions,
    sinks: Sinks<'a>,
    frames: &'a mut (dyn FnMut(LoggedFrame) + 'a),
) -> Result<Summary, SimulateError> {
    run(options, sinks, Some(frames))
}

type FrameLog<'a> = &'a mut (dyn FnMut(LoggedFrame) + 'a);

fn run<'a>(
    options: &'a SimulateOptions,
    sinks: Sinks<'a>,
    frame_log: Option<FrameLog<'a>>,
) -> Result<Summary, SimulateError> {
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
    network.frame_log = frame_log;
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
    /// Some tap loses packets, decided by dice of their own: the network does not notice.
    lossy_taps: bool,
    tap_prng: Prng,
    lock_script: Option<LockScript>,
    /// Messages that were due of each fault that is a flood.
    flood_sent: Vec<u64>,
    /// Messages of each fault that is a flood, and connections of each that is a coming and going.
    turns: Vec<u64>,
    frame_log: Option<FrameLog<'a>>,
    frames: u64,
    refused: u64,
    other_flows: u64,
    other_flows_started: usize,
    secured_sessions: u64,
    ending: bool,
    ended: bool,
    stalled: bool,
    /// Greatest height so far, and when it was reached.
    progress: (u64, Time),
    /// A sink that failed inside an event.
    failed: Option<io::Error>,
}

struct Chain {
    genesis: Hash256,
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
        // Observers have the places behind.
        node_of_validator[..options.nodes].sort_by_key(|&node| nodes[node].key.address());
        for (validator, &node) in node_of_validator.iter().enumerate() {
            nodes[node].validator = validator;
        }
        let validators: Vec<_> = node_of_validator[..options.nodes]
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
                    commits_prepare: node.client.commits_prepare(),
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
            lossy_taps: options
                .faults
                .iter()
                .any(|fault| matches!(fault.kind, FaultKind::LossyTap(_))),
            tap_prng: Prng::derive(options.seed, "lossy taps", 0),
            lock_script: options.conflicting_locks.map(LockScript::new),
            flood_sent: vec![0; options.faults.len()],
            turns: vec![0; options.faults.len()],
            frame_log: None,
            frames: 0,
            refused: 0,
            other_flows: 0,
            other_flows_started: 0,
            secured_sessions: 0,
            ending: false,
            ended: false,
            stalled: false,
            progress: (0, 0),
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
        for node in 0..options.hosts() {
            let at = self.prng.between(0, spread);
            self.queue.push(at, Event::Start(node));
        }
        for (number, fault) in options.faults.iter().enumerate() {
            let from = fault.from.0.cast_unsigned();
            match fault.kind {
                FaultKind::Flood(..) => {
                    self.queue.push(from, Event::Flood(number));
                    continue;
                }
                FaultKind::Churn(_) => {
                    self.queue.push(from, Event::Visit(number));
                    continue;
                }
                FaultKind::Killed | FaultKind::PowerLoss | FaultKind::Paused => {
                    self.queue.push(from, Event::Stop(fault.node, fault.kind));
                }
                // These act when their node does.
                _ => continue,
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
            Event::Arrive(segment) => self.arrive(*segment)?,
            Event::Bulk { conn, side, end } => self.bulk(conn, side.into(), end),
            Event::AckTimer { conn, side } => self.ack_timer(conn, side.into()),
            Event::Deliver { conn, side, delivery } => self.deliver(conn, side.into(), *delivery),
            Event::SynTimer { conn, attempt } => self.syn_timer(conn, attempt),
            Event::Ping { conn, side } => self.ping(conn, side.into()),
            Event::ReadTimeout { conn, side } => {
                self.disconnect(conn, side.into(), DisconnectReason::ReadTimeout);
            }
            Event::Probe { conn, side, attempt } => self.probe(conn, side.into(), attempt),
            Event::Flood(fault) => self.flood(fault),
            Event::Visit(fault) => self.visit(fault),
            Event::Propose { node, epoch, view } => self.propose_late(node, epoch, view),
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
                self.end_if_stalled();
            }
        }
        Ok(())
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

    /// Ends a simulation that would never come to its end.
    fn end_if_stalled(&mut self) {
        let height = self.height();
        let restarts = self.options.reinitialize.map_or(0, |at| at.0.cast_unsigned());
        if height != self.progress.0 || self.now < restarts {
            self.progress = (height, self.now);
        }
        if self.options.sequences.is_some() && self.now > self.progress.1 + STALL && !self.ending {
            self.stalled = true;
            self.queue.push(self.now, Event::End);
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
        let all_left = self.nodes[..self.options.hosts()]
            .iter()
            .all(|node| !node.running);
        if self.options.ending == Ending::Cut || all_left {
            self.ended = true;
            return;
        }
        let mut at = self.now;
        for index in 0..self.options.hosts() {
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

    /// Height that every node has which is up or will be again.
    fn lowest_head(&self) -> u64 {
        let nodes = self.nodes[..self.options.nodes].iter().filter(|node| !node.gone);
        nodes.map(|node| node.head.number).min().unwrap_or(0)
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
        let host = self.options.hosts();
        self.dial(from, host, HTTP_PORT, Session::http(self.nodes[from].client));
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
            height: self.lowest_head(),
            nanos: self.now,
            stalled: self.stalled,
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
        for (number, step) in options.clock_steps.iter().enumerate() {
            let deed = Deed {
                chain: 0,
                node: None,
                kind: format!("clock-step={}ms", step.by.0 / 1_000_000),
                by_node: false,
                until: None,
                view: None,
                by_height: false,
                count: 1,
            };
            if step.at.0 <= self.now.cast_signed() {
                self.truth
                    .deed(step.at.0.cast_unsigned(), DeedBy::ClockStep(number), deed);
            }
        }
        self.truth.finish(&closing, capture_time)?;
        Ok(summary)
    }
}

/// From the begin of consensus on a new chain to the first proposal.
const FIRST_PROPOSAL: Time = 100_000_000;
/// From the last block to the end of the capture.
const LAST_MESSAGES: Time = 60_000_000;
/// Ten minutes; round timeouts alone take that long after nine failed rounds.
const STALL: Time = 600_000_000_000;
const QUIT_GAP: Time = 20_000_000;
const HTTP_PORT: u16 = 80;
const SWEEP_INTERVAL: Time = 1_000_000_000;
/// A height is over when all nodes are so far beyond it, and nothing of it was seen for the quiet time.
const HEIGHTS_BEHIND: u64 = 16;
const QUIET_TIME: Time = 10_000_000_000;
const LEDGER_HEIGHTS: u64 = 256;
const BLOCK_TIMES: Time = 600_000_000_000;
