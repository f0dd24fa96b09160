//! The `bftap` command.
fn main() {}
