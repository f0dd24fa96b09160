//! The truth beside a capture, written down when it happens and never decoded back.
//!
//! A message counts when its whole frame has passed a tap, on its way to the receiver. Heights that no node can return to
//! leave memory: their rows are written out at once.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::Arc;

use bftap_ibft_decode::{Kind, View};
use bftap_model::{Address, Endpoint, Hash256};
use hashbrown::HashMap;
use serde::Serialize;

use super::event::Time;
use crate::consensus::{NodeSet, SignedMessage};

/// Number of a chain: each new genesis block begins another.
pub(super) type ChainIndex = usize;

/// Collects the truth.
pub(super) struct TruthBook<'a> {
    out: Box<dyn Write + 'a>,
    rows_written: u64,
    nodes: Vec<Receiver>,
    chains: Vec<String>,
    open: BTreeMap<(ChainIndex, u64), Height>,
    copies: BTreeMap<IpAddr, BTreeMap<u32, u64>>,
    codes: BTreeMap<u64, u64>,
    rounds: BTreeMap<(ChainIndex, u64, u64), Round>,
    sessions: Vec<SessionTruth>,
    deeds: BTreeMap<(DeedBy, Option<ChainIndex>, Option<u64>), DeedSum>,
    /// Messages counted so far.
    pub(super) messages: u64,
}

/// A node at the receiving end.
#[derive(Clone, Debug)]
pub(super) struct Receiver {
    pub(super) name: String,
    pub(super) ip: IpAddr,
    pub(super) address: Address,
}

/// Why something is not as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum DeedBy {
    /// A fault, by its place in the options.
    Fault(usize),
    /// The links that make two nodes lock different blocks, by the round.
    LockScript(u64),
    /// All nodes begin a new chain.
    Reinitialize,
    /// The clock that stamps the packets, by the place of the step in the options.
    ClockStep(usize),
}

/// Something that a node decided to do wrong, or that the scenario did to it.
pub(super) struct Deed {
    pub(super) chain: ChainIndex,
    pub(super) node: Option<usize>,
    /// As options write it.
    pub(super) kind: String,
    /// The node itself decided it; else it is the scenario's.
    pub(super) by_node: bool,
    /// How long it lasts, where that is known beforehand.
    pub(super) until: Option<Time>,
    /// Which view it is about.
    pub(super) view: Option<View>,
    /// Each height has an entry of its own.
    pub(super) by_height: bool,
    /// Messages, packets or connections concerned.
    pub(super) count: u64,
}

struct DeedSum {
    node: Option<usize>,
    kind: String,
    by_node: bool,
    from: Time,
    until: Time,
    sequences: Option<[u64; 2]>,
    rounds: Option<[u64; 2]>,
    count: u64,
}

#[derive(Default)]
struct Height {
    rows: BTreeMap<(usize, u64, Kind), Row>,
    payloads: HashMap<Hash256, Vec<(u8, u32)>>,
    touched: Time,
}

#[derive(Default)]
struct Row {
    messages: u64,
    useful: u64,
    repeats: u64,
    echoes: u64,
    invalid: u64,
    bytes: u64,
}

#[derive(Default)]
struct Round {
    proposer: Option<Address>,
    deciders: NodeSet,
    time: Option<Time>,
    transactions: usize,
}

#[derive(Serialize)]
struct CountRow<'t> {
    chain: &'t str,
    receiver: IpAddr,
    sequence: u64,
    round: u64,
    kind: &'static str,
    messages: u64,
    useful: u64,
    repeats: u64,
    echoes: u64,
    invalid: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct RoundRow<'t> {
    chain: &'t str,
    sequence: u64,
    round: u64,
    proposer: Option<String>,
    decided_ns: Option<i64>,
    deciders: Vec<&'t str>,
    transactions: usize,
}

#[derive(Serialize)]
struct DecisionRow<'t> {
    node: Option<&'t str>,
    kind: &'t str,
    by: &'static str,
    chain: Option<&'t str>,
    from_ns: i64,
    until_ns: i64,
    sequences: Option<[u64; 2]>,
    rounds: Option<[u64; 2]>,
    count: u64,
}

