//! The few verbs that every database answers.

use std::fmt;
use std::future::Future;
use std::ops::RangeInclusive;
use std::pin::Pin;

use bftap_analysis::NamedHeight;
use bftap_analysis::facts::{
    ChainName, CountFact, DeliveryFact, HeightFacts, LinkCountFact, NodeRoundFact, RoundFact, RunFacts,
    VoteFact,
};
use bftap_model::CaptureTime;

use crate::maintenance::{Prune, Pruned, StoreCheck};
use crate::rows::{
    CaptureRow, Cell, CensusRow, ChainRow, CodeRow, ColumnType, CopiesRow, CountRow, CounterRow, DelayRow,
    DialRow, EventRow, LinkCountRow, NodeIpRow, NodeRow, ParticipationRow, PeerDisconnectRow, PeerRow,
    PhaseRow, RunRow, ScoreRow, SessionRow, Stored, Table, TcpLinkRow, WasteRow, WhatIfRow,
};
use crate::url::ServerKind;
use crate::{StoreError, StoreUrl, mysql, postgres, sqlite};

/// What a verb of a [`Store`] gives: boxed, so that one type stands for any database.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// A database with the tables of `docs/SCHEMA.md`.
///
/// Writing goes [`begin_run`](Self::begin_run), [`write`](Self::write) as often as needed, then either
/// [`finish_run`](Self::finish_run) or [`fail_run`](Self::fail_run). Each of them is one transaction. Until `finish_run` is
/// committed, an earlier run of the same name stays complete. A store writes one run at a time.
///
/// Rows are absolute values: a row that comes again with the same key takes the place of the one before. The transactions
/// of a run are numbered from 1, and the number is committed with them. So whoever has no answer to a verb, because the
/// connection was lost, opens the store anew and repeats it with the same number: what was committed is not done twice.
pub trait Store: Send {
    /// Starts a run and gives its id. Removes what earlier runs of this name left unfinished.
    ///
    /// `started_ns`: now, in nanoseconds since the epoch.
    fn begin_run<'a>(&'a mut self, run: &'a NewRun, started_ns: i64) -> Answer<'a, RunId>;

    /// Goes on with the run of this name that is written as it is seen, whether it was left running or completed: its rows stay, and it is
    /// running from now on. Gives its id and the number of its last transaction; `None` if there is none.
    ///
    /// Whoever calls this makes sure that nobody else writes it.
    fn resume_run<'a>(&'a mut self, run: &'a NewRun) -> Answer<'a, Option<(RunId, i64)>>;

    /// Writes rows. All of them are stored, or none.
    ///
    /// `number`: 1 more than that of the transaction before. One that is committed already is left as it is.
    fn write<'a>(&'a mut self, run: RunId, number: i64, batch: &'a Batch) -> Answer<'a, ()>;

    /// Writes the rest, removes the earlier complete run of the same name and marks this one complete, all at once.
    ///
    /// `number`: as for [`write`](Self::write).
    fn finish_run<'a>(
        &'a mut self,
        run: RunId,
        number: i64,
        facts: &'a RunFacts,
        finished_ns: i64,
    ) -> Answer<'a, ()>;

    /// Marks a running run failed, with the reason, and removes its rows; its row in `run` stays.
    fn fail_run<'a>(&'a mut self, run: RunId, problem: &'a str, finished_ns: i64) -> Answer<'a, ()>;

    /// All runs, the latest first.
    fn runs(&mut self) -> Answer<'_, Vec<RunRow>>;

    /// The latest complete run, or the complete run of that name.
    fn find_run<'a>(&'a mut self, name: Option<&'a str>) -> Answer<'a, RunRow>;

    /// Counts of heights in `sequences`, at most `limit` rows behind the row `after`, in order of sequence, round, chain id,
    /// receiver IP address and kind (as texts).
    ///
    /// Page by page with the last row of the page before, so that memory stays bounded and nothing stays open between.
    fn counts<'a>(
        &'a mut self,
        run: RunId,
        sequences: RangeInclusive<i64>,
        after: Option<&'a CountRow>,
        limit: u32,
    ) -> Answer<'a, Vec<CountRow>>;

    /// Rows of any table, at most `limit` behind the row `after`, in order of the table's key: page by page, as [`counts`](Self::counts).
    fn page<'a>(
        &'a mut self,
        table: &'static Table,
        run: RunId,
        after: Option<&'a [Cell]>,
        limit: u32,
    ) -> Answer<'a, Vec<Vec<Cell>>>;

    /// The lists of a run that are small enough to hold.
    fn details(&mut self, run: RunId) -> Answer<'_, RunDetails>;

    /// Messages by link in the latest minute of a run in which there was any, and in the minute before it.
    fn latest_links(&mut self, run: RunId) -> Answer<'_, Vec<LinkCountRow>>;

    /// Rows of a query that only reads, for those who show what is stored.
    ///
    /// `{int}` in it stands for the type that sums of whole numbers are cast to: databases name it differently.
    fn ask<'a>(&'a mut self, question: &'a Question<'a>) -> Answer<'a, Vec<Vec<Cell>>>;

    /// Looks whether what the store holds agrees with itself. Reads everything: takes its time on large stores.
    fn check(&mut self) -> Answer<'_, StoreCheck>;

    /// Removes old runs, and detail of old times from those that stay.
    fn prune<'a>(&'a mut self, what: &'a Prune) -> Answer<'a, Pruned>;

    /// Makes a view for every node of a run, with the original tool's columns, and gives their names.
    ///
    /// Views made before under the same names are replaced; anything else of such a name is an error.
    fn original_views(&mut self, run: RunId) -> Answer<'_, Vec<String>>;

    /// Ends the connection in good order. Dropping a store does too, but later, and its errors go unseen.
    fn close(self: Box<Self>) -> Answer<'static, ()>;
}

