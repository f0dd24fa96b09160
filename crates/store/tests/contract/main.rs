//! What every database must do alike (`suite`, `suite_live`), run on each of them, and what is particular to one.

mod away;
mod facts;
mod full_disk;
mod schema;
mod server_errors;
mod servers;
mod sqlite;
mod suite;
mod suite_live;
mod writer;
