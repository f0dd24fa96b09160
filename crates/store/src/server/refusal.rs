//! What a server's errors mean to a person.

use std::io;

use crate::StoreError;

/// What an error of a server is about, whichever server says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// The user or the password is wrong, or may not connect from here.
    Login,
    /// There is no such database.
    NoDatabase,
    /// The user may not do it.
    NoRights,
    /// Another transaction was in the way, or the server has too much to do.
    Busy,
    /// The disk is full.
    Full,
    /// The server starts, stops, or ended this connection.
    Gone,
    /// Anything else.
    Other,
}

/// The store that an error is about.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Its URL without password, for texts.
    pub(crate) store: String,
    /// What the server's code of an error means.
    pub(crate) meaning: fn(&sqlx::Error) -> Meaning,
}

impl Place {
    /// The error to report for what a server said.
    pub(crate) fn refusal(&self, doing: &'static str, source: sqlx::Error) -> StoreError {
        let store = self.store.clone();
        match self.meaning_of(&source) {
            Meaning::Login => StoreError::LoginRefused { store, source },
            Meaning::NoDatabase => StoreError::NoSuchDatabase { store, source },
            Meaning::NoRights => StoreError::NoRights { store, doing, source },
            Meaning::Busy => StoreError::Busy { store, doing, source },
            Meaning::Full => StoreError::Full { store },
            Meaning::Gone => StoreError::ConnectionLost { store, doing, source },
            Meaning::Other => StoreError::Database { store, doing, source },
        }
    }

    /// The error to report for a connection that does not come about.
    pub(crate) fn cannot_connect(&self, source: sqlx::Error) -> StoreError {
        let store = self.store.clone();
        match &source {
            sqlx::Error::Configuration(_) => StoreError::ServerUrl { store, source },
            sqlx::Error::Tls(_) => StoreError::Encryption { store, source },
            // Names are looked up by the system, whose error has no kind of its own.
            sqlx::Error::Io(error) if error.to_string().contains("lookup address") => {
                StoreError::UnknownHost { store, source }
            }
            sqlx::Error::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                StoreError::NoRights {
                    store,
                    doing: "connecting",
                    source,
                }
            }
            _ if self.meaning_of(&source) == Meaning::Gone => StoreError::Unreachable { store, source },
            _ => self.refusal("connecting", source),
        }
    }

    fn meaning_of(&self, source: &sqlx::Error) -> Meaning {
        match source {
            // A connection that ends in the middle of an answer shows as either.
            sqlx::Error::Io(_) | sqlx::Error::Protocol(_) => Meaning::Gone,
            _ => (self.meaning)(source),
        }
    }
}
