//! What PostgreSQL's error codes mean: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.

use sqlx::error::DatabaseError;

use crate::server::Meaning;

pub(super) fn of(error: &sqlx::Error) -> Meaning {
    let code = error.as_database_error().and_then(DatabaseError::code);
    code.map_or(Meaning::Other, |code| of_code(&code))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_told_from_what_does_not() {
        for (code, meaning) in [
            ("28P01", Meaning::Login),
            ("28000", Meaning::Login),
            ("3D000", Meaning::NoDatabase),
            ("42501", Meaning::NoRights),
            ("25006", Meaning::NoRights),
            ("40P01", Meaning::Busy),
            ("40001", Meaning::Busy),
            ("55P03", Meaning::Busy),
            ("53300", Meaning::Busy),
            ("53100", Meaning::Full),
            ("08006", Meaning::Gone),
            ("57P01", Meaning::Gone),
            ("57P03", Meaning::Gone),
            ("42P01", Meaning::Other),
            ("22003", Meaning::Other),
        ] {
            assert_eq!(of_code(code), meaning, "{code}");
        }
    }
}
