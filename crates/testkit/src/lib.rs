//! Test helpers: seeded impairments, golden files, shared captures.

pub mod capture_file;
pub mod impair;
pub mod packet;
mod shared;

pub use shared::shared_captures;
