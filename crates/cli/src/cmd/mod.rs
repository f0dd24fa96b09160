//! One file a subcommand.

pub(crate) mod analyze;
pub(crate) mod decode;
pub(crate) mod diff;
pub(crate) mod evidence;
pub(crate) mod export;
#[cfg(target_os = "linux")]
pub(crate) mod guard;
pub(crate) mod keys;
pub(crate) mod keys_init;
pub(crate) mod keys_receive;
pub(crate) mod keys_ship;
#[cfg(target_os = "linux")]
pub(crate) mod lab;
#[cfg(target_os = "linux")]
pub(crate) mod lab_node;
#[cfg(target_os = "linux")]
pub(crate) mod live;
pub(crate) mod messages;
pub(crate) mod report;
pub(crate) mod simulate;
pub(crate) mod store;
pub(crate) mod web;
