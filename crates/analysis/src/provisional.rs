//! What changed since the last time, judged by what is known now.
//!
//! While a run goes on its facts are provisional: coverage, names, validators and sums are those of what was read so far. Of a height
//! or a link that changed, all its rows are given again, so that the latest rows given are always those of one judgement.
//!
//! Two things run through all heights: sums ([`Tally`]), and what one height leaves to the next ([`ChainState`]). What each
//! height gave to them is remembered (in a temporary file when it is long past), so that a height judged once more takes the place of its
//! earlier judgement, and the next one is judged again if what comes before it has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;

use bftap_ibft_decode::Kind;
use bftap_model::CaptureTime;
use hashbrown::{HashMap, HashSet};

use crate::aggregator::ReadFacts;
use crate::closing::{Basis, ChainContext, ChainState, close, span_of};
use crate::facts::{ChainName, HeightFacts, Label, LinkCountFact, RunFacts};
use crate::height::Height;
use crate::heights::{HeightKey, Heights};
use crate::judged::{Judged, JudgedHeights};
use crate::knowledge::{Knowledge, LinkRow};
use crate::minutes::{LinkKey, Minutes, minute_of};
use crate::observation::{SessionEnd, WorkerTotals};
use crate::options::AnalysisOptions;
use crate::rules::{EventList, MinuteBook};
use crate::tally::{Evicted, Summed as _, Tallies, Tally};
use crate::who::Names;

/// A height of a chain, by the chain's name.
pub type NamedHeight = (ChainName, u64);

/// What an update is judged by, besides what was observed.
#[derive(Debug, Default)]
pub struct Now {
    /// What the reading side counted so far.
    pub read: ReadFacts,
    /// Sums of all workers so far, open sessions included.
    pub totals: WorkerTotals,
    /// Sessions that are open, as if they ended now.
    pub open: Vec<SessionEnd>,
    /// No more is observed behind this: the next step is [`finish`](crate::Aggregator::finish).
    pub last: bool,
}

/// What changed since the last update.
#[derive(Clone, Debug, Default)]
pub struct Update {
    /// One more than that of the update before, also where the program was started anew in between.
    pub number: u64,
    /// Heights with changed rows, sorted by chain and sequence; each takes the place of what was given of it before.
    pub heights: Vec<HeightFacts>,
    /// Changed links, sorted by minute and then as in [`FactSink::minute`](crate::facts::FactSink::minute).
    pub links: Vec<LinkCountFact>,
    /// Nodes or chains have other names than in rows that were given before: from now on the rows of a height or of a minute replace
    /// all rows of that height or minute. Stays set. Then `links` holds whole minutes.
    pub renamed: bool,
    /// Heights given before that are no more, because their messages turned out to be of another chain. In the last update they are
    /// all named that were not before; earlier ones name those where something else changed, too.
    pub gone: Vec<NamedHeight>,
    /// The lists and sums as known now.
    pub facts: RunFacts,
    /// Messages by receiver and kind over all heights judged so far, sorted.
    pub sums: Vec<ReceiverSum>,
}

/// Messages of one kind that reached one receiver, over all heights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiverSum {
    /// The receiver in text.
    pub receiver: Label,
    /// The receiver's IP address.
    pub receiver_ip: IpAddr,
    /// Kind of message.
    pub kind: Kind,
    /// The numbers of [`CountFact`](crate::facts::CountFact), added up.
    pub sums: MessageSums,
}

/// See [`CountFact`](crate::facts::CountFact).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessageSums {
    /// All messages.
    pub messages: u64,
    /// First copies.
    pub useful: u64,
    /// Later copies.
    pub repeats: u64,
    /// The receiver's own.
    pub echoes: u64,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Provisional {
    heights: HashSet<HeightKey>,
    links: BTreeMap<i64, HashSet<LinkKey>>,
    /// The height noted last: messages come in runs.
    recent: Option<HeightKey>,
    /// Parties and slots that stand in rows: others may change their names without harm.
    parties: Vec<bool>,
    slots: Vec<bool>,
    /// Heights that are to be judged again because what comes before them changed.
    shaken: BTreeSet<NamedHeight>,
    /// Heights of which more may be on its way, and when they were last seen: judged once more when enough time has passed.
    early: BTreeMap<NamedHeight, CaptureTime>,
    /// What each chain was judged by last, and how often that changed before.
    bases: BTreeMap<ChainName, (Basis, u32)>,
    /// By which of them each height was judged.
    judged_by: BTreeMap<NamedHeight, u32>,
    judged: JudgedHeights,
    tallies: Tallies,
    /// What had to leave them.
    evicted: Evicted,
    /// Heights in whose latest judgement rules found something.
    eventful: BTreeSet<NamedHeight>,
    /// Names in the rows given last.
    naming: Option<Naming>,
    renamed: bool,
    /// Names that the chain of a slot had before.
    former: BTreeMap<u32, BTreeSet<ChainName>>,
    /// Heights to be judged whose rows are there already, from an earlier life.
    quiet: HashSet<HeightKey>,
    /// Minutes whose rows are there already, from an earlier life; rules have not seen them in this one.
    stored_minutes: BTreeSet<i64>,
    minutes: MinuteBook,
}

