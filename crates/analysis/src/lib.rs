//! Consensus messages to facts: counts, redundancy, rounds, nodes. No I/O but the spill of closed heights.

pub mod facts;
