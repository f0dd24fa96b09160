//! Traffic of real nodes, whole and damaged.

mod exact;
mod lossy;
mod network;
mod support;
