//! Messages to consensus messages: one module a dialect.

mod kind;

pub use kind::{Kind, UnknownKind, View};
