//! The binary in scratch folders, as users run it.

mod analyze;
mod checkpoint;
mod common;
mod crash;
mod evidence;
mod export;
mod guard;
mod keys;
#[cfg(target_os = "linux")]
mod lab;
#[cfg(target_os = "linux")]
mod lab_guard;
#[cfg(target_os = "linux")]
mod lab_judge;
#[cfg(target_os = "linux")]
mod lab_keys;
#[cfg(target_os = "linux")]
mod lab_logs;
#[cfg(target_os = "linux")]
mod lab_rules;
#[cfg(target_os = "linux")]
mod live;
#[cfg(target_os = "linux")]
mod live_restart;
#[cfg(target_os = "linux")]
mod machine;
mod messages;
mod other_commands;
mod paced;
mod readme;
mod secrets;
mod servers;
mod simulate;
mod store;
mod stored;
mod usage;
mod web;
mod web_votes;
