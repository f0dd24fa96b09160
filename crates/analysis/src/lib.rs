//! Consensus messages to facts: counts, redundancy, rounds, nodes.
//!
//! Workers tell [`Observation`]s in any order; [`Aggregator`] merges them and at the end hands [`facts`] to a
//! [`FactSink`](facts::FactSink), and on request tells what changed while it goes on ([`Update`]). No I/O but an anonymous temporary file for heights that left memory.

mod aggregator;
mod chain;
mod changes;
mod closing;
mod coverage;
pub mod facts;
mod height;
mod heights;
mod knowledge;
mod known;
mod minutes;
mod observation;
mod options;
mod proposer;
mod provisional;
pub mod quorum;
pub mod record;
mod round;
mod rules;
mod score;
mod spill;
mod summing;
mod tally;
mod who;

pub use aggregator::{Aggregator, FinishError, ReadFacts};
pub use changes::Changes;
pub use known::{KnownCopies, KnownHeight, KnownPayloads};
pub use observation::{
    ChainId, CodeKey, Observation, Occurrence, Payload, SessionEnd, SessionInfo, SessionKey, Spoken,
    WorkerTotals,
};
pub use options::AnalysisOptions;
pub use proposer::ProposerPolicy;
pub use provisional::{MessageSums, NamedHeight, Now, ReceiverSum, Update};
pub use rules::{MOST_FUTURE_HEIGHTS, RuleOptions};
pub use score::ScoreOptions;
pub use who::{KnownNode, Names};
