//! Observations of all workers become the facts of the run.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use bftap_model::CaptureTime;
use hashbrown::HashMap;

use crate::chain::Slots;
use crate::changes::Untold;
use crate::closing::{ChainContext, ChainState, close};
use crate::coverage::Losses;
use crate::exposure;
use crate::facts::{CaptureFact, ChainName, EventFact, FactSink, RunFacts, SessionState};
use crate::height::{Delivery, Height};
use crate::heights::{HeightKey, Heights};
use crate::knowledge::Knowledge;
use crate::known::KnownPayloads;
use crate::lists::complete;
use crate::minutes::{LinkSum, Minutes, minute_of};
use crate::network::NetworkFacts;
use crate::observation::{
    Observation, Occurrence, Refused, SessionEnd, SessionInfo, SessionKey, WorkerTotals,
};
use crate::options::AnalysisOptions;
use crate::peers::{RefusedSum, RefusedSums};
use crate::provisional::{Now, Provisional, Update};
use crate::read_events::ReadEvents;
use crate::rules::{EventList, MinuteBook, RunView, of_run};
use crate::score;
use crate::summing::{run_facts, sort_events};
use crate::tally::{Evicted, Tallies};
use crate::who::{KnownNode, Who};

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

/// A session's ends as parties of the run, and where its messages are filed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionParties {
    pub(crate) parties: [u32; 2],
    pub(crate) slot: u32,
}

