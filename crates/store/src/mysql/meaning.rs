//! What MySQL's and MariaDB's error numbers mean.
//!
//! Numbers: <https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html>,
//! <https://mariadb.com/kb/en/mariadb-error-code-reference/>.

use sqlx::mysql::MySqlDatabaseError;

use crate::server::Meaning;

pub(super) fn of(error: &sqlx::Error) -> Meaning {
    let error = error.as_database_error();
    match error.and_then(|error| error.try_downcast_ref::<MySqlDatabaseError>()) {
        Some(error) => of_number(error.number(), error.message()),
        None => Meaning::Other,
    }
}

fn of_number(number: u16, message: &str) -> Meaning {
    match number {
        // Access denied; host not allowed or blocked; without password; account locked or expired.
        1045 | 1129 | 1130 | 1698 | 1820 | 1862 | 3118 | 3955 | 4151 => Meaning::Login,
        1049 => Meaning::NoDatabase,
        // To a database, a command, a column, a routine, a server-wide right, a view; read only by session, option or state.
        1044 | 1142 | 1143 | 1227 | 1290 | 1345 | 1370 | 1792 | 1836 => Meaning::NoRights,
        // Too many connections of all or of a user; lock wait; deadlock; a key that another transaction has just made.
        1040 | 1062 | 1203 | 1205 | 1213 | 1226 | 1614 => Meaning::Busy,
        // Disk full; error writing; table full; the same of the binary log, and of files below the tables.
        3 | 20 | 1021 | 1026 | 1114 | 1598 => Meaning::Full,
        // An error of the storage engine: 28 is the system's ENOSPC.
        1030 if message.contains("error 28") => Meaning::Full,
        // Shutdown; killed; timeouts; statement interrupted by one of these.
        1053 | 1077 | 1079 | 1080 | 1152 | 1158..=1161 | 1184 | 1317 | 1927 | 3169 | 4031 => Meaning::Gone,
        _ => Meaning::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_told_from_what_does_not() {
        for (number, meaning) in [
            (1045, Meaning::Login),
            (1049, Meaning::NoDatabase),
            (1044, Meaning::NoRights),
            (1142, Meaning::NoRights),
            (1792, Meaning::NoRights),
            (1040, Meaning::Busy),
            (1205, Meaning::Busy),
            (1213, Meaning::Busy),
            (1021, Meaning::Full),
            (1114, Meaning::Full),
            (20, Meaning::Full),
            (1053, Meaning::Gone),
            (1927, Meaning::Gone),
            (1146, Meaning::Other),
            (1264, Meaning::Other),
        ] {
            assert_eq!(of_number(number, ""), meaning, "{number}");
        }
        for (message, meaning) in [
            (
                "Got error 28 \"No space left on device\" from storage engine Aria",
                Meaning::Full,
            ),
            ("Got error 168 from storage engine", Meaning::Other),
        ] {
            assert_eq!(of_number(1030, message), meaning);
        }
    }
}
