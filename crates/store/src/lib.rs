//! Facts to rows: schema, migrations; SQLite built in, MySQL/MariaDB and PostgreSQL on servers.
//!
//! Tables, columns, units and example queries are in `docs/SCHEMA.md`.
//!
//! - [`StoreUrl`]: where rows go, as the user wrote it. Passwords are never shown.
//! - [`Store`]: the few verbs that every database answers. [`open`] picks the database.
//! - [`StoreWriter`]: a store on a thread of its own, fed by the analysis through a bounded channel.
//! - [`rows`]: the tables as flat structs; [`StoreError`]: what went wrong, where, and what to do.
//!
//! A run is written under a fresh id while an earlier run of the same name stays complete and visible. The last
//! transaction removes the earlier one and marks the new one complete, so at any moment, also after a crash, a name
//! has the whole old run or the whole new one.
//!
//! Transactions of a run are numbered, and rows that come again replace themselves: whoever got no answer repeats what it
//! asked, over a new connection, and nothing is lost or counted twice.
//!
//! The verbs are said once, in `database`, in SQL that all databases understand. What one of them does its own way is in its
//! folder (`sqlite`, `mysql`, `postgres`; `server` for what is alike in the last two) and in `migrations`. Another database is one more of
//! each, and passes the same contract tests.

mod batch_merge;
mod cells;
mod database;
mod error;
mod facts_to_rows;
mod maintenance;
mod mysql;
mod names;
mod postgres;
pub mod rows;
mod server;
mod spool;
mod sqlite;
mod store;
mod url;
mod writer;

pub use error::StoreError;
pub use maintenance::{CheckedRun, Prune, Pruned, StoreCheck};
pub use sqlite::open_sqlite_waiting;
pub use store::{
    Access, Answer, Batch, HeightVotes, LiveState, NewRun, Question, Replaced, RunDetails, RunId, RunSource,
    RunState, Store, each_row, open,
};
pub use url::{ParseStoreUrlError, ServerKind, StoreUrl};
pub use writer::{Opener, Opening, Stopper, StoreWriter, WriterOptions, WriterStatus, WrittenRun};

/// Version of the tables: the same number for the same tables in every database.
pub const SCHEMA: i64 = 5;