/// A query in SQL that all databases understand; see [`Store::ask`].
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// What is being done, for errors: `reading rounds`.
    pub doing: &'static str,
    /// The query, with `?` for values. Nothing that a stranger said may stand in it.
    pub sql: &'a str,
    /// The values, in order.
    pub values: &'a [Cell],
    /// What its columns hold.
    pub holds: &'a [ColumnType],
}

/// All rows of a run in one table, page by page: each is handed to `take`, and no more than a page is held.
///
/// # Errors
/// As [`Store::page`]; what `take` gives ends it.
pub async fn each_row<R: Stored, E: From<StoreError>>(
    store: &mut dyn Store,
    run: RunId,
    mut take: impl FnMut(R) -> Result<(), E>,
) -> Result<(), E> {
    const ROWS: u32 = 4096;
    let mut last: Option<Vec<Cell>> = None;
    loop {
        let page = store.page(R::table(), run, last.as_deref(), ROWS).await?;
        for row in &page {
            let Some(row) = R::of(row) else {
                return Err(StoreError::OtherColumns {
                    table: R::table().name,
                }
                .into());
            };
            take(row)?;
        }
        match page.into_iter().next_back() {
            Some(row) => last = Some(row),
            None => return Ok(()),
        }
    }
}

/// Opens a store of any kind.
///
/// With [`Access::Write`] this makes the file and brings the tables up to date; a database on a server must be there already.
/// Whether rows can be written is known when [`Store::begin_run`] is through.
pub async fn open(url: &StoreUrl, access: Access) -> Result<Box<dyn Store>, StoreError> {
    match url {
        StoreUrl::None => Err(StoreError::NoStore),
        StoreUrl::Sqlite(_) | StoreUrl::SqliteMemory => Ok(Box::new(sqlite::open(url, access).await?)),
        StoreUrl::Server {
            kind: ServerKind::MySql,
            url: address,
        } => Ok(Box::new(mysql::open(url.to_string(), address, access).await?)),
        StoreUrl::Server {
            kind: ServerKind::PostgreSql,
            url: address,
        } => Ok(Box::new(postgres::open(url.to_string(), address, access).await?)),
    }
}

/// What a store is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Only reading: never makes or changes anything.
    Read,
    /// Reading and writing.
    Write,
}

/// Id of a run in its store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub i64);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A run that is about to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRun {
    /// Its name: 1 to 200 characters, no control characters.
    pub name: String,
    /// What writes it.
    pub source: RunSource,
    /// Version of the program, for the record.
    pub program_version: String,
    /// The part of the captures that was asked for, as JSON; `None` for everything.
    pub selection: Option<String>,
    /// Whether it is written as it is seen: its rows count while it is running.
    pub live: bool,
    /// Thousandths of the capture's own speed at which it is played, if it is.
    pub pace_milli: Option<i64>,
}

impl NewRun {
    /// Most characters of a run's name.
    pub const NAME_LIMIT: usize = 200;

    /// Whether the name can be stored and typed again.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let found = self.name.chars().count();
        if (1..=Self::NAME_LIMIT).contains(&found) && !self.name.chars().any(char::is_control) {
            return Ok(());
        }
        Err(StoreError::RunName {
            found,
            limit: Self::NAME_LIMIT,
        })
    }
}

/// What writes a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunSource {
    /// `bftap analyze`.
    Analyze,
    /// `bftap live`.
    Live,
}

impl RunSource {
    /// The word in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Analyze => "analyze",
            Self::Live => "live",
        }
    }
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunState {
    /// Being written, or left so by a program that was killed.
    Running,
    /// All rows are there.
    Complete,
    /// Given up; has no rows.
    Failed,
}

impl RunState {
    /// The word in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Complete => "complete",
            Self::Failed => "failed",
        }
    }
}

/// Facts that are written together.
///
/// Of facts with the same key, the last one counts.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Rows of `message_count`.
    pub counts: Vec<CountFact>,
    /// Rows of `delivery`.
    pub deliveries: Vec<DeliveryFact>,
    /// Rows of `round`.
    pub rounds: Vec<RoundFact>,
    /// Rows of `node_round`.
    pub node_rounds: Vec<NodeRoundFact>,
    /// Rows of `vote`, by height.
    pub votes: Vec<HeightVotes>,
    /// Rows of `link_count`.
    pub links: Vec<LinkCountFact>,
    /// What the rows replace as a whole: all rows of these are removed before.
    pub replaced: Replaced,
    /// How things stand, where a run is written as it is seen.
    pub live: Option<Box<LiveState>>,
}

