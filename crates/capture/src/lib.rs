//! Packets to streams: capture files, link/IP/TCP slicing, defragmentation, reassembly, flow table.
//!
//! Only [`source`] reads files; everything else takes bytes and capture times and gives values.

pub mod link;
pub mod packet;
pub mod segment;
pub mod source;
