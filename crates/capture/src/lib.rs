//! Packets to streams: capture files, link/IP/TCP slicing, defragmentation, reassembly, flow table.
//!
//! Only [`source`] reads files; everything else takes bytes and capture times and gives values.

mod assembler;
mod checksum;
pub mod connection;
mod defrag;
mod flow;
pub mod flow_table;
#[doc(hidden)]
pub mod fuzzing;
mod layer;
pub mod link;
mod measure;
pub mod packet;
pub mod segment;
mod sights;
pub mod slice;
pub mod source;
mod tunnel;
mod waiting;