/// Texts that are keys of rows.
#[derive(Debug)]
struct Naming {
    chains: Vec<ChainName>,
    parties: Vec<Label>,
    names: Names,
}

/// Heights that are judged again in one update although nothing was added to them; a change of validators long ago takes several.
const MOST_SHAKEN: usize = 256;

impl Provisional {
    /// Notes a message.
    #[inline]
    pub(crate) fn note(&mut self, height: HeightKey, seen: CaptureTime, link: LinkKey) {
        if self.recent != Some(height) {
            self.recent = Some(height);
            self.heights.insert(height);
            if !self.quiet.is_empty() {
                self.quiet.remove(&height);
            }
        }
        if self.links.entry(minute_of(seen)).or_default().insert(link) {
            mark(&mut self.parties, link.receiver);
            mark(&mut self.parties, link.sender);
            mark(&mut self.slots, link.chain);
        }
    }

    /// What changes of names have done to rows so far.
    pub(crate) fn naming_history(&self) -> (bool, Vec<(u32, BTreeSet<ChainName>)>) {
        let former = self.former.iter();
        (
            self.renamed,
            former.map(|(&slot, names)| (slot, names.clone())).collect(),
        )
    }

    /// Takes [`naming_history`](Self::naming_history) back.
    pub(crate) fn recall_naming(&mut self, renamed: bool, former: Vec<(u32, BTreeSet<ChainName>)>) {
        self.renamed = renamed;
        self.former = former.into_iter().collect();
    }

    /// Notes messages of an earlier life. What they gave to the sums is judged once more; rows are only given if they are not `stored`.
    pub(crate) fn recall_height(&mut self, height: HeightKey, stored: bool) {
        self.heights.insert(height);
        if stored {
            self.quiet.insert(height);
        } else {
            self.quiet.remove(&height);
        }
    }

    /// The same for a link.
    pub(crate) fn recall_link(&mut self, minute: i64, link: LinkKey, stored: bool) {
        if stored {
            self.stored_minutes.insert(minute);
        } else {
            self.links.entry(minute).or_default().insert(link);
        }
        mark(&mut self.parties, link.receiver);
        mark(&mut self.parties, link.sender);
        mark(&mut self.slots, link.chain);
    }

