//! Where rows go, as the user writes it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use zeroize::Zeroizing;

/// Where rows go: `sqlite://FILE`, `mysql://...`, `postgres://...` or `none`.
///
/// `Display` and `Debug` never show a password.
#[derive(Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// Rows are not stored: `none`.
    None,
    /// A SQLite file: `sqlite://run.db` (relative), `sqlite:///var/lib/run.db` (absolute).
    ///
    /// What follows `sqlite://` is the path as it stands, without percent-decoding or options.
    Sqlite(PathBuf),
    /// A SQLite database that lives as long as its connection: `sqlite::memory:`. For tests.
    SqliteMemory,
    /// A database server.
    Server {
        /// Which one.
        kind: ServerKind,
        /// The URL as written, with its password.
        url: Zeroizing<String>,
    },
}

/// A database server that a store can live in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerKind {
    /// MySQL or MariaDB.
    MySql,
    /// PostgreSQL.
    PostgreSql,
}

impl ServerKind {
    /// The product's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MySql => "MySQL/MariaDB",
            Self::PostgreSql => "PostgreSQL",
        }
    }
}

impl StoreUrl {
    /// The file of a SQLite store.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Sqlite(path) => Some(path),
            _ => None,
        }
    }
}

impl FromStr for StoreUrl {
    type Err = ParseStoreUrlError;

    fn from_str(text: &str) -> Result<Self, ParseStoreUrlError> {
        if text == "none" {
            return Ok(Self::None);
        }
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err(ParseStoreUrlError::NoScheme);
        };
        let server = |kind| {
            Ok(Self::Server {
                kind,
                url: Zeroizing::new(text.to_owned()),
            })
        };
        match scheme {
            "sqlite" => sqlite(rest.strip_prefix("//").unwrap_or(rest)),
            "mysql" | "mariadb" => server(ServerKind::MySql),
            "postgres" | "postgresql" => server(ServerKind::PostgreSql),
            _ => Err(ParseStoreUrlError::UnknownScheme),
        }
    }
}

fn sqlite(path: &str) -> Result<StoreUrl, ParseStoreUrlError> {
    match path {
        "" => Err(ParseStoreUrlError::NoFile),
        ":memory:" => Ok(StoreUrl::SqliteMemory),
        path if path.contains('\0') => Err(ParseStoreUrlError::NulInFile),
        // Elsewhere `?mode=...` are options; a file of that name is never meant.
        path if path.contains('?') => Err(ParseStoreUrlError::Options),
        path => Ok(StoreUrl::Sqlite(PathBuf::from(path))),
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Sqlite(path) => write!(f, "sqlite://{}", path.display()),
            Self::SqliteMemory => f.write_str("sqlite::memory:"),
            Self::Server { url, .. } => write_without_password(f, url),
        }
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Writes `scheme://user:***@host/...` and nothing of the options, which may hold a password too.
///
/// Everything up to the last `@` counts as user and password, so a password that should have been percent-encoded
/// (`/`, `#`, `@`) does not show either. With a `?` before it nobody knows which part is what: then nothing shows.
fn write_without_password(f: &mut fmt::Formatter<'_>, url: &str) -> fmt::Result {
    let (scheme, rest) = url.split_once(':').unwrap_or((url, ""));
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    write!(f, "{scheme}://")?;
    if rest
        .rsplit_once('@')
        .is_some_and(|(before, _)| before.contains('?'))
    {
        return f.write_str("...");
    }
    let place = match rest.rsplit_once('@') {
        Some((user, place)) => {
            match user.split_once(':') {
                Some((user, _)) => write!(f, "{user}:***@")?,
                None => write!(f, "{user}@")?,
            }
            place
        }
        None => rest,
    };
    match place.split_once('?') {
        Some((place, _)) => write!(f, "{place}?..."),
        None => f.write_str(place),
    }
}

/// Why a text is not a store URL. Does not repeat the text: it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseStoreUrlError {
    /// Nothing before a colon.
    #[error(
        "not a store URL: write sqlite://FILE, mysql://USER@HOST/DATABASE, postgres://USER@HOST/DATABASE, or none"
    )]
    NoScheme,
    /// A scheme of something else.
    #[error("unknown kind of store: use sqlite://FILE, mysql://..., postgres://... or none")]
    UnknownScheme,
    /// `sqlite://` alone.
    #[error("the store URL names no file: write `sqlite://FILE`, for example sqlite://bftap.db")]
    NoFile,
    /// A NUL in the path.
    #[error("the file name in the store URL contains a NUL character")]
    NulInFile,
    /// Options behind the path.
    #[error("options after `?` are not known for SQLite: write `sqlite://FILE` only")]
    Options,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlite_files_are_relative_or_absolute() {
        for (text, path) in [
            ("sqlite://bftap.db", "bftap.db"),
            ("sqlite:bftap.db", "bftap.db"),
            ("sqlite://out/run 1%20.db", "out/run 1%20.db"),
            ("sqlite:///var/lib/bftap/run.db", "/var/lib/bftap/run.db"),
            ("sqlite://../run.db", "../run.db"),
        ] {
            let url: StoreUrl = text.parse().unwrap();
            assert_eq!(url.file(), Some(Path::new(path)), "{text}");
            assert_eq!(url.to_string().parse(), Ok(url), "{text}");
        }
    }

    #[test]
    fn other_stores_are_known_by_name() {
        assert_eq!("none".parse(), Ok(StoreUrl::None));
        assert_eq!("sqlite::memory:".parse(), Ok(StoreUrl::SqliteMemory));
        for (text, expected) in [
            ("mysql://h/d", ServerKind::MySql),
            ("mariadb://h/d", ServerKind::MySql),
            ("postgres://h/d", ServerKind::PostgreSql),
            ("postgresql://h/d", ServerKind::PostgreSql),
        ] {
            let Ok(StoreUrl::Server { kind, url }) = text.parse() else {
                panic!("{text} is a server")
            };
            assert_eq!((kind, url.as_str()), (expected, text));
        }
    }

    #[test]
    fn wrong_urls_say_what_to_write() {
        use ParseStoreUrlError as E;
        for (text, error) in [
            ("", E::NoScheme),
            ("bftap.db", E::NoScheme),
            ("sqlite://", E::NoFile),
            ("sqlite:", E::NoFile),
            ("sqlite://a\0b", E::NulInFile),
            ("sqlite://a.db?mode=ro", E::Options),
            ("oracle://u:hunter2@h/d", E::UnknownScheme),
            ("SQLITE://a.db", E::UnknownScheme),
        ] {
            assert_eq!(text.parse::<StoreUrl>(), Err(error), "{text:?}");
            assert!(!error.to_string().contains("hunter2"));
        }
    }

    #[test]
    fn passwords_are_never_shown() {
        for (text, shown) in [
            ("mysql://ann:hunter2@db:3306/bft", "mysql://ann:***@db:3306/bft"),
            ("mysql://ann:hun/ter2@x#hunter2@db/bft", "mysql://ann:***@db/bft"),
            ("mysql://ann:hun/ter2@x?hunter2#@db/bft", "mysql://..."),
            ("postgres://db/bft?user=ann&password=hunter2@ss", "postgres://..."),
            (
                "postgres://db:5432/bft?user=ann&password=p@hunter2",
                "postgres://...",
            ),
            ("mysql://ann@db/bft", "mysql://ann@db/bft"),
            (
                "postgres://db/bft?user=ann&password=hunter2",
                "postgres://db/bft?...",
            ),
            ("postgres:ann:hunter2@db/bft", "postgres://ann:***@db/bft"),
        ] {
            let url: StoreUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), shown);
        }
    }
}
