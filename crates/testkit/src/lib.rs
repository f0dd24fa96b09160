//! Test helpers: captures written and damaged, what survives the damage, golden files, shared captures, database servers, network namespaces, and
//! networks from seeds with what is to be found in them.

pub mod capture_file;
pub mod damage;
pub mod impair;
mod namespace;
pub mod ovs;
pub mod packet;
pub mod proxy;
pub mod scenario;
pub mod servers;
mod shared;
mod shared_damage;

pub use namespace::Namespace;
pub use shared::shared_captures;
pub use shared_damage::{SharedDamage, damage_shared};
