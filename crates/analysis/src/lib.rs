//! Consensus messages to facts: counts, redundancy, rounds, nodes.
//!
//! Workers tell [`Observation`]s in any order; [`Aggregator`] merges them and at the end hands [`facts`] to a
//! [`FactSink`](facts::FactSink), and on request tells what changed while it goes on ([`Update`]). No I/O but an anonymous temporary file for heights that left memory.

mod aggregator;
mod chain;
mod changes;
mod closing;
mod coverage;
mod exposure;
pub mod facts;
mod height;
mod heights;
mod knowledge;
mod known;
mod links;
mod minutes;
mod network;
mod observation;
mod options;
mod peers;
mod proposer;
mod provisional;
pub mod quorum;
pub mod record;
mod round;
mod spill;
mod summing;
mod tally;
mod who;

pub use aggregator::{Aggregator, FinishError, ReadFacts};
pub use changes::Changes;
pub use exposure::{ExposureGroup, ExposureKind, ExposurePolicy, Subnet};
pub use known::{KnownCopies, KnownHeight, KnownPayloads};
pub use observation::{
    ChainId, CodeKey, Observation, Occurrence, Payload, Refused, SessionEnd, SessionInfo, SessionKey,
    SessionNetwork, StatusSeen, WorkerTotals,
};
pub use options::AnalysisOptions;
pub use proposer::ProposerPolicy;
pub use provisional::{MessageSums, NamedHeight, Now, ReceiverSum, Update};
pub use who::{KnownNode, Names};
