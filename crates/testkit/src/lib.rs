//! Test helpers: captures written and damaged, what survives the damage, golden files, shared captures, database servers, network namespaces.

pub mod capture_file;
pub mod damage;
pub mod impair;
mod namespace;
pub mod packet;
pub mod proxy;
pub mod servers;
mod shared;
mod shared_damage;

pub use namespace::Namespace;
pub use shared::shared_captures;
pub use shared_damage::{SharedDamage, damage_shared};
