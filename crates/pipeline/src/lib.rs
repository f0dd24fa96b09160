//! The pure stages joined: packets in, facts out, sharded by flow over worker threads.
//!
//! One reader cuts packets and deals them out by flow; a worker owns its flows from reassembly to decoding; one aggregator
//! merges what they observe. Channels are bounded and carry batches. The answer does not depend on the number of workers.

mod batch;
mod breaks;
mod captures;
pub mod checkpoint;
mod covered;
pub mod fuzzing;
mod inferred;
pub mod journal;
mod meanings;
mod options;
mod pacing;
mod payload_cache;
mod playing;
mod raw;
mod reading;
mod returning;
mod run;
mod seek;
mod seek_live;
mod session;
mod taps;
mod threads;
mod worker;

pub use checkpoint::Checkpoint;
pub use journal::Journal;
pub use options::{AttachOptions, CutHeights, LeftOut, PipelineOptions, Selection};
pub use pacing::{Clock, Live, Moment, Pace};
pub use raw::{RawMessage, RawSink};
pub use reading::Progress;
pub use run::{
    Analysis, Input, LiveSink, PipelineError, analyze, analyze_kept, analyze_live, files, messages,
    messages_hashed,
};
