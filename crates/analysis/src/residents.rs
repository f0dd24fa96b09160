//! How much an aggregator holds in memory, and how much it may: what "memory is bounded" is checked by.

use crate::aggregator::Aggregator;
use crate::judged::{JUDGED_LATELY, NUMBERS_LATELY};
use crate::options::AnalysisOptions;
use crate::tally::{MOST_EARLY_MINUTES, MOST_PEER_SUMS, Tally};

/// What is in memory now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Residents {
    /// Payloads and deliveries of heights that are not closed.
    pub open_deliveries: usize,
    /// Links of minutes that are not closed.
    pub open_links: usize,
    /// Heights judged while the run goes on whose judgement is in memory.
    pub judged_heights: usize,
    /// Numbers in these.
    pub judged_numbers: usize,
    /// Sums for scores, of the chain with most.
    pub score_sums: usize,
    /// Senders and minutes with messages that came too early, of the chain with most.
    pub early_minutes: usize,
    /// Other sums over all heights, of the chain with most: they grow with nodes, not with heights.
    pub other_sums: usize,
    /// Sessions that are listed.
    pub sessions: usize,
    /// Events that are listed.
    pub events: usize,
    /// Heights that left memory: a key and a place in the temporary file for each. Nothing but their number bounds them.
    pub closed_heights: usize,
    /// The same of minutes.
    pub closed_minutes: usize,
}

impl Residents {
    /// The larger of each, for the most over a run.
    pub fn raise(&mut self, other: &Self) {
        // A field that is added and forgotten here does not compile.
        let Self {
            open_deliveries,
            open_links,
            judged_heights,
            judged_numbers,
            score_sums,
            early_minutes,
            other_sums,
            sessions,
            events,
            closed_heights,
            closed_minutes,
        } = self;
        for (most, now) in [
            (open_deliveries, other.open_deliveries),
            (open_links, other.open_links),
            (judged_heights, other.judged_heights),
            (judged_numbers, other.judged_numbers),
            (score_sums, other.score_sums),
            (early_minutes, other.early_minutes),
            (other_sums, other.other_sums),
            (sessions, other.sessions),
            (events, other.events),
            (closed_heights, other.closed_heights),
            (closed_minutes, other.closed_minutes),
        ] {
            *most = (*most).max(now);
        }
    }
}

/// What [`Residents`] may be at most; what is not here grows with nodes or is a constant for each height.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// See [`Residents::open_deliveries`].
    pub open_deliveries: usize,
    /// See [`Residents::open_links`].
    pub open_links: usize,
    /// See [`Residents::judged_heights`].
    pub judged_heights: usize,
    /// See [`Residents::judged_numbers`].
    pub judged_numbers: usize,
    /// See [`Residents::score_sums`].
    pub score_sums: usize,
    /// See [`Residents::early_minutes`].
    pub early_minutes: usize,
    /// See [`Residents::sessions`].
    pub sessions: usize,
    /// See [`Residents::events`].
    pub events: usize,
}

impl Bounds {
    /// With these options.
    pub fn of(options: &AnalysisOptions) -> Self {
        Self {
            open_deliveries: options.open_deliveries.max(1),
            open_links: options.open_links.max(1),
            judged_heights: JUDGED_LATELY,
            judged_numbers: NUMBERS_LATELY,
            score_sums: MOST_PEER_SUMS,
            early_minutes: MOST_EARLY_MINUTES,
            sessions: options.listed_sessions,
            events: options.listed_events,
        }
    }

    /// The first that is over its bound: its name, how much there is, and how much there may be.
    pub fn broken(&self, residents: &Residents) -> Option<(&'static str, usize, usize)> {
        [
            ("open_deliveries", residents.open_deliveries, self.open_deliveries),
            ("open_links", residents.open_links, self.open_links),
            ("judged_heights", residents.judged_heights, self.judged_heights),
            ("judged_numbers", residents.judged_numbers, self.judged_numbers),
            ("score_sums", residents.score_sums, self.score_sums),
            ("early_minutes", residents.early_minutes, self.early_minutes),
            ("sessions", residents.sessions, self.sessions),
            ("events", residents.events, self.events),
        ]
        .into_iter()
        .find(|(_, now, most)| now > most)
    }
}

impl Aggregator {
    /// What is in memory now. Between updates, judgements are those of the last one.
    pub fn residents(&self) -> Residents {
        let (_, open_deliveries, closed_heights) = self.heights.residents();
        let (open_links, closed_minutes) = self.minutes.residents();
        let mut residents = Residents {
            open_deliveries,
            open_links,
            closed_heights,
            closed_minutes,
            sessions: self.ended.len(),
            events: self.events.all().len(),
            ..Residents::default()
        };
        if let Some(provisional) = &self.provisional {
            (residents.judged_heights, residents.judged_numbers) = provisional.residents();
            let most =
                |count: fn(&Tally) -> usize| provisional.tallies().values().map(count).max().unwrap_or(0);
            residents.score_sums = most(|tally| tally.peers.len());
            residents.early_minutes = most(|tally| tally.early.len());
            residents.other_sums =
                most(|tally| tally.copies.len() + tally.messages.len() + tally.waste.len());
        }
        residents
    }
}
