//! Consensus messages to facts: counts, redundancy, rounds, nodes.
//!
//! Workers tell [`Observation`]s in any order; [`Aggregator`] merges them and at the end hands [`facts`] to a
//! [`FactSink`](facts::FactSink), and on request tells what changed while it goes on ([`Update`]). No I/O but an anonymous temporary file for heights that left memory.

mod aggregator;
mod chain;
mod changes;
mod closing;
mod coverage;
mod delays;
mod exposure;
pub mod facts;
pub mod fuzzing;
mod height;
mod heights;
mod histogram;
mod judged;
mod knowledge;
mod known;
mod ledger;
mod links;
mod lists;
mod lived;
mod minutes;
mod network;
mod observation;
mod options;
mod participation;
mod peers;
mod phases;
mod proposer;
mod provisional;
pub mod quorum;
mod read_events;
pub mod record;
mod residents;
mod round;
mod rows;
mod rules;
mod score;
mod spans;
mod spill;
mod summing;
mod tally;
mod votes;
mod waste;
mod what_if;
mod who;
mod witnesses;

pub use aggregator::{Aggregator, FinishError, ReadFacts};
pub use changes::Changes;
pub use exposure::{ExposureGroup, ExposureKind, ExposurePolicy, Subnet};
pub use known::{KnownCopies, KnownHeight, KnownPayloads};
pub use observation::{
    ChainId, CodeKey, Observation, Occurrence, Payload, Refused, SessionEnd, SessionInfo, SessionKey,
    SessionNetwork, Spoken, StatusSeen, WorkerTotals,
};
pub use options::AnalysisOptions;
pub use proposer::ProposerPolicy;
pub use provisional::{MessageSums, NamedHeight, Now, ReceiverSum, Update};
pub use residents::{Bounds, Residents};
pub use rules::{MOST_FUTURE_HEIGHTS, RULES, RuleOptions};
pub use score::ScoreOptions;
pub use who::{KnownNode, Names};
