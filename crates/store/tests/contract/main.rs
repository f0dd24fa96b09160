//! What every database must do alike (`suite`), run on each of them, and what is particular to one.

mod facts;
mod schema;
mod servers;
mod sqlite;
mod suite;
mod writer;
