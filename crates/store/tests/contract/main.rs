//! What every database must do alike (`suite`), run on each of them, and what is particular to one.

mod away;
mod facts;
mod schema;
mod sqlite;
mod suite;
mod writer;
