//! Packets to streams: capture files, link/IP/TCP slicing, defragmentation, reassembly, flow table.
//!
//! Only [`source`] reads files; everything else takes bytes and capture times and gives values.

mod checksum;
mod defrag;
mod layer;
pub mod link;
pub mod packet;
pub mod segment;
pub mod slice;
pub mod source;
mod tunnel;
