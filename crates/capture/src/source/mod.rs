//! Where packets come from: capture files and interfaces. The only place of this crate that reads anything.
//!
//! [`CaptureReader`] cuts one file, from anything that is [`Read`](std::io::Read), into batches of packets;
//! [`MergedCapture`] joins several; [`PacketSource`] is what the pipeline reads from; [`live`] opens interfaces; [`PcapngWriter`] keeps packets as they came; [`HashingReader`] takes the hash of a file's content on the way.

mod blocks;
mod error;
mod hashing;
mod identify;
mod input;
#[cfg(target_os = "linux")]
pub mod live;
mod merge;
mod packet_source;
mod pcap;
mod pcapng;
mod pcapng_writer;
mod progress;
mod reader;
mod resolution;

pub use error::{BlockFault, CaptureError};
pub use hashing::{ContentHash, HashingReader};
pub use merge::{MergedCapture, Tap};
pub use packet_source::{InputStats, PacketSource};
pub use pcapng::Interface;
pub use pcapng_writer::PcapngWriter;
pub use progress::ReadStats;
pub use reader::{CaptureReader, ReadLimits};
