//! Observations of all workers become the facts of the run.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use bftap_model::{Address, CaptureTime, Direction};
use hashbrown::HashMap;

use crate::chain::Slots;
use crate::closing::{ChainContext, ChainState, Copies, IpRanks, close};
use crate::coverage::{CoverageMap, Losses};
use crate::facts::{
    CaptureFact, ChainName, CodeFact, CopiesFact, Coverage, EventFact, FactSink, LinkCountFact, NodeFact,
    RunFacts, SessionFact, SessionState, Totals,
};
use crate::height::{Delivery, Height};
use crate::heights::{HeightKey, Heights};
use crate::known::KnownPayloads;
use crate::minutes::{LinkKey, Minutes};
use crate::observation::{Observation, Occurrence, SessionEnd, SessionInfo, SessionKey, WorkerTotals};
use crate::options::AnalysisOptions;
use crate::quorum::QuorumRule;
use crate::who::{Resolved, Who};

/// What the reading side counted.
#[derive(Clone, Debug, Default)]
pub struct ReadFacts {
    /// Inputs.
    pub captures: Vec<CaptureFact>,
    /// Per tap: the IP addresses that are an end of every TCP flow seen there.
    pub tap_ends: Vec<BTreeSet<IpAddr>>,
    /// Packets with a TCP segment.
    pub tcp_packets: u64,
    /// Of those, with a wrong checksum.
    pub bad_checksums: u64,
    /// Other packets, by reason.
    pub skipped_packets: BTreeMap<String, u64>,
}

