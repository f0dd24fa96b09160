//! What a monitor keeps while it runs, so that one that was killed goes on with its sessions and counts.
//!
//! A record for each update, written before the update goes anywhere else: what the aggregator learnt, the sums, and where the frames of
//! open sessions are. A written record outlives the program, not the machine: nothing waits for the disk. Of rows that were
//! made of later records than the store is known to have, the first update after a restart gives all once more.
//!
//! The present is not trusted to follow the past: a session goes on where its next header is found, and nowhere else.

mod before;
mod files;
mod part;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;

use bftap_analysis::record::{Kept as _, RecordReader, RecordWriter};
use bftap_analysis::{
    Aggregator, AnalysisOptions, Changes, Occurrence, ReadFacts, SessionKey, WorkerTotals, kept,
};
use bftap_model::CaptureTime;

pub(crate) use before::Before;
pub(crate) use files::frame as frame_record;
use files::{Appender, Content, Folder};
pub(crate) use part::Part;

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The folder cannot be made, read or written.
    #[error("the folder cannot be used: {source}")]
    Folder {
        /// Why.
        source: io::Error,
    },
    /// Something else has its name.
    #[error("it is not a folder")]
    NotAFolder,
    /// Another program uses it.
    #[error("another monitor that runs now keeps its state there")]
    Taken,
    /// Somebody else's.
    #[error(
        "it belongs to the user with id {owner}, and this program runs as {own}: it would have to believe what they wrote"
    )]
    Owner {
        /// Whose it is.
        owner: u32,
        /// Whose it would have to be.
        own: u32,
    },
    /// Others can read or write it.
    #[error("others can read or write it (mode {mode:o}): make it your own with chmod -R go= on the folder")]
    Exposed {
        /// Its mode.
        mode: u32,
    },
    /// A file of it cannot be read or written.
    #[error("{name}: {source}")]
    File {
        /// Which.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// Written by another version of this program.
    #[error(
        "{name} is of another version of this program, or something else: remove the folder to begin anew"
    )]
    Version {
        /// Which file.
        name: String,
    },
    /// A record in the middle is not what was written.
    #[error("{name} is damaged: remove the folder to begin anew")]
    Damaged {
        /// Which file.
        name: String,
    },
    /// It was kept with other settings.
    #[error("it is the state of the run {found}, not of {asked}: give another folder, or the same name")]
    OtherRun {
        /// Whose it is.
        found: String,
        /// Whose it should be.
        asked: String,
    },
}

/// Tells up to which update everything has arrived where it is to be seen.
pub type Arrived = Box<dyn Fn() -> u64 + Send>;

/// See the module's documentation.
pub struct Journal {
    folder: Folder,
    run: String,
    resumes: bool,
    recall: Option<Recall>,
    arrived: Arrived,
    known_arrived: u64,
    state: Option<Appender>,
    state_number: u64,
    /// Length of the state file behind its first record.
    first_len: u64,
    messages: Option<Appender>,
    messages_number: u64,
    /// Parts as they were written last, by their ids.
    written: HashMap<u64, Written>,
    ids: HashMap<SessionKey, u64>,
    next_id: u64,
    broken: Option<String>,
    tell: Option<Tell>,
}

/// Takes, for a person, why nothing is kept any more, when it happens.
pub type Tell = Box<dyn Fn(&str) + Send>;

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal")
            .field("run", &self.run)
            .finish_non_exhaustive()
    }
}

/// What is read back once.
#[derive(Debug, Default)]
struct Recall {
    rests: Vec<Vec<u8>>,
    last: u64,
    known_arrived: u64,
    seen: Option<CaptureTime>,
    totals: WorkerTotals,
    read: ReadFacts,
    parts: BTreeMap<u64, (Vec<u8>, Vec<u8>)>,
    naming: u64,
}

/// Checksums of the two halves of a part's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Written {
    fixed: u64,
    moving: u64,
}

/// What an earlier life left.
#[derive(Debug, Default)]
pub(crate) struct Recalled {
    /// Sessions that were open.
    pub(crate) parts: Vec<Part>,
    /// Sums of all that was closed.
    pub(crate) totals: WorkerTotals,
    pub(crate) read: ReadFacts,
    /// The latest capture time.
    pub(crate) seen: Option<CaptureTime>,
}

