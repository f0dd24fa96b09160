//! Facts to rows: schema, migrations, embedded SQLite.