/// Why facts could not be handed over.
#[derive(Debug, thiserror::Error)]
pub enum FinishError<E> {
    /// The temporary file for closed heights failed.
    #[error("cannot use the temporary file for closed heights (is the disk for temporary files full?)")]
    Spill(#[from] io::Error),
    /// The taker of the facts failed.
    #[error("cannot hand over results")]
    Sink(#[source] E),
}

#[derive(Clone, Copy, Debug)]
struct LiveSession {
    parties: [u32; 2],
    slot: u32,
}

/// Merges what workers observe; the order in which it comes does not change the result.
#[derive(Debug)]
pub struct Aggregator {
    options: AnalysisOptions,
    who: Who,
    slots: Slots,
    live: HashMap<SessionKey, LiveSession>,
    ended: Vec<(SessionEnd, LiveSession)>,
    heights: Heights,
    minutes: Minutes,
    losses: Losses,
    events: Vec<EventFact>,
    limits: BTreeMap<String, u64>,
    /// The last session looked up: messages come in runs.
    recent: Option<(SessionKey, LiveSession)>,
}

impl Aggregator {
    /// With nothing observed yet.
    pub fn new(mut options: AnalysisOptions) -> Self {
        if let Some(validators) = &mut options.validators {
            validators.sort_unstable();
            validators.dedup();
        }
        Self {
            who: Who::new(std::mem::take(&mut options.nodes)),
            slots: Slots::default(),
            live: HashMap::new(),
            ended: Vec::new(),
            heights: Heights::new(options.open_deliveries),
            minutes: Minutes::new(options.open_links),
            losses: Losses::default(),
            events: Vec::new(),
            limits: BTreeMap::new(),
            recent: None,
            options,
        }
    }

    /// Takes one observation.
    ///
    /// # Errors
    /// The temporary file for closed heights cannot be written.
    pub fn push(&mut self, observation: Observation) -> io::Result<()> {
        match observation {
            Observation::Message(occurrence) => self.message(&occurrence)?,
            Observation::Session(key, info) => {
                let session = self.session(&info);
                self.live.insert(key, session);
                self.recent = None;
            }
            Observation::End(key, end) => {
                self.live.remove(&key);
                self.recent = None;
                if self.ended.len() < self.options.listed_sessions {
                    let session = self.session(&end.info);
                    self.ended.push((*end, session));
                } else {
                    // Not listed, but what it may hide is known all the same.
                    if !end.candidate {
                        self.losses.note(&end);
                    }
                    self.limit("listed_sessions");
                }
            }
            Observation::Event(event) => {
                if self.events.len() < self.options.listed_events {
                    self.events.push(*event);
                } else {
                    self.limit("listed_events");
                }
            }
        }
        Ok(())
    }

    /// This run does not go on where the one before it ended: payloads that came before it are no concern of it.
    pub fn forget_known(&mut self) {
        self.options.known_payloads = Arc::default();
    }

    fn limit(&mut self, name: &str) {
        *self.limits.entry(name.to_owned()).or_default() += 1;
    }

    fn session(&mut self, info: &SessionInfo) -> LiveSession {
        let parties = [0, 1].map(|end| self.who.party(info.ends[end].ip, info.node_ids[end]));
        LiveSession {
            parties,
            slot: self.slots.of(info.chain, info.ends.map(|end| end.ip)),
        }
    }

    fn message(&mut self, occurrence: &Occurrence) -> io::Result<()> {
        let session = match self.recent {
            Some((key, session)) if key == occurrence.session => session,
            _ => {
                let Some(&session) = self.live.get(&occurrence.session) else {
                    debug_assert!(false, "a message came before its session");
                    return Ok(());
                };
                self.recent = Some((occurrence.session, session));
                session
            }
        };
        let [initiator, recipient] = session.parties;
        let (sender, receiver) = match occurrence.direction {
            Direction::FromInitiator => (initiator, recipient),
            Direction::FromRecipient => (recipient, initiator),
        };
        let message = &occurrence.payload.message;
        let bytes = u64::from(occurrence.wire_len);
        let delivery = Delivery {
            copies: 1,
            bytes,
            first_seen: occurrence.seen,
            last_seen: occurrence.seen,
            first_arrival: occurrence.arrived.unwrap_or(occurrence.seen),
        };
        let key = (session.slot, message.view.sequence);
        if self
            .heights
            .deliver(key, &occurrence.payload, receiver, sender, delivery)?
        {
            self.slots.books[session.slot as usize].learn(&occurrence.payload);
        }
        let link = LinkKey {
            chain: session.slot,
            receiver,
            sender,
            kind: message.kind,
        };
        self.minutes.add(occurrence.seen, link, bytes)
    }

    /// Judges everything: hands heights and minutes to `sink`, and returns the rest.
    ///
    /// # Errors
    /// The temporary file cannot be read, or the sink fails.
    pub fn finish<S: FactSink>(
        self,
        read: ReadFacts,
        totals: WorkerTotals,
        sink: &mut S,
    ) -> Result<RunFacts, FinishError<S::Error>> {
        self.judge(read, totals, sink, None)
    }

    /// As [`finish`](Self::finish), and gives what a later run has to know of the latest payloads, those from before this run
    /// included.
    ///
    /// # Errors
    /// As those of [`finish`](Self::finish).
    pub fn finish_and_keep<S: FactSink>(
        self,
        read: ReadFacts,
        totals: WorkerTotals,
        sink: &mut S,
    ) -> Result<(RunFacts, KnownPayloads), FinishError<S::Error>> {
        let mut keep = KnownPayloads::clone(&self.options.known_payloads);
        let facts = self.judge(read, totals, sink, Some(&mut keep))?;
        keep.keep_latest();
        Ok((facts, keep))
    }

    fn judge<S: FactSink>(
        mut self,
        read: ReadFacts,
        totals: WorkerTotals,
        sink: &mut S,
        mut keep: Option<&mut KnownPayloads>,
    ) -> Result<RunFacts, FinishError<S::Error>> {
        let candidates = self.drop_candidates();
        for (end, _) in &self.ended {
            self.losses.note(end);
        }
        self.losses.settle();
        let resolved = self.who.resolve();
        let ips = IpRanks::new(&resolved);
        let names = self.slots.names();
        let chains = self.chain_books(&names);
        let coverage = self.coverage(&read, &resolved, &ips, &names, &chains);

        let known = Arc::clone(&self.options.known_payloads);
        let mut copies = Copies::new();
        let mut skipped_rounds = 0;
        let mut judged: Option<(ChainContext<'_>, ChainState)> = None;
        for (name, sequence, parts) in grouped(self.heights.keys(), &names) {
            let mut height = Height::default();
            for part in parts {
                let taken = self.heights.take(part)?;
                if height.deliveries.is_empty() {
                    height = taken;
                } else {
                    height.merge(taken);
                }
            }
            if judged.as_ref().is_none_or(|(context, _)| context.name != name) {
                let book = &chains[&name];
                let covered = |address: &Address| {
                    let mut at = ips
                        .ips
                        .iter()
                        .zip(&ips.addresses)
                        .filter(|(_, own)| **own == Some(*address))
                        .peekable();
                    at.peek().is_some() && at.all(|(&ip, _)| coverage.of(ip) == Coverage::Full)
                };
                let validators = book.book.known_validators();
                let context = ChainContext {
                    name: name.clone(),
                    who: &resolved,
                    ips: &ips,
                    coverage: &coverage,
                    losses: &self.losses,
                    rule: self.options.quorum.unwrap_or(book.rule),
                    committee: self.options.committee,
                    policy: self.options.policy.or_else(|| book.book.evidence.policy()),
                    fixed_validators: self.options.validators.as_deref(),
                    all_validators_covered: !validators.is_empty() && validators.iter().all(covered),
                    deliveries: self.options.deliveries,
                    known: &known,
                };
                let first = book.book.evidence.first_validators().map(<[Address]>::to_vec);
                let state = ChainState {
                    validators: first.unwrap_or_default(),
                    ..ChainState::default()
                };
                judged = Some((context, state));
            }
            let (context, state) = judged.as_mut().expect("set above");
            let facts = close(
                &height,
                sequence,
                context,
                state,
                &mut copies,
                keep.as_deref_mut(),
            );
            if let Some(keep) = &mut keep {
                keep.keep_near_limits();
            }
            skipped_rounds += std::mem::take(&mut state.skipped_rounds);
            sink.height(&facts).map_err(FinishError::Sink)?;
        }

        while let Some((start, minute)) = self.minutes.pop_first()? {
            let rows = link_rows(start, &minute, &names, &resolved, &ips);
            sink.minute(&rows).map_err(FinishError::Sink)?;
        }

        let nodes = self.node_facts(&resolved, &coverage, &chains);
        let mut facts = self.sums(read, totals, &names);
        facts.totals.other_flows += candidates;
        if skipped_rounds > 0 {
            *facts
                .totals
                .limits_reached
                .entry("empty_rounds".to_owned())
                .or_default() += skipped_rounds;
        }
        facts.nodes = nodes;
        facts.copies = copies
            .into_iter()
            .map(|((receiver_ip, copies), payloads)| CopiesFact {
                receiver_ip,
                copies,
                payloads,
            })
            .collect();
        Ok(facts)
    }

    /// Drops flows of unknown shape on ports where no session was recognised, and tells how many.
    fn drop_candidates(&mut self) -> u64 {
        // A connection that never got as far as a handshake recognises nothing.
        let recognised = |end: &SessionEnd| !end.candidate && end.state != SessionState::NoHandshake;
        let mut ports = self.options.ports.clone();
        ports.extend(
            self.ended
                .iter()
                .filter(|(end, _)| recognised(end))
                .map(|(end, _)| end.info.ends[1].port),
        );
        let before = self.ended.len();
        self.ended
            .retain(|(end, _)| !end.candidate || end.info.ends.iter().any(|end| ports.contains(&end.port)));
        (before - self.ended.len()) as u64
    }

    /// What was learnt per chain, slots of one chain joined.
    fn chain_books(&mut self, names: &[ChainName]) -> BTreeMap<ChainName, ChainBook> {
        let mut chains: BTreeMap<ChainName, ChainBook> = BTreeMap::new();
        for (slot, book) in self.slots.books.drain(..).enumerate() {
            chains.entry(names[slot].clone()).or_default().book.merge(book);
        }
        // One vote a node: the rule that most nodes of the chain follow.
        let mut clients: BTreeMap<(ChainName, u32), &str> = BTreeMap::new();
        for (end, session) in &self.ended {
            for (party, client) in session.parties.iter().zip(&end.info.clients) {
                if let (Some(node), Some(client)) = (self.who.parties()[*party as usize].node, client) {
                    let kept = clients
                        .entry((names[session.slot as usize].clone(), node))
                        .or_insert(client);
                    *kept = (*kept).max(client);
                }
            }
        }
        for (name, chain) in &mut chains {
            let dialect = chain.book.dialects.first().copied().unwrap_or_default();
            let own = clients.iter().filter(|((of, _), _)| of == name);
            let (mut kaia, mut others) = (0_u32, 0_u32);
            for (_, client) in own {
                match QuorumRule::of_client(Some(client), dialect) {
                    QuorumRule::KAIA => kaia += 1,
                    _ => others += 1,
                }
            }
            chain.rule = if kaia > others {
                QuorumRule::KAIA
            } else {
                QuorumRule::of_client(None, dialect)
            };
        }
        chains
    }

    fn coverage(
        &self,
        read: &ReadFacts,
        resolved: &Resolved,
        ips: &IpRanks,
        names: &[ChainName],
        chains: &BTreeMap<ChainName, ChainBook>,
    ) -> CoverageMap {
        let tapped = read
            .tap_ends
            .iter()
            .flatten()
            .copied()
            .chain(self.options.tapped.iter().copied())
            .collect();
        let mut peers: BTreeMap<IpAddr, BTreeSet<Address>> = BTreeMap::new();
        let mut validators: BTreeMap<IpAddr, BTreeSet<Address>> = BTreeMap::new();
        for (end, session) in &self.ended {
            let known = &chains[&names[session.slot as usize]];
            for (at, other) in [(0, 1), (1, 0)] {
                let ip = end.info.ends[at].ip;
                if end.state == SessionState::Decrypted
                    && let Some(address) = resolved.parties[session.parties[other] as usize].address
                {
                    peers.entry(ip).or_default().insert(address);
                }
                if known.name_is_known(&names[session.slot as usize]) {
                    validators
                        .entry(ip)
                        .or_default()
                        .extend(known.book.known_validators());
                }
            }
        }
        CoverageMap::new(
            ips.ips.iter().copied().zip(ips.addresses.iter().copied()),
            &tapped,
            &peers,
            &validators,
            &self.losses,
        )
    }

    fn node_facts(
        &self,
        resolved: &Resolved,
        coverage: &CoverageMap,
        chains: &BTreeMap<ChainName, ChainBook>,
    ) -> Vec<NodeFact> {
        #[derive(Default)]
        struct Seen<'a> {
            ips: BTreeSet<IpAddr>,
            client: Option<&'a str>,
            role: Option<&'static str>,
        }
        let mut by_address: BTreeMap<Address, Seen<'_>> = BTreeMap::new();
        let mut by_ip: BTreeMap<IpAddr, Seen<'_>> = BTreeMap::new();
        for (end, session) in &self.ended {
            for at in [0, 1] {
                let party = &resolved.parties[session.parties[at] as usize];
                let seen = match party.address {
                    Some(address) => by_address.entry(address).or_default(),
                    None => by_ip.entry(party.ip).or_default(),
                };
                seen.ips.insert(party.ip);
                seen.client = seen.client.max(end.info.clients[at].as_deref());
                seen.role = seen.role.max(end.roles[at]);
            }
        }
        let validators: BTreeSet<Address> = chains
            .values()
            .flat_map(|chain| chain.book.known_validators())
            .copied()
            .collect();
        for &validator in &validators {
            by_address.entry(validator).or_default();
        }
        // A node whose key is known from some sessions is not listed once more for those without Hello.
        by_ip.retain(|ip, _| resolved.address_at(*ip).is_none());

        let ids: HashMap<Address, bftap_model::NodeId> = self
            .who
            .nodes()
            .iter()
            .map(|node| (node.address, node.id))
            .collect();
        let mut nodes: Vec<NodeFact> = by_address
            .into_iter()
            .map(|(address, seen)| NodeFact {
                name: resolved.names.name(address).map(ToString::to_string),
                label: resolved.names.label_of(address),
                node_id: ids.get(&address).copied(),
                address: Some(address),
                client: seen.client.map(str::to_owned),
                role: seen.role,
                coverage: coverage.worst(&seen.ips),
                validator: validators.contains(&address),
                ips: seen.ips.into_iter().collect(),
            })
            .chain(by_ip.into_iter().map(|(ip, seen)| {
                let label = resolved.names.label(ip, None);
                NodeFact {
                    name: (*label != *ip.to_string()).then(|| label.to_string()),
                    label,
                    node_id: None,
                    address: None,
                    client: seen.client.map(str::to_owned),
                    role: seen.role,
                    coverage: coverage.of(ip),
                    validator: false,
                    ips: vec![ip],
                }
            }))
            .collect();
        nodes.sort_by(|a, b| (&a.label, &a.address, &a.ips).cmp(&(&b.label, &b.address, &b.ips)));
        nodes
    }

    /// Sessions, codes, events and totals.
    fn sums(self, read: ReadFacts, worker: WorkerTotals, names: &[ChainName]) -> RunFacts {
        let mut sessions: Vec<SessionFact> = self
            .ended
            .into_iter()
            .map(|(end, session)| SessionFact {
                initiator: end.info.ends[0],
                recipient: end.info.ends[1],
                state: end.state,
                attached: end.attached,
                opened_by: end.opened_by,
                mac: end.mac,
                frames_from_initiator: end.frames[0],
                frames_from_recipient: end.frames[1],
                gaps: end.gaps,
                lost_bytes: end.lost_bytes,
                incomplete_bytes: end.incomplete_bytes,
                frames_lost: end.frames_lost,
                capabilities: end.capabilities,
                inferred: end.inferred,
                chain: names[session.slot as usize].clone(),
                stream_bytes: end.stream_bytes,
                clients: end.info.clients,
                node_ids: end.info.node_ids,
                detail: end.detail,
                first_seen_ns: end.span.0,
                last_seen_ns: end.span.1,
            })
            .collect();
        sessions.sort_by(|a, b| {
            let key = |session: &SessionFact| {
                (
                    session.initiator,
                    session.recipient,
                    session.first_seen_ns,
                    session.last_seen_ns,
                )
            };
            key(a)
                .cmp(&key(b))
                .then_with(|| a.stream_bytes.cmp(&b.stream_bytes))
        });
        let mut events = self.events;
        events.sort_by(|a, b| (a.time_ns, a.rule, &a.detail).cmp(&(b.time_ns, b.rule, &b.detail)));
        let mut limits = worker.limits;
        for (name, count) in self.limits {
            *limits.entry(name).or_default() += count;
        }
        let sum = |pick: fn(&SessionFact) -> u64| sessions.iter().map(pick).sum();
        let totals = Totals {
            packets: read.captures.iter().map(|capture| capture.packets).sum(),
            bytes: read.captures.iter().map(|capture| capture.bytes).sum(),
            tcp_packets: read.tcp_packets,
            sessions: sessions.len() as u64,
            refused: worker.refused,
            other_flows: worker.other_flows,
            frames: worker.codes.values().map(|(frames, _)| frames).sum(),
            consensus_messages: worker.consensus_messages,
            undecodable: worker.undecodable.values().sum(),
            gaps: sum(|session| session.gaps),
            lost_bytes: sum(|session| session.lost_bytes),
            incomplete_bytes: sum(|session| session.incomplete_bytes),
            frames_lost: sum(|session| session.frames_lost.iter().sum()),
            searched_bytes: worker.searched_bytes,
            bad_checksums: read.bad_checksums,
            skipped_packets: read.skipped_packets,
            undecodable_reasons: worker.undecodable,
            limits_reached: limits,
        };
        let codes = worker
            .codes
            .into_iter()
            .map(|((capability, name, wire_code), (frames, bytes))| CodeFact {
                capability,
                name,
                wire_code,
                frames,
                bytes,
            })
            .collect();
        let mut captures = read.captures;
        captures.sort_by(|a, b| a.path.cmp(&b.path));
        RunFacts {
            captures,
            nodes: Vec::new(),
            sessions,
            codes,
            copies: Vec::new(),
            events,
            totals,
        }
    }
}

/// What was learnt of one chain.
#[derive(Debug)]
struct ChainBook {
    book: crate::chain::SlotBook,
    rule: QuorumRule,
}

impl Default for ChainBook {
    fn default() -> Self {
        Self {
            book: crate::chain::SlotBook::default(),
            rule: QuorumRule::ISTANBUL,
        }
    }
}

impl ChainBook {
    /// Sessions that never told their chain say nothing about who should be seen.
    fn name_is_known(&self, name: &ChainName) -> bool {
        &**name != "unknown" || !self.book.known_validators().is_empty()
    }
}

/// Heights in the order of chain and sequence, each with the keys of all its parts.
fn grouped(keys: Vec<HeightKey>, names: &[ChainName]) -> Vec<(ChainName, u64, Vec<HeightKey>)> {
    let mut keys: Vec<(&ChainName, u64, HeightKey)> = keys
        .into_iter()
        .map(|key| (&names[key.0 as usize], key.1, key))
        .collect();
    keys.sort_unstable();
    keys.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1))
        .map(|parts| {
            (
                parts[0].0.clone(),
                parts[0].1,
                parts.iter().map(|part| part.2).collect(),
            )
        })
        .collect()
}

fn link_rows(
    start: CaptureTime,
    minute: &crate::minutes::Minute,
    names: &[ChainName],
    resolved: &Resolved,
    ips: &IpRanks,
) -> Vec<LinkCountFact> {
    let mut sums: BTreeMap<_, LinkCountFact> = BTreeMap::new();
    for (key, sum) in minute {
        let ip = ips.of_party[key.receiver as usize] as usize;
        let chain = &names[key.chain as usize];
        let sender = &resolved.parties[key.sender as usize].label;
        let row = sums
            .entry((chain, ips.ips[ip], sender, key.kind))
            .or_insert_with(|| LinkCountFact {
                chain: chain.clone(),
                minute: start,
                receiver_ip: ips.ips[ip],
                receiver: ips.labels[ip].clone(),
                sender: sender.clone(),
                kind: key.kind,
                messages: 0,
                bytes: 0,
            });
        row.messages += sum.messages;
        row.bytes += sum.bytes;
    }
    sums.into_values().collect()
}
