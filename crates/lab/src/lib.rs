//! A network of namespaces on an Open vSwitch bridge, made and taken down in one step.
//!
//! | module | what |
//! |---|---|
//! | [`plan`] | what is wanted, and the names of everything |
//! | [`state`] | what was made, written down before it is made |
//! | [`lab`] | up, down, status |
//! | `switch` | Open vSwitch: daemons of the lab's own or the machine's |
//! | `identities` | keys and names of lab nodes |
//! | `processes` | what runs for a lab |
//! | `tools` | other programs, with their words when they fail |
//!
//! Nothing outside is touched: all names carry a prefix made from the lab's folder, all processes a mark in their environment, and
//! taking down removes what carries them. So it works after a crash at any moment, and without the state file, too.

mod identities;
pub mod lab;
pub mod plan;
mod processes;
pub mod state;
mod switch;
mod tools;

pub use lab::{Down, Lab, LabError, NodeState};
pub use plan::{Controller, Datapath, NodeProgram, Plan, PlanError, PortKind, Subnet};
pub use tools::ToolError;