/// How things stand, to be kept.
#[derive(Debug, Default)]
pub(crate) struct Noted {
    /// Sums without those of open sessions.
    pub(crate) totals: WorkerTotals,
    pub(crate) read: ReadFacts,
    pub(crate) seen: Option<CaptureTime>,
    /// Sessions that are open; those of an earlier life have its id.
    pub(crate) parts: Vec<(Option<SessionKey>, Part)>,
    /// Messages that wait for a second sight.
    pub(crate) pending: Vec<Occurrence>,
    /// Nobody looked between these times; told once.
    pub(crate) pause: Option<(CaptureTime, CaptureTime)>,
}

/// The halves of a part's record, as far as they changed.
type Halves = (Option<Vec<u8>>, Option<Vec<u8>>);

/// The first record of a state file.
struct Head {
    run: String,
    naming: u64,
}

/// One update.
struct Entry {
    update: u64,
    arrived: u64,
    seen: Option<CaptureTime>,
    totals: WorkerTotals,
    read: ReadFacts,
    rest: Vec<u8>,
    /// Id, and the halves that changed.
    parts: Vec<(u64, Halves)>,
    gone: Vec<u64>,
}

kept! {
    Head { run, naming }
    Entry { update, arrived, seen, totals, read, rest, parts, gone }
}

/// A state file is begun anew when it has so many bytes more than its first record took, and twice as many.
const STATE_GROWS: u64 = 32 << 20;

/// A new file of messages is begun behind so many bytes.
const MESSAGES_FILE: u64 = 64 << 20;

