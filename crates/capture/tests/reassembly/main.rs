//! TCP reassembly: scenarios by name, and properties of all streams.

mod closing;
mod joining;
mod limits;
mod ordering;
mod properties;
mod taps;
mod wire;
