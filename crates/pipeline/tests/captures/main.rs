//! Traffic of real nodes, whole and damaged.

mod exact;
mod lossy;
mod story;
mod support;
