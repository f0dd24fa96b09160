//! Captures damaged the way taps damage them, and what can still be read out of them.
//!
//! [`simulated`] makes a capture together with the places of all frames in their streams, [`damage`] spoils it, and
//! [`surviving`] and [`recoverable`] tell from TCP headers alone which frames and messages still have all their bytes. None of
//! it uses bftap's own reading of captures, so that it can judge that.
//!
//! Captures are pcap files of Ethernet frames with IPv4 or IPv6, without tunnels and fragments, as the simulator writes them.

mod connections;
mod harm;
mod headers;
mod pcap;
mod simulated;
mod survivors;

pub use harm::{Harm, damage, scenarios};
pub use headers::{Segment, segment};
pub use pcap::{CaptureError, packets};
pub use simulated::{Simulated, simulated};
pub use survivors::{MessageKey, recoverable, surviving};