/// Merges what workers observe; the order in which it comes does not change the result.
#[derive(Debug)]
pub struct Aggregator {
    pub(crate) options: AnalysisOptions,
    pub(crate) who: Who,
    pub(crate) slots: Slots,
    pub(crate) live: HashMap<SessionKey, SessionParties>,
    pub(crate) ended: Vec<(SessionEnd, SessionParties)>,
    pub(crate) heights: Heights,
    pub(crate) minutes: Minutes,
    pub(crate) losses: Losses,
    pub(crate) events: ReadEvents,
    /// Connections that came to nothing.
    pub(crate) refused: RefusedSums,
    /// Frames that do not decode though Hellos told what they are, by party that sent them and start of the minute.
    pub(crate) undecodable: BTreeMap<(u32, i64), (u64, CaptureTime)>,
    pub(crate) limits: BTreeMap<String, u64>,
    /// The last session looked up: messages come in runs.
    pub(crate) recent: Option<(SessionKey, SessionParties)>,
    /// What changed since the last update, where updates are wanted.
    pub(crate) provisional: Option<Box<Provisional>>,
    /// What is to be told to whoever keeps it.
    pub(crate) untold: Option<Untold>,
    /// How many updates were made, in all lives of the program.
    pub(crate) updates: u64,
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
            events: ReadEvents::default(),
            refused: RefusedSums::new(),
            undecodable: BTreeMap::new(),
            limits: BTreeMap::new(),
            recent: None,
            provisional: None,
            untold: None,
            updates: 0,
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
                let session = self.session(&end.info);
                if self.ended.len() < self.options.listed_sessions {
                    self.ended.push((*end, session));
                } else {
                    // Not listed, but what it may hide is known all the same.
                    if !end.candidate {
                        self.losses.note(&end);
                    }
                    self.limit("listed_sessions");
                }
            }
            Observation::Refused(refused) => self.refuse(&refused),
            Observation::Event(event) => self.event(*event),
        }
        Ok(())
    }

    fn refuse(&mut self, refused: &Refused) {
        let key = (refused.ends[0].ip, refused.ends[1]);
        let one = RefusedSum::of(refused);
        if let Some(sum) = self.refused.get_mut(&key) {
            sum.join(&one);
        } else if self.refused.len() < self.options.refused_pairs {
            self.refused.insert(key, one);
        } else {
            return self.limit("refused_pairs");
        }
        if let Some(untold) = &mut self.untold {
            untold.refused.insert(key);
        }
    }

    /// Takes an event of a session. One rule cannot take all the room that there is.
    pub(crate) fn event(&mut self, event: EventFact) {
        if event.rule == "undecodable"
            && event.numbers.get("hellos").is_some_and(|hellos| *hellos > 1)
            && let Some(ip) = event.ip
        {
            let key = (self.who.party(ip, event.node_id), minute_of(event.time_ns));
            if self.undecodable.len() < MOST_UNDECODABLE || self.undecodable.contains_key(&key) {
                let sum = self.undecodable.entry(key).or_insert((0, event.time_ns));
                sum.0 += 1;
                sum.1 = sum.1.min(event.time_ns);
            } else {
                self.limit("undecodable_minutes");
            }
        }
        let most = self.options.listed_events;
        let share = self.options.rules.listed.min(most / 10).max(1);
        let told = self.untold.as_ref().map_or(0, |untold| untold.events);
        if !self.events.add(event, share, most, told) {
            self.limit("listed_events");
        }
    }

    /// This run does not go on where the one before it ended: payloads that came before it are no concern of it.
    pub fn forget_known(&mut self) {
        self.options.known_payloads = Arc::default();
    }

    pub(crate) fn limit(&mut self, name: &str) {
        *self.limits.entry(name.to_owned()).or_default() += 1;
    }

    fn session(&mut self, info: &SessionInfo) -> SessionParties {
        let parties = [0, 1].map(|end| self.who.party(info.ends[end].ip, info.node_ids[end]));
        for at in [0, 1] {
            if info.accepted[at] {
                self.who.accept(parties[at]);
            }
        }
        SessionParties {
            parties,
            slot: self.slots.of(info.chain, info.ends.map(|end| end.ip)),
        }
    }

    fn message(&mut self, occurrence: &Occurrence) -> io::Result<()> {
        let Some((session, link)) = self.way(occurrence) else {
            debug_assert!(false, "a message came before its session");
            return Ok(());
        };
        let message = &occurrence.payload.message;
        let bytes = u64::from(occurrence.wire_len);
        let delivery = Delivery::of(occurrence);
        let key = (session.slot, message.view.sequence);
        if self
            .heights
            .deliver(key, &occurrence.payload, link.receiver, link.sender, delivery)?
        {
            self.slots.books[session.slot as usize].learn(&occurrence.payload);
            if let Some(untold) = &mut self.untold {
                untold
                    .books
                    .entry(session.slot)
                    .or_default()
                    .learn(&occurrence.payload);
            }
        }
        if let Some(provisional) = &mut self.provisional {
            provisional.note(key, occurrence.seen, link);
        }
        self.minutes.add(
            occurrence.seen,
            link,
            LinkSum::one(bytes, occurrence.stale, occurrence.seen),
        )
    }

    /// Keeps track of what changes from now on, so that [`update`](Self::update) can tell it.
    pub fn track_changes(&mut self) {
        self.provisional.get_or_insert_default();
    }

    /// Judges what changed since the last time, by what is known now; everything stays here, and [`finish`](Self::finish) gives what
    /// it gives without updates. Costs in proportion to what changed, and to the lists of sessions and nodes.
    ///
    /// Nothing but the lists is told without [`track_changes`](Self::track_changes).
    ///
    /// # Errors
    /// The temporary file for closed heights fails.
    pub fn update(&mut self, now: Now) -> io::Result<Update> {
        self.updates += 1;
        let mut provisional = self.provisional.take().unwrap_or_default();
        let mut limits = self.limits.clone();
        let mut losses = self.losses.clone();
        let mut sessions = self.ended.clone();
        for end in now.open {
            let parties = self.session(&end.info);
            if sessions.len() < self.options.listed_sessions {
                sessions.push((end, parties));
            } else {
                losses.note(&end);
                *limits.entry("listed_sessions".to_owned()).or_default() += 1;
            }
        }
        let candidates = drop_candidates(&mut sessions, &self.options);
        let knowledge = Knowledge::new(
            &self.options,
            &self.who,
            &self.slots,
            &sessions,
            losses,
            &now.read,
        );
        note_unproven(&mut limits, &knowledge);
        let mut update = provisional.judge(
            &knowledge,
            &self.options,
            &mut self.heights,
            &mut self.minutes,
            now.last,
        )?;
        update.number = self.updates;
        provisional.evicted().tell(&mut limits);
        let nodes = knowledge.nodes(&self.who, &sessions);
        let states = provisional.last_states()?;
        let mut run_events = Vec::new();
        let run = RunView {
            knowledge: &knowledge,
            options: &self.options.rules,
            whole: self.options.whole,
            sessions: &sessions,
            tallies: provisional.tallies(),
            states: &states,
            minutes: provisional.minutes(),
            undecodable: &self.undecodable,
        };
        of_run(&run, &mut run_events);
        note_left_out(&mut limits, run.minutes);
        let hidden = self.expose(&knowledge, &sessions, &mut run_events);
        let found = provisional.events(&self.options)?;
        let (events, over) = self.listed([self.events.all(), &run_events, &found.events], &knowledge);
        let more = found.more + over + hidden;
        if more > 0 {
            *limits.entry("listed_events".to_owned()).or_default() += more;
        }
        let scores = score::scores(
            &knowledge,
            &nodes,
            provisional.tallies(),
            &events,
            &self.options.score,
        );
        let network = self.network(&knowledge, &sessions);
        update.facts = run_facts(sessions, events, &limits, now.read, now.totals, &knowledge.names);
        complete(
            &mut update.facts,
            nodes,
            provisional.tallies(),
            candidates,
            &knowledge,
        );
        network.tell(&mut update.facts);
        update.facts.scores = scores;
        self.provisional = Some(provisional);
        Ok(update)
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

    fn network(&self, knowledge: &Knowledge, sessions: &[(SessionEnd, SessionParties)]) -> NetworkFacts {
        let ports = session_ports(sessions, &self.options, self.who.known());
        NetworkFacts::new(knowledge, sessions, &self.refused, &ports, &self.who)
    }

    /// Adds what the policy has to say, if there is one; gives how much more it had than can be listed.
    fn expose(
        &self,
        knowledge: &Knowledge,
        sessions: &[(SessionEnd, SessionParties)],
        events: &mut Vec<EventFact>,
    ) -> u64 {
        let Some(policy) = &self.options.exposure else {
            return 0;
        };
        let most = self.options.listed_events;
        let (found, more) = exposure::events(policy, sessions, knowledge, most);
        events.extend(found);
        more
    }

    fn judge<S: FactSink>(
        mut self,
        read: ReadFacts,
        totals: WorkerTotals,
        sink: &mut S,
        mut keep: Option<&mut KnownPayloads>,
    ) -> Result<RunFacts, FinishError<S::Error>> {
        let mut sessions = std::mem::take(&mut self.ended);
        let candidates = drop_candidates(&mut sessions, &self.options);
        let losses = std::mem::take(&mut self.losses);
        let knowledge = Knowledge::new(&self.options, &self.who, &self.slots, &sessions, losses, &read);
        note_unproven(&mut self.limits, &knowledge);

        let known = Arc::clone(&self.options.known_payloads);
        let mut tallies = Tallies::new();
        let mut judged: Option<(ChainContext<'_>, ChainState)> = None;
        let mut states: BTreeMap<ChainName, ChainState> = BTreeMap::new();
        let mut found = EventList::new(&self.options);
        let oldest = knowledge.oldest_stretch(&self.options.score);
        let mut evicted = Evicted::default();
        for (name, sequence, parts) in grouped(self.heights.keys(), &knowledge.names) {
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
                if let Some((context, state)) = judged.take() {
                    states.insert(context.name, state);
                }
                judged = Some(knowledge.chain(&name, &self.options, &known));
            }
            let (context, state) = judged.as_mut().expect("set above");
            let tally = tallies.entry(name).or_default();
            let facts = close(&height, sequence, context, state, tally, keep.as_deref_mut());
            evicted.add(tally.keep_within(oldest));
            found.add(facts.events.iter().cloned());
            if let Some(keep) = &mut keep {
                keep.keep_near_limits();
            }
            sink.height(&facts).map_err(FinishError::Sink)?;
        }

        if let Some((context, state)) = judged.take() {
            states.insert(context.name, state);
        }
        evicted.tell(&mut self.limits);
        let mut minutes = MinuteBook::default();
        while let Some((start, minute)) = self.minutes.pop_first()? {
            minutes.note(
                start,
                &minute,
                &|party| knowledge.rank_of(party),
                &self.options.rules,
            );
            let rows = knowledge.link_rows(start, &minute);
            sink.minute(&rows).map_err(FinishError::Sink)?;
        }

        let nodes = knowledge.nodes(&self.who, &sessions);
        let mut run_events = Vec::new();
        let run = RunView {
            knowledge: &knowledge,
            options: &self.options.rules,
            whole: self.options.whole,
            sessions: &sessions,
            tallies: &tallies,
            states: &states,
            minutes: &minutes,
            undecodable: &self.undecodable,
        };
        of_run(&run, &mut run_events);
        note_left_out(&mut self.limits, &minutes);
        let hidden = self.expose(&knowledge, &sessions, &mut run_events);
        let (events, over) = self.listed([self.events.all(), &run_events, &found.events], &knowledge);
        let more = found.more + over + hidden;
        if more > 0 {
            *self.limits.entry("listed_events".to_owned()).or_default() += more;
        }
        let scores = score::scores(&knowledge, &nodes, &tallies, &events, &self.options.score);
        let network = self.network(&knowledge, &sessions);
        let mut facts = run_facts(sessions, events, &self.limits, read, totals, &knowledge.names);
        complete(&mut facts, nodes, &tallies, candidates, &knowledge);
        facts.scores = scores;
        network.tell(&mut facts);
        Ok(facts)
    }

    /// All events in the order of time, as many as are to be listed, with names; and how many more there are.
    fn listed(&self, events: [&Vec<EventFact>; 3], knowledge: &Knowledge) -> (Vec<EventFact>, u64) {
        let mut events: Vec<EventFact> = events.into_iter().flatten().cloned().collect();
        for event in &mut events {
            if event.rule == "undecodable"
                && event.sender.is_none()
                && let Some(ip) = event.ip
            {
                let party = event.node_id.and_then(|id| self.who.find(ip, id));
                let party = party.map(|party| &knowledge.resolved.parties[party as usize]);
                let address = party.map_or_else(|| knowledge.resolved.address_at(ip), |party| party.address);
                event.node_id = party.and_then(|party| party.id);
                event.sender = Some(knowledge.resolved.names.label(ip, address));
                event.address = address;
            }
        }
        sort_events(&mut events);
        let mut list = EventList::new(&self.options);
        list.add(events);
        (list.events, list.more)
    }
}

