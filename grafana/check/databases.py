"""Connections to MySQL and PostgreSQL by URL, with the time zone of a session that a careless user might have."""

from decimal import Decimal
from urllib.parse import unquote, urlsplit

# Not UTC on purpose: no query may depend on it.
ZONE_MYSQL, ZONE_POSTGRES = "+05:30", "Asia/Kolkata"


class Database:
    """A connection that answers queries with plain numbers and texts."""

    def __init__(self, name, connection):
        self.name, self._connection = name, connection

    def rows(self, sql, *values):
        """Column names and rows."""
        with self._connection.cursor() as cursor:
            # Without values, so that a percent sign in a query is no placeholder.
            cursor.execute(sql, values or None)
            if cursor.description is None:
                return [], []
            return [column[0] for column in cursor.description], [tuple(map(plain, row)) for row in cursor.fetchall()]

    def value(self, sql, *values):
        _, rows = self.rows(sql, *values)
        return rows[0][0] if rows else None

    def commit(self):
        self._connection.commit()

    def rollback(self):
        self._connection.rollback()


def plain(value):
    return float(value) if isinstance(value, Decimal) else value


def mysql(url):
    import MySQLdb

    part = urlsplit(url)
    connection = MySQLdb.connect(
        host=part.hostname or "127.0.0.1", port=part.port or 3306, user=unquote(part.username or ""),
        password=unquote(part.password or ""), database=part.path.lstrip("/"), charset="utf8mb4",
        init_command=f"SET time_zone = '{ZONE_MYSQL}', sql_mode = 'ONLY_FULL_GROUP_BY,STRICT_ALL_TABLES'",
    )
    return Database("mysql", connection)


def postgres(url):
    import psycopg2

    part = urlsplit(url)
    connection = psycopg2.connect(
        host=part.hostname or "127.0.0.1", port=part.port or 5432, user=unquote(part.username or ""),
        password=unquote(part.password or "") or None, dbname=part.path.lstrip("/"), options=f"-c TimeZone={ZONE_POSTGRES}",
    )
    return Database("postgres", connection)


def add_arguments(parser):
    """The URLs are those of bftap: mysql://user:password@host:port/database."""
    parser.add_argument("--mysql", metavar="URL", required=True, help="MySQL or MariaDB that bftap wrote into")
    parser.add_argument("--postgres", metavar="URL", required=True, help="PostgreSQL that bftap wrote into")


def connected(arguments):
    return [mysql(arguments.mysql), postgres(arguments.postgres)]
