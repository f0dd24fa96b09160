//! Traffic of real nodes, whole and damaged.

mod exact;
mod faults;
mod lossy;
mod network;
mod rules;
mod story;
mod support;
