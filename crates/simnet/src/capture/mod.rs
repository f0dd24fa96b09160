//! From segments to capture files: packet headers, pcap and pcapng.

pub(crate) mod file;
pub(crate) mod packet;

pub use file::{CaptureFormat, SecretsPlace};
