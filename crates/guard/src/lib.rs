//! A hand on the switch: nodes and pairs of nodes blocked, or limited in what they send, by OpenFlow rules of our own on an Open vSwitch
//! bridge, for a time.
//!
//! | room | what happens in it |
//! |---|---|
//! | [`rules`] | what to block, as rules; and rules of the switch as what is blocked; pure |
//! | [`quorum`] | whether enough validators still reach each other; pure |
//! | [`switch`] | `ovs-ofctl` and `ovs-vsctl`, and what their errors mean |
//! | [`guard`] | the three joined: list, block, unblock |
//!
//! What is blocked stands on the switch and nowhere else: rules carry their end (`hard_timeout`), and a cookie by which they are found
//! again, whoever made them. Nothing here acts on its own.

pub mod fuzzing;
pub mod guard;
pub mod quorum;
pub mod rules;
pub mod switch;

pub use guard::{Blocked, Guard, GuardError, Order, Outcome};
pub use rules::{Measure, Party, Target};
pub use switch::{Bridge, SwitchError};