/// Tells how often a key was shown that nobody accepted.
fn note_unproven(limits: &mut BTreeMap<String, u64>, knowledge: &Knowledge) {
    if knowledge.unproven_keys > 0 {
        limits.insert("unproven_keys".to_owned(), knowledge.unproven_keys);
    }
}

/// Notes findings of rules over minutes that there was no room for.
fn note_left_out(limits: &mut BTreeMap<String, u64>, minutes: &MinuteBook) {
    let left_out = minutes.left_out();
    if left_out > 0 {
        *limits.entry("minute_findings".to_owned()).or_default() += left_out;
    }
}

/// Frames that do not decode are counted for so many senders and minutes.
const MOST_UNDECODABLE: usize = 65_536;

/// Drops flows of unknown shape on ports where no session was recognised, and tells how many.
pub(crate) fn drop_candidates(
    sessions: &mut Vec<(SessionEnd, SessionParties)>,
    options: &AnalysisOptions,
) -> u64 {
    let ports = session_ports(sessions, options, &[]);
    let before = sessions.len();
    sessions.retain(|(end, _)| !end.candidate || end.info.ends.iter().any(|end| ports.contains(&end.port)));
    (before - sessions.len()) as u64
}

/// Ports at which nodes listen: those that the user names, and those at which sessions were recognised.
fn session_ports(
    sessions: &[(SessionEnd, SessionParties)],
    options: &AnalysisOptions,
    known: &[KnownNode],
) -> BTreeSet<u16> {
    // A connection that never got as far as a handshake recognises nothing.
    let recognised = |end: &SessionEnd| !end.candidate && end.state != SessionState::NoHandshake;
    let mut ports = options.ports.clone();
    ports.extend(
        sessions
            .iter()
            .filter(|(end, _)| recognised(end))
            .map(|(end, _)| end.info.ends[1].port),
    );
    ports.extend(known.iter().filter_map(|node| node.port));
    ports
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
