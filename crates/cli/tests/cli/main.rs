//! The binary in scratch folders, as users run it.

mod analyze;
mod checkpoint;
mod common;
mod messages;
mod other_commands;
mod paced;
mod readme;
mod secrets;
mod simulate;
mod stored;
mod usage;