/// One TCP connection of which packets were captured.
#[derive(Clone, Debug, Serialize)]
pub(super) struct SessionTruth {
    #[serde(serialize_with = "shown")]
    pub(super) client: Endpoint,
    #[serde(serialize_with = "shown")]
    pub(super) server: Endpoint,
    /// Stream bytes captured, the client's first.
    pub(super) bytes: [u64; 2],
    pub(super) state: &'static str,
    pub(super) attached: &'static str,
    pub(super) preamble: u8,
    /// Frames captured whole, the client's first.
    pub(super) frames: [u64; 2],
    pub(super) caps: Vec<(&'static str, &'static [(&'static str, u32)])>,
    pub(super) chain: Option<String>,
}

fn shown<S: serde::Serializer>(endpoint: &Endpoint, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(endpoint)
}

/// What the simulation says at its end.
#[derive(Debug, Serialize)]
pub(super) struct Closing {
    pub(super) packets: Vec<u64>,
    pub(super) bytes: Vec<u64>,
    pub(super) refused: u64,
    pub(super) other_flows: u64,
    pub(super) frames: u64,
    pub(super) consensus_messages: u64,
}

impl<'a> TruthBook<'a> {
    pub(super) fn new(mut out: Box<dyn Write + 'a>, nodes: Vec<Receiver>) -> io::Result<Self> {
        out.write_all(b"{\n\"counts\": [")?;
        Ok(Self {
            out,
            rows_written: 0,
            nodes,
            chains: Vec::new(),
            open: BTreeMap::new(),
            copies: BTreeMap::new(),
            codes: BTreeMap::new(),
            rounds: BTreeMap::new(),
            sessions: Vec::new(),
            deeds: BTreeMap::new(),
            messages: 0,
        })
    }

    pub(super) fn chain(&mut self, name: String) -> ChainIndex {
        self.chains.push(name);
        self.chains.len() - 1
    }

    pub(super) fn chain_name(&self, chain: ChainIndex) -> &str {
        &self.chains[chain]
    }

    /// A frame was captured whole.
    pub(super) fn frame(&mut self, code: u64) {
        *self.codes.entry(code).or_default() += 1;
    }

    /// A consensus message was captured whole.
    pub(super) fn message(
        &mut self,
        now: Time,
        chain: ChainIndex,
        receiver: usize,
        message: &SignedMessage,
        frame_bytes: u64,
    ) {
        self.messages += 1;
        let height = self.open.entry((chain, message.view.sequence)).or_default();
        height.touched = now;
        let row = height
            .rows
            .entry((receiver, message.view.round, message.kind))
            .or_default();
        let copies = height.payloads.entry(message.payload_hash).or_default();
        let echo = message.signer == Some(self.nodes[receiver].address);
        row.messages += 1;
        row.bytes += frame_bytes;
        row.invalid += u64::from(!message.honest);
        match copies.iter_mut().find(|(node, _)| usize::from(*node) == receiver) {
            Some((_, copies)) => {
                *copies += 1;
                row.repeats += u64::from(!echo);
            }
            None => {
                copies.push((receiver as u8, 1));
                row.useful += u64::from(!echo);
            }
        }
        row.echoes += u64::from(echo);
    }

    /// Someone proposed a block, perhaps one that another validator sealed in an earlier round.
    pub(super) fn proposed(&mut self, chain: ChainIndex, view: View, proposer: Address) {
        self.rounds
            .entry((chain, view.sequence, view.round))
            .or_default()
            .proposer = Some(proposer);
    }

    /// A node decided.
    pub(super) fn decided(
        &mut self,
        now: Time,
        chain: ChainIndex,
        round: u64,
        block: &Arc<crate::consensus::Proposal>,
        node: usize,
    ) {
        let entry = self.rounds.entry((chain, block.number(), round)).or_default();
        entry.deciders.insert(node);
        entry.time.get_or_insert(now);
        entry.transactions = block.transaction_count();
    }

    /// A node does something wrong, or the scenario something to it.
    pub(super) fn deed(&mut self, now: Time, by: DeedBy, deed: Deed) {
        let sequence = deed.view.map(|view| view.sequence);
        let chain = (!matches!(by, DeedBy::ClockStep(_))).then_some(deed.chain);
        let key = (by, chain, sequence.filter(|_| deed.by_height));
        let sum = self.deeds.entry(key).or_insert_with(|| DeedSum {
            node: deed.node,
            kind: deed.kind,
            by_node: deed.by_node,
            from: now,
            until: now,
            sequences: None,
            rounds: None,
            count: 0,
        });
        sum.until = sum.until.max(deed.until.unwrap_or(now));
        sum.count += deed.count;
        if let Some(view) = deed.view {
            let widen = |span: &mut Option<[u64; 2]>, value: u64| {
                let [low, high] = span.unwrap_or([value, value]);
                *span = Some([low.min(value), high.max(value)]);
            };
            widen(&mut sum.sequences, view.sequence);
            widen(&mut sum.rounds, view.round);
        }
    }

    pub(super) fn session(&mut self, session: SessionTruth) {
        self.sessions.push(session);
    }

    /// Writes out the heights below `sequence` that were left alone since `quiet`.
    pub(super) fn close(&mut self, chain: ChainIndex, sequence: u64, quiet: Time) -> io::Result<()> {
        while let Some(entry) = self.open.first_entry() {
            if *entry.key() >= (chain, sequence) || entry.get().touched > quiet {
                break;
            }
            let (key, height) = entry.remove_entry();
            self.write_height(key, &height)?;
        }
        Ok(())
    }

    /// Writes the rest.
    pub(super) fn finish(mut self, closing: &Closing, capture_time: impl Fn(Time) -> i64) -> io::Result<()> {
        while let Some((key, height)) = self.open.pop_first() {
            self.write_height(key, &height)?;
        }
        self.out.write_all(b"\n],\n\"copies_per_unique_message\": ")?;
        write_json(&mut self.out, &self.copies)?;
        self.out.write_all(b",\n\"codes\": ")?;
        write_json(&mut self.out, &self.codes)?;
        self.sessions
            .sort_by_key(|session| (session.client, session.server));
        write_rows(&mut self.out, "sessions", self.sessions.iter())?;
        let rows = self
            .rounds
            .iter()
            .map(|(&(chain, sequence, round), entry)| RoundRow {
                chain: &self.chains[chain],
                sequence,
                round,
                proposer: entry.proposer.map(|address| address.to_string()),
                decided_ns: entry.time.map(&capture_time),
                deciders: entry
                    .deciders
                    .iter()
                    .map(|node| self.nodes[node].name.as_str())
                    .collect(),
                transactions: entry.transactions,
            });
        write_rows(&mut self.out, "rounds", rows)?;
        let decisions = self.deeds.iter().map(|((_, chain, _), sum)| DecisionRow {
            node: sum.node.map(|node| self.nodes[node].name.as_str()),
            kind: &sum.kind,
            by: if sum.by_node { "node" } else { "scenario" },
            chain: chain.map(|chain| self.chains[chain].as_str()),
            from_ns: capture_time(sum.from),
            until_ns: capture_time(sum.until),
            sequences: sum.sequences,
            rounds: sum.rounds,
            count: sum.count,
        });
        write_rows(&mut self.out, "decisions", decisions)?;
        self.out.write_all(b",\n\"chains\": ")?;
        write_json(&mut self.out, &self.chains)?;
        self.out.write_all(b",\n\"totals\": ")?;
        write_json(&mut self.out, closing)?;
        self.out.write_all(b"\n}\n")?;
        self.out.flush()
    }

    fn write_height(&mut self, (chain, sequence): (ChainIndex, u64), height: &Height) -> io::Result<()> {
        for (&(receiver, round, kind), row) in &height.rows {
            let row = CountRow {
                chain: &self.chains[chain],
                receiver: self.nodes[receiver].ip,
                sequence,
                round,
                kind: kind.as_str(),
                messages: row.messages,
                useful: row.useful,
                repeats: row.repeats,
                echoes: row.echoes,
                invalid: row.invalid,
                bytes: row.bytes,
            };
            self.out
                .write_all(if self.rows_written == 0 { b"\n" } else { b",\n" })?;
            self.rows_written += 1;
            write_json(&mut self.out, &row)?;
        }
        for &(receiver, copies) in height.payloads.values().flatten() {
            let ip = self.nodes[usize::from(receiver)].ip;
            *self.copies.entry(ip).or_default().entry(copies).or_default() += 1;
        }
        Ok(())
    }
}

fn write_rows<R: Serialize>(
    out: &mut dyn Write,
    name: &str,
    rows: impl Iterator<Item = R>,
) -> io::Result<()> {
    write!(out, ",\n\"{name}\": [")?;
    for (index, row) in rows.enumerate() {
        out.write_all(if index == 0 { b"\n" } else { b",\n" })?;
        write_json(out, &row)?;
    }
    out.write_all(b"\n]")
}

fn write_json(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(out, value).map_err(io::Error::from)
}
