//! What went wrong with a store, where, and what to do.

use crate::store::RunId;

/// Why a store cannot be opened, written or read.
///
/// Texts are for a person and name the store by its URL without password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store is `none`.
    #[error("no store is given: name one with --store, for example sqlite://FILE")]
    NoStore,
    /// The URL of a server cannot be read.
    #[error(
        "{store}: this is not a URL of a database: write mysql://USER:PASSWORD@HOST/DATABASE or \
         postgres://USER:PASSWORD@HOST/DATABASE, special characters of the password as %XX"
    )]
    ServerUrl {
        /// The store.
        store: String,
        /// What is wrong.
        #[source]
        source: sqlx::Error,
    },
    /// The URL of a server names no database.
    #[error("{store}: the URL names no database: write it behind the host, as in mysql://USER@HOST/DATABASE")]
    NoDatabaseNamed {
        /// The store.
        store: String,
    },
    /// The server's name means nothing.
    #[error("{store}: the name of the host is not known; check its spelling and the name service")]
    UnknownHost {
        /// The store.
        store: String,
        /// What the system said.
        #[source]
        source: sqlx::Error,
    },
    /// Nothing answers.
    #[error("{store}: the server cannot be reached; check host and port, and whether it is running")]
    Unreachable {
        /// The store.
        store: String,
        /// What was noticed.
        #[source]
        source: sqlx::Error,
    },
    /// Nothing answers, not even with a refusal.
    #[error("{store}: the server does not answer (waited {waited_s} s); check host, port and firewalls")]
    Silent {
        /// The store.
        store: String,
        /// How long was waited, in seconds.
        waited_s: u64,
    },
    /// TLS does not come about.
    #[error(
        "{store}: the connection cannot be encrypted as asked for; check `ssl-mode` in the URL and the server's certificate"
    )]
    Encryption {
        /// The store.
        store: String,
        /// What is wrong.
        #[source]
        source: sqlx::Error,
    },
    /// The server does not let this user in.
    #[error(
        "{store}: the server refuses the login; check user and password, special characters of the password as %XX"
    )]
    LoginRefused {
        /// The store.
        store: String,
        /// What the server said.
        #[source]
        source: sqlx::Error,
    },
    /// The server has no such database.
    #[error("{store}: the server has no such database; create it, or name another one in the URL")]
    NoSuchDatabase {
        /// The store.
        store: String,
        /// What the server said.
        #[source]
        source: sqlx::Error,
    },
    /// The user may not do it.
    #[error("{store}: the user has not the rights for {doing}; docs/SCHEMA.md says which are needed")]
    NoRights {
        /// The store.
        store: String,
        /// What was being done.
        doing: &'static str,
        /// What the server said.
        #[source]
        source: sqlx::Error,
    },
    /// A table holds values that its columns do not allow.
    #[error(
        "the table `{table}` has other columns or values than it should; `bftap store check` looks into it"
    )]
    OtherColumns {
        /// The table.
        table: &'static str,
    },
    /// Another program's table has a name that is needed.
    #[error(
        "{store}: there is a table `{table}` of another program, and it is left as it is; give bftap a database of its own"
    )]
    ForeignTable {
        /// The store.
        store: String,
        /// The table.
        table: String,
    },
    /// The connection ended.
    #[error("{store}: the connection to the server was lost while {doing}")]
    ConnectionLost {
        /// The store.
        store: String,
        /// What was being done.
        doing: &'static str,
        /// What was noticed.
        #[source]
        source: sqlx::Error,
    },
    /// Something of others was in the way.
    #[error("{store}: the server could not do it now, others were in the way while {doing}; try again")]
    Busy {
        /// The store.
        store: String,
        /// What was being done.
        doing: &'static str,
        /// What the server said.
        #[source]
        source: sqlx::Error,
    },
    /// The folder of the file does not exist.
    #[error("{store}: there is no folder `{folder}`; create it or name another file")]
    NoFolder {
        /// The store.
        store: String,
        /// The missing folder.
        folder: String,
    },
    /// The path is a folder.
    #[error("{store}: this is a folder, not a file; name a file in it")]
    IsFolder {
        /// The store.
        store: String,
    },
    /// Reading, and there is no such file.
    #[error("{store}: there is no such file; `bftap analyze --store {store}` makes it")]
    NoFile {
        /// The store.
        store: String,
    },
    /// The file cannot be opened at all.
    #[error("{store}: cannot be opened; check the permissions of the file and its folder")]
    CannotOpen {
        /// The store.
        store: String,
        /// What the database said.
        #[source]
        source: sqlx::Error,
    },
    /// The file or its folder must not be written.
    #[error(
        "{store}: cannot be written; check the permissions of the file and its folder, or name another file"
    )]
    ReadOnly {
        /// The store.
        store: String,
        /// What the database said.
        #[source]
        source: sqlx::Error,
    },
    /// The file is something else.
    #[error("{store}: this file is not a SQLite database and is left as it is; name another file")]
    NotADatabase {
        /// The store.
        store: String,
    },
    /// A database of another program.
    #[error("{store}: this database belongs to another program and is left as it is; name another file")]
    ForeignDatabase {
        /// The store.
        store: String,
    },
    /// Written by a newer version.
    #[error(
        "{store}: written by a newer bftap (schema {found}, this one knows {known}); use that version or another store"
    )]
    NewerSchema {
        /// The store.
        store: String,
        /// Schema version in the store.
        found: i64,
        /// Latest schema version this program knows.
        known: i64,
    },
    /// Reading, and the tables are those of an older version.
    #[error(
        "{store}: has an older schema ({found}, this one needs {known}); the next `bftap analyze` into it brings it up to date"
    )]
    OlderSchema {
        /// The store.
        store: String,
        /// Schema version in the store; 0 for an empty database.
        found: i64,
        /// Schema version needed.
        known: i64,
    },
    /// Another program holds the write lock.
    #[error(
        "{store}: another program is writing to it (waited {waited_ms} ms); wait for it, or name another file"
    )]
    Locked {
        /// The store.
        store: String,
        /// How long was waited, in milliseconds.
        waited_ms: u128,
    },
    /// No space left.
    #[error("{store}: the disk is full; make room, or name another store")]
    Full {
        /// The store.
        store: String,
    },
    /// The database file is damaged.
    #[error("{store}: the database file is damaged; move it away, or try `sqlite3 FILE .recover`")]
    Damaged {
        /// The store.
        store: String,
        /// What the database said.
        #[source]
        source: sqlx::Error,
    },
    /// A batch between was never written.
    #[error(
        "{store}: run {run} has batch {committed}, and the next one given is {number}; nothing was stored"
    )]
    BatchMissing {
        /// The store.
        store: String,
        /// The run.
        run: RunId,
        /// Number of the last transaction in the store.
        committed: i64,
        /// Number that was given.
        number: i64,
    },
    /// The run is no longer this program's.
    #[error(
        "{store}: run {run} is not being written any more: another analysis under the same name took its place; \
         give one of them another name with --run"
    )]
    TakenOver {
        /// The store.
        store: String,
        /// The run.
        run: RunId,
    },
    /// A run's name that cannot be stored.
    #[error(
        "the name of a run must have 1 to {limit} characters and no control characters; this one has {found}"
    )]
    RunName {
        /// Characters found.
        found: usize,
        /// Most characters allowed.
        limit: usize,
    },
    /// No complete run of that name.
    #[error("{store}: there is no complete run named {name:?}; there are: {known}")]
    NoSuchRun {
        /// The store.
        store: String,
        /// Name asked for.
        name: String,
        /// The latest names there are.
        known: String,
    },
    /// No complete run at all.
    #[error("{store}: there is no complete run yet; `bftap analyze --store {store}` makes one")]
    NoRuns {
        /// The store.
        store: String,
    },
    /// A run that is not there, or no longer.
    #[error("{store}: run {run} is gone: it was replaced or removed")]
    RunGone {
        /// The store.
        store: String,
        /// The run.
        run: RunId,
    },
    /// A view is to be made, and its name is something else's.
    #[error("{store}: there is a {kind} `{name}` that bftap has not made; rename it, or use another store")]
    NameTaken {
        /// The store.
        store: String,
        /// The name.
        name: String,
        /// `table` or `view`.
        kind: &'static str,
    },
    /// The database refused something for another reason.
    #[error("{store}: the database failed while {doing}")]
    Database {
        /// The store.
        store: String,
        /// What was being done.
        doing: &'static str,
        /// What the database said.
        #[source]
        source: sqlx::Error,
    },
    /// The connection stands, and nothing comes back on it.
    #[error(
        "the database has not answered for {waited_s} s; is it overloaded, or was it cut off? (answer_seconds under [store] in the \
         configuration is how long is waited)"
    )]
    NoAnswer {
        /// How long was waited, in seconds.
        waited_s: u64,
    },
    /// The database was away for too long.
    #[error(
        "the database did not come back within {waited_s} s, and what was still to be written is lost; see to it and analyse again, or \
         wait longer with patience_seconds under [store] in the configuration"
    )]
    Away {
        /// How long was waited, in seconds.
        waited_s: u64,
        /// The last error.
        #[source]
        source: Box<Self>,
    },
    /// The file for batches that wait for the database cannot be used.
    #[error(
        "the spool in {folder}, where results wait for the database, cannot be used; choose another folder with spool_folder under [store] in the configuration"
    )]
    Spool {
        /// Its folder.
        folder: String,
        /// What is wrong.
        #[source]
        source: std::io::Error,
    },
    /// The writing thread could not be started.
    #[error("the thread that writes the store cannot be started")]
    Thread(#[source] std::io::Error),
    /// The writing thread ended before, and its error has been reported.
    #[error("writing to the store stopped after an earlier error")]
    Stopped,
}

impl StoreError {
    /// Whether it may pass: worth trying again with a new connection, after a while.
    ///
    /// A lost or refused connection, a server that starts or stops, another program's lock, a full disk. A wrong password,
    /// missing rights or another schema stay what they are until a person has done something.
    pub const fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Locked { .. }
                | Self::Full { .. }
                | Self::UnknownHost { .. }
                | Self::Unreachable { .. }
                | Self::Silent { .. }
                | Self::NoAnswer { .. }
                | Self::ConnectionLost { .. }
                | Self::Busy { .. }
        )
    }
}
