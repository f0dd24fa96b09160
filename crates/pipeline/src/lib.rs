//! The pure stages joined: packets in, facts out, sharded by flow over worker threads.
//!
//! One reader cuts packets and deals them out by flow; a worker owns its flows from reassembly to decoding; one aggregator
//! merges what they observe. Channels are bounded and carry batches. The answer does not depend on the number of workers.

mod batch;
mod breaks;
pub mod checkpoint;
mod covered;
mod inferred;
mod meanings;
mod options;
mod payload_cache;
mod reading;
mod returning;
mod run;
mod seek;
mod session;
mod taps;
mod worker;

pub use checkpoint::Checkpoint;
pub use options::{AttachOptions, CutHeights, PipelineOptions, Selection};
pub use reading::Progress;
pub use run::{Analysis, Input, PipelineError, analyze, messages};
