//! What PostgreSQL's error codes mean: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.

use crate::server::Meaning;

pub(super) fn of(error: &sqlx::Error) -> Meaning {
    match error.as_database_error().and_then(|error| error.code()) {
        Some(code) => of_code(&code),
        None => Meaning::Other,
    }
}

fn of_code(code: &str) -> Meaning {
    match code {
        // Class 28, invalid authorization; 42501 before login is about the database.
        code if code.starts_with("28") => Meaning::Login,
        "3D000" => Meaning::NoDatabase,
        // Insufficient privilege; no schema to make tables in; a read-only transaction.
        "42501" | "3F000" | "25006" => Meaning::NoRights,
        // A key that another transaction has just made; serialization; deadlock; lock; memory; too many connections.
        "23505" | "40001" | "40P01" | "55P03" | "53200" | "53300" => Meaning::Busy,
        "53100" => Meaning::Full,
        // Class 08, connection; administrator's or crash shutdown; starting; killed while idle.
        code if code.starts_with("08") => Meaning::Gone,
        "57P01" | "57P02" | "57P03" | "57P05" | "25P03" | "57014" => Meaning::Gone,
        _ => Meaning::Other,
    }
}