    /// Judges what changed. The lists are left to the caller.
    pub(crate) fn judge(
        &mut self,
        knowledge: &Knowledge,
        options: &AnalysisOptions,
        heights: &mut Heights,
        minutes: &mut Minutes,
        last: bool,
    ) -> io::Result<Update> {
        self.note_names(knowledge);
        let mut update = Update {
            renamed: self.renamed,
            ..Update::default()
        };
        let slots = slots_by_name(&knowledge.names);
        let mut due = std::mem::take(&mut self.shaken);
        due.extend(
            self.early
                .extract_if(.., |_, last| knowledge.settled(*last))
                .map(|(at, _)| at),
        );
        self.recent = None;
        let quiet = std::mem::take(&mut self.quiet);
        let mut silent: BTreeSet<NamedHeight> = quiet.iter().map(|key| named(knowledge, *key)).collect();
        for key in self.heights.drain() {
            let at = named(knowledge, key);
            if !quiet.contains(&key) {
                silent.remove(&at);
            }
            due.insert(at);
        }
        if last && !self.former.is_empty() {
            let moved = heights
                .keys()
                .into_iter()
                .filter(|(slot, _)| self.former.contains_key(slot));
            due.extend(moved.map(|key| named(knowledge, key)));
        }
        self.note_bases(knowledge, options);
        if last {
            // The first heights were judged when less was known.
            let bases = &self.bases;
            let outdated = self
                .judged_by
                .iter()
                .filter(|((chain, _), by)| bases.get(chain).is_some_and(|(_, number)| number != *by));
            due.extend(outdated.map(|(at, _)| at.clone()));
        }
        self.add_former(&mut due, &slots, heights);
        let mut contexts: HashMap<ChainName, (ChainContext<'_>, ChainState)> = HashMap::new();
        let mut shaken = 0;
        let mut follow: Option<(ChainName, usize)> = None;
        while let Some(at) = due.pop_first() {
            let parts = parts(&at.0, at.1, &slots, heights);
            if parts.is_empty() {
                if let Some(earlier) = self.judged.remove(&at)? {
                    self.take_back(&at.0, &earlier);
                    self.eventful.remove(&at);
                    self.early.remove(&at);
                    self.judged_by.remove(&at);
                    update.gone.push(at);
                }
                continue;
            }
            let (context, first) = contexts
                .entry(at.0.clone())
                .or_insert_with(|| knowledge.chain(&at.0, options, &options.known_payloads));
            let before = self.judged.state_before(&at)?.unwrap_or_else(|| first.clone());
            let earlier = self.judged.get(&at)?;
            let mut merged;
            let height = match parts[..] {
                [part] => &*heights.read(part)?,
                _ => {
                    merged = Height::default();
                    for part in parts {
                        merged.merge(heights.read(part)?.into_owned());
                    }
                    &merged
                }
            };
            let mut state = before.clone();
            let mut tally = Tally::default();
            let facts = close(height, at.1, context, &mut state, &mut tally, None);
            if earlier.as_ref().map_or(&before, |earlier| &earlier.after) != &state
                && let Some(next) = self.judged.next(&at)
                && !due.contains(&next)
            {
                if shaken < MOST_SHAKEN {
                    shaken += 1;
                    due.insert(next);
                } else {
                    self.shaken.insert(next);
                }
            }
            if let Some(earlier) = &earlier {
                self.take_back(&at.0, earlier);
            }
            self.tallies.entry(at.0.clone()).or_default().add(&tally);
            if facts.events.is_empty() {
                self.eventful.remove(&at);
            } else {
                self.eventful.insert(at.clone());
            }
            let (_, number) = self.bases[&at.0];
            self.judged_by.insert(at.clone(), number);
            let (_, last) = span_of(&facts.counts);
            if knowledge.settled(last) {
                self.early.remove(&at);
            } else {
                self.early.insert(at.clone(), last);
            }
            let judged = Judged {
                tally,
                events: facts.events.clone(),
                after: state,
            };
            // What a height leaves may have changed those behind it, and rows that were not stored tell of that, too.
            let loud = !silent.contains(&at);
            if loud {
                follow = Some((at.0.clone(), MOST_SHAKEN));
            }
            let follows = follow
                .as_mut()
                .filter(|(chain, left)| *chain == at.0 && *left > 0)
                .map(|(_, left)| *left -= 1);
            if loud || follows.is_some() {
                update.heights.push(facts);
            }
            self.judged.insert(at, judged)?;
        }
        let oldest = knowledge.oldest_stretch(&options.score);
        for tally in self.tallies.values_mut() {
            self.evicted.add(tally.keep_within(oldest));
        }
        for start in std::mem::take(&mut self.stored_minutes) {
            if !self.links.contains_key(&start) {
                let minute = minutes.read(start)?;
                let time = CaptureTime::from_nanos(start);
                self.minutes
                    .note(time, &minute, &|party| knowledge.rank_of(party), &options.rules);
            }
        }
        for (start, changed) in std::mem::take(&mut self.links) {
            let minute = minutes.read(start)?;
            let time = CaptureTime::from_nanos(start);
            self.minutes
                .note(time, &minute, &|party| knowledge.rank_of(party), &options.rules);
            let mut rows = if self.renamed {
                knowledge.link_rows(time, &*minute)
            } else {
                let rows: HashSet<LinkRow<'_>> = changed.iter().map(|key| knowledge.link_row(key)).collect();
                let links = minute
                    .iter()
                    .filter(|(key, _)| rows.contains(&knowledge.link_row(key)));
                knowledge.link_rows(time, links)
            };
            update.links.append(&mut rows);
        }
        let sum = |(&(receiver_ip, kind), &sums): (&(IpAddr, Kind), &MessageSums)| ReceiverSum {
            receiver: knowledge.resolved.receiver_label(receiver_ip),
            receiver_ip,
            kind,
            sums,
        };
        let mut sums = BTreeMap::new();
        for tally in self.tallies.values() {
            sums.add(&tally.messages);
        }
        update.sums = sums.iter().map(sum).collect();
        Ok(update)
    }

    /// What had to leave the sums, because there was no room for it.
    pub(crate) fn evicted(&self) -> Evicted {
        self.evicted
    }

    /// How much is held in memory: judgements, and numbers in them.
    pub(crate) fn residents(&self) -> (usize, usize) {
        self.judged.residents()
    }

    /// Sums over all heights judged so far.
    pub(crate) fn tallies(&self) -> &Tallies {
        &self.tallies
    }

    /// What rules over minutes go by.
    pub(crate) fn minutes(&self) -> &MinuteBook {
        &self.minutes
    }

    /// What the last height of each chain that was judged left.
    pub(crate) fn last_states(&mut self) -> io::Result<BTreeMap<ChainName, ChainState>> {
        self.judged.last_states()
    }

    /// What rules found in the heights judged so far, as much of it as is to be listed.
    pub(crate) fn events<'o>(&mut self, options: &'o AnalysisOptions) -> io::Result<EventList<'o>> {
        let mut list = EventList::new(options);
        for at in &self.eventful {
            list.add(self.judged.events(at)?);
        }
        Ok(list)
    }

    fn take_back(&mut self, chain: &ChainName, earlier: &Judged) {
        if let Some(tally) = self.tallies.get_mut(chain) {
            tally.take_back(&earlier.tally);
        }
    }

    /// Notes whether chains are judged by something else now.
    fn note_bases(&mut self, knowledge: &Knowledge, options: &AnalysisOptions) {
        let names: BTreeSet<&ChainName> = knowledge.names.iter().collect();
        for name in names {
            let (context, _) = knowledge.chain(name, options, &options.known_payloads);
            let basis = context.basis();
            match self.bases.get_mut(name) {
                Some((known, _)) if *known == basis => {}
                Some((known, number)) => {
                    *known = basis;
                    *number += 1;
                }
                None => {
                    self.bases.insert(name.clone(), (basis, 0));
                }
            }
        }
    }

    /// Notes whether rows that were given have other keys now.
    fn note_names(&mut self, knowledge: &Knowledge) {
        if let Some(naming) = &self.naming {
            for (slot, (old, new)) in naming.chains.iter().zip(&knowledge.names).enumerate() {
                if old != new && self.slots.get(slot) == Some(&true) {
                    self.renamed = true;
                    self.former.entry(slot as u32).or_default().insert(old.clone());
                }
            }
            let parties = naming.parties.iter().zip(&knowledge.resolved.parties);
            let mut stored = parties.zip(&self.parties).filter(|(_, stored)| **stored);
            self.renamed |= stored.any(|((old, new), _)| *old != new.label)
                || knowledge.resolved.names.renames(&naming.names);
        }
        self.naming = Some(Naming {
            chains: knowledge.names.clone(),
            parties: knowledge
                .resolved
                .parties
                .iter()
                .map(|party| party.label.clone())
                .collect(),
            names: knowledge.resolved.names.clone(),
        });
    }

    /// Adds heights under whose names rows were given that are now rows of heights in `due`.
    fn add_former(
        &self,
        due: &mut BTreeSet<NamedHeight>,
        slots: &HashMap<ChainName, Vec<u32>>,
        heights: &Heights,
    ) {
        if self.former.is_empty() {
            return;
        }
        let mut open: Vec<NamedHeight> = due.iter().cloned().collect();
        while let Some((name, sequence)) = open.pop() {
            for (slot, _) in parts(&name, sequence, slots, heights) {
                for former in self.former.get(&slot).into_iter().flatten() {
                    let at = (former.clone(), sequence);
                    if self.judged.contains(&at) && due.insert(at.clone()) {
                        open.push(at);
                    }
                }
            }
        }
    }
}

fn named(knowledge: &Knowledge, (slot, sequence): HeightKey) -> NamedHeight {
    (knowledge.names[slot as usize].clone(), sequence)
}

fn mark(flags: &mut Vec<bool>, index: u32) {
    let index = index as usize;
    if flags.len() <= index {
        flags.resize(index + 1, false);
    }
    flags[index] = true;
}

fn slots_by_name(names: &[ChainName]) -> HashMap<ChainName, Vec<u32>> {
    let mut slots: HashMap<ChainName, Vec<u32>> = HashMap::new();
    for (slot, name) in names.iter().enumerate() {
        slots.entry(name.clone()).or_default().push(slot as u32);
    }
    slots
}

/// Where messages of a height are filed.
fn parts(
    name: &ChainName,
    sequence: u64,
    slots: &HashMap<ChainName, Vec<u32>>,
    heights: &Heights,
) -> Vec<HeightKey> {
    let slots = slots.get(name).into_iter().flatten();
    slots
        .map(|&slot| (slot, sequence))
        .filter(|&key| heights.contains(key))
        .collect()
}