/// All votes of one height: they take the place of those that were written of it before, whose keys may have been others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeightVotes {
    /// Chain of the height.
    pub chain: ChainName,
    /// Block height.
    pub sequence: u64,
    /// Its votes, in the order of their positions.
    pub votes: Vec<VoteFact>,
}

/// Heights and minutes of which rows were written that are no more, because chains or nodes have other names now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replaced {
    /// Heights, by the chain's name in the rows that go.
    pub heights: Vec<NamedHeight>,
    /// Minutes of `link_count`, by their start.
    pub minutes: Vec<CaptureTime>,
}

/// How a run stands that is written as it is seen.
#[derive(Clone, Debug, Default)]
pub struct LiveState {
    /// The small lists and totals, as known now: they take the place of those before.
    pub facts: RunFacts,
    /// Capture time of the newest packet in it.
    pub seen_ns: Option<i64>,
    /// Now, by the clock of the machine.
    pub written_ns: i64,
    /// How long after its time the newest packet is written.
    pub lag_ns: i64,
    /// Batches that wait in the spool.
    pub spooled_batches: i64,
    /// Bytes that wait in the spool.
    pub spooled_bytes: i64,
    /// Rows of deliveries that a full spool gave up since the batch before.
    pub thinned_rows: i64,
    /// Copies in those.
    pub thinned_copies: i64,
}

/// Who got a vote from whom stands in `delivery`, so nothing of that waits for the database a second time.
fn as_stored(mut vote: VoteFact) -> VoteFact {
    vote.received = Vec::new();
    vote
}

impl Batch {
    /// Number of rows, those of the small lists not counted.
    pub fn len(&self) -> usize {
        let votes = self.votes.iter().map(|height| height.votes.len()).sum::<usize>();
        let of_rounds = self.rounds.len() + self.node_rounds.len() + votes;
        self.counts.len() + self.deliveries.len() + of_rounds + self.links.len()
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.len() == 0 && self.live.is_none() && self.replaced == Replaced::default()
    }

    /// Adds a height.
    pub fn push_height(&mut self, mut height: HeightFacts) {
        self.counts.append(&mut height.counts);
        self.deliveries.append(&mut height.deliveries);
        self.rounds.append(&mut height.rounds);
        self.node_rounds.append(&mut height.node_rounds);
        if let Some(vote) = height.votes.first() {
            self.votes.push(HeightVotes {
                chain: vote.chain.clone(),
                sequence: vote.sequence,
                votes: height.votes.into_iter().map(as_stored).collect(),
            });
        }
    }
}

/// The lists of a run that are small enough to hold, in the order they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDetails {
    /// The run with its totals.
    pub run: RunRow,
    /// Totals with names that are not fixed.
    pub counters: Vec<CounterRow>,
    /// Inputs.
    pub captures: Vec<CaptureRow>,
    /// Chains.
    pub chains: Vec<ChainRow>,
    /// Nodes.
    pub nodes: Vec<NodeRow>,
    /// Their IP addresses.
    pub node_ips: Vec<NodeIpRow>,
    /// Sessions.
    pub sessions: Vec<SessionRow>,
    /// Frames by code.
    pub codes: Vec<CodeRow>,
    /// Histogram of copies.
    pub copies: Vec<CopiesRow>,
    /// Events.
    pub events: Vec<EventRow>,
    /// Copies of no use, by link and cause.
    pub waste: Vec<WasteRow>,
    /// Other forwarding policies.
    pub what_if: Vec<WhatIfRow>,
    /// Phases of rounds.
    pub phases: Vec<PhaseRow>,
    /// What validators took part in.
    pub participation: Vec<ParticipationRow>,
    /// How long payloads took to reach nodes.
    pub delays: Vec<DelayRow>,
    /// TCP between IP addresses.
    pub tcp_links: Vec<TcpLinkRow>,
    /// Nodes as a crawler would list them.
    pub peers: Vec<PeerRow>,
    /// Their Disconnects.
    pub peer_disconnects: Vec<PeerDisconnectRow>,
    /// Who dialled whom.
    pub dials: Vec<DialRow>,
    /// Histograms over the peers.
    pub census: Vec<CensusRow>,
    /// Advice on each peer.
    pub scores: Vec<ScoreRow>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_runs_can_be_typed_again() {
        let check = |name: &str| {
            NewRun {
                name: name.into(),
                source: RunSource::Analyze,
                program_version: String::new(),
                selection: None,
                live: false,
                pace_milli: None,
            }
            .check()
        };
        for good in [
            "a",
            "tägliche Messung 3",
            "'; DROP TABLE run; --",
            &"é".repeat(200),
        ] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in ["", "a\nb", "a\0b", "\u{1b}[31m", &"x".repeat(201)] {
            assert!(matches!(check(bad), Err(StoreError::RunName { .. })), "{bad:?}");
        }
    }
}