impl Journal {
    /// Opens the folder at `path`, and makes it where it is not. `run`: the name of the run, if one was asked for; else that of the run whose state
    /// it is, else `new_run`.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn open(path: &Path, run: Option<&str>, new_run: &str) -> Result<Self, JournalError> {
        let folder = Folder::take(path)?;
        let mut journal = Self {
            run: run.unwrap_or(new_run).to_owned(),
            resumes: false,
            recall: None,
            arrived: Box::new(|| u64::MAX),
            known_arrived: 0,
            state: None,
            state_number: folder.numbers(Content::State)?.last().copied().unwrap_or(0),
            first_len: 0,
            messages: None,
            messages_number: folder.numbers(Content::Messages)?.last().copied().unwrap_or(0),
            written: HashMap::new(),
            ids: HashMap::new(),
            next_id: 0,
            broken: None,
            tell: None,
            folder,
        };
        // The latest one is whole: it got its name when it had its first record.
        let Some(number) = journal.folder.numbers(Content::State)?.last().copied() else {
            for number in journal.folder.numbers(Content::Messages)? {
                // Without a state they belong to nothing.
                let removed = journal.folder.remove(Content::Messages, number);
                removed.map_err(|source| JournalError::Folder { source })?;
            }
            return Ok(journal);
        };
        let (head, recall) = journal.read_state(number)?;
        if let Some(asked) = run
            && asked != head.run
        {
            return Err(JournalError::OtherRun {
                found: head.run,
                asked: asked.to_owned(),
            });
        }
        journal.run = head.run;
        journal.known_arrived = recall.known_arrived;
        journal.resumes = true;
        journal.recall = Some(recall);
        Ok(journal)
    }

    /// Name of the run.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// Whether this goes on with something.
    pub fn resumes(&self) -> bool {
        self.resumes
    }

    /// Who tells which updates have arrived in the store. Without, all count as arrived.
    pub fn set_arrived(&mut self, arrived: Arrived) {
        self.arrived = arrived;
    }

    /// Who is told at once when nothing can be kept any more. It stands in the problems of the end, too.
    pub fn set_teller(&mut self, tell: Tell) {
        self.tell = Some(tell);
    }

    /// The store knows nothing of this run: all rows are to be given once more.
    pub fn nothing_arrived(&mut self) {
        self.known_arrived = 0;
    }

    fn read_state(&self, number: u64) -> Result<(Head, Recall), JournalError> {
        let mut head: Option<Head> = None;
        let mut recall = Recall::default();
        let damaged = |_| JournalError::Damaged {
            name: format!("state.{number:06}"),
        };
        self.folder.read(Content::State, number, true, |record| {
            let mut reader = RecordReader(record);
            if head.is_none() {
                let read = Head::recall(&mut reader).map_err(damaged)?;
                recall.naming = read.naming;
                head = Some(read);
                return Ok(true);
            }
            let entry = Entry::recall(&mut reader).map_err(damaged)?;
            reader.end().map_err(damaged)?;
            recall.add(entry).ok_or(()).map_err(|()| JournalError::Damaged {
                name: format!("state.{number:06}"),
            })?;
            Ok(true)
        })?;
        let head = head.filter(|_| !recall.rests.is_empty());
        let head = head.ok_or_else(|| JournalError::Damaged {
            name: format!("state.{number:06}"),
        })?;
        Ok((head, recall))
    }

    /// Makes an aggregator know what an earlier life knew.
    pub(crate) fn recall(
        &mut self,
        aggregator: &mut Aggregator,
        options: &AnalysisOptions,
    ) -> Result<Recalled, JournalError> {
        aggregator.keep_changes();
        let Some(recall) = self.recall.take() else {
            return Ok(Recalled::default());
        };
        let state = format!("state.{:06}", self.state_number);
        let damaged = |_| JournalError::Damaged { name: state.clone() };
        for (at, rest) in recall.rests.iter().enumerate() {
            let latest = at + 1 == recall.rests.len();
            aggregator.recall(rest, latest).map_err(damaged)?;
        }
        if recall.naming != naming(options) {
            aggregator.renamed();
        }
        let numbers = self.folder.numbers(Content::Messages)?;
        for &number in &numbers {
            let last = numbers.last() == Some(&number);
            let arrived = self.known_arrived;
            let name = format!("messages.{number:06}");
            let len = self.folder.read(Content::Messages, number, last, |record| {
                let damaged = |_| JournalError::Damaged { name: name.clone() };
                let mut reader = RecordReader(record);
                let update = reader.u64().map_err(damaged)?;
                if update > recall.last {
                    // Its update has no record: it was killed between the two.
                    return Ok(false);
                }
                aggregator
                    .recall_messages(reader.0, update <= arrived)
                    .map_err(damaged)?;
                Ok(true)
            })?;
            if last {
                self.folder.cut(Content::Messages, number, len)?;
            }
        }
        let mut parts = Vec::with_capacity(recall.parts.len());
        for (id, (fixed, moving)) in &recall.parts {
            parts.push(Part::read(*id, fixed, moving).map_err(damaged)?);
            self.next_id = self.next_id.max(id + 1);
        }
        Ok(Recalled {
            parts,
            totals: recall.totals,
            read: recall.read,
            seen: recall.seen,
        })
    }

    /// Keeps an update. After an error nothing is kept any more, and nothing is left that would lead astray.
    pub(crate) fn keep(
        &mut self,
        aggregator: &mut Aggregator,
        number: u64,
        noted: Noted,
        options: &AnalysisOptions,
    ) {
        if self.broken.is_some() {
            return;
        }
        if let Err(error) = self.try_keep(aggregator, number, noted, options) {
            self.broken = Some(error.to_string());
            self.state = None;
            self.messages = None;
            // A state without what came later would count once more what the store has.
            for content in [Content::State, Content::Messages] {
                for number in self.folder.numbers(content).unwrap_or_default() {
                    let _ = self.folder.remove(content, number);
                }
            }
            if let (Some(tell), Some(problem)) = (&self.tell, self.problem()) {
                tell(&problem);
            }
        }
    }

    /// Why nothing is kept any more.
    pub(crate) fn problem(&self) -> Option<String> {
        let error = self.broken.as_ref()?;
        Some(format!(
            "the state could not be written ({error}): a monitor that is started again begins a new run"
        ))
    }

    fn try_keep(
        &mut self,
        aggregator: &mut Aggregator,
        number: u64,
        noted: Noted,
        options: &AnalysisOptions,
    ) -> io::Result<()> {
        let grown = self
            .state
            .as_ref()
            .is_none_or(|state| state.len() - self.first_len > self.first_len + STATE_GROWS);
        let changes = aggregator.changes(&noted.pending, grown);
        self.keep_messages(number, &changes)?;
        self.known_arrived = self.known_arrived.max((self.arrived)().min(number));
        if grown {
            self.written.clear();
        }
        let (parts, gone) = self.changed_parts(noted.parts);
        let entry = Entry {
            update: number,
            arrived: self.known_arrived,
            seen: noted.seen,
            totals: noted.totals,
            read: noted.read,
            rest: changes.rest,
            parts,
            gone,
        };
        let mut record = RecordWriter::default();
        record.put(&entry);
        if !grown && let Some(state) = &mut self.state {
            return state.append(&record.0);
        }
        let mut state = self.folder.begin(Content::State, self.state_number + 1)?;
        let mut head = RecordWriter::default();
        head.put(&Head {
            run: self.run.clone(),
            naming: naming(options),
        });
        state.append(&head.0)?;
        state.append(&record.0)?;
        state.publish()?;
        self.first_len = state.len();
        self.state = Some(state);
        let before = self.state_number;
        self.state_number += 1;
        self.folder.remove(Content::State, before)
    }

    fn keep_messages(&mut self, number: u64, changes: &Changes) -> io::Result<()> {
        if changes.messages.is_empty() {
            return Ok(());
        }
        let mut record = RecordWriter::default();
        record.u64(number);
        record.0.extend_from_slice(&changes.messages);
        if self
            .messages
            .as_ref()
            .is_none_or(|file| file.len() > MESSAGES_FILE)
        {
            self.messages_number += 1;
            let mut file = self.folder.begin(Content::Messages, self.messages_number)?;
            file.publish()?;
            self.messages = Some(file);
        }
        let file = self.messages.as_mut().ok_or(io::ErrorKind::NotFound)?;
        file.append(&record.0)
    }

    /// Parts that changed since they were written last, and ids of those that are open no more.
    fn changed_parts(&mut self, parts: Vec<(Option<SessionKey>, Part)>) -> (Vec<(u64, Halves)>, Vec<u64>) {
        let mut changed = Vec::new();
        let mut before = std::mem::take(&mut self.written);
        let mut ids = HashMap::new();
        for (key, mut part) in parts {
            if let Some(key) = key {
                part.id = self.ids.get(&key).copied().unwrap_or_else(|| {
                    self.next_id += 1;
                    self.next_id - 1
                });
                ids.insert(key, part.id);
            }
            let (fixed, moving) = part.write();
            let sums = Written {
                fixed: sum(&fixed),
                moving: sum(&moving),
            };
            let known = before.remove(&part.id);
            let halves = (
                known
                    .is_none_or(|known| known.fixed != sums.fixed)
                    .then_some(fixed),
                known
                    .is_none_or(|known| known.moving != sums.moving)
                    .then_some(moving),
            );
            if halves != (None, None) {
                changed.push((part.id, halves));
            }
            self.written.insert(part.id, sums);
        }
        self.ids = ids;
        let mut gone: Vec<u64> = before.into_keys().collect();
        gone.sort_unstable();
        (changed, gone)
    }
}

impl Recall {
    /// Takes the next entry; `None` if it cannot follow.
    fn add(&mut self, entry: Entry) -> Option<()> {
        if entry.update <= self.last && !self.rests.is_empty() {
            return None;
        }
        self.last = entry.update;
        self.known_arrived = entry.arrived;
        self.seen = entry.seen;
        self.totals = entry.totals;
        self.read = entry.read;
        self.rests.push(entry.rest);
        for (id, (fixed, moving)) in entry.parts {
            let part = self.parts.entry(id).or_default();
            if let Some(fixed) = fixed {
                part.0 = fixed;
            }
            if let Some(moving) = moving {
                part.1 = moving;
            }
        }
        for id in entry.gone {
            self.parts.remove(&id);
        }
        Some(())
    }
}

/// What names in rows depend on besides what was observed.
fn naming(options: &AnalysisOptions) -> u64 {
    sum(format!("{:?}", options.nodes).as_bytes())
}

fn sum(bytes: &[u8]) -> u64 {
    files::checksum(bytes)
}
