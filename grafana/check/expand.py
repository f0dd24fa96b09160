"""Expands variables and macros of queries as Grafana does: first what the browser replaces, then what the server does.

Grafana's own patterns are kept with their limits: a macro's arguments end at the first closing parenthesis and are split at every
comma, and an unknown variable stays as it is.
"""

import re
from dataclasses import dataclass
from datetime import datetime, timezone

# (of Grafana's template service) $name, [[name:format]], ${name.path:format}
_VARIABLE = re.compile(r"\$(\w+)|\[\[(\w+?)(?::(\w+))?\]\]|\$\{(\w+)(?:\.([^:^}]+))?(?::([^}]+))?\}")
# (of its SQL data sources)
_MACRO = re.compile(r"\$([_a-zA-Z0-9]+)\(([^)]*)\)")

# An interval below the first number is rounded to the second: milliseconds, as Grafana's rounding has them.
_ROUNDED = (
    (10, 1), (15, 10), (35, 20), (75, 50), (150, 100), (350, 200), (750, 500), (1500, 1000), (3500, 2000), (7500, 5000), (12500, 10000),
    (17500, 15000), (25000, 20000), (45000, 30000), (90000, 60000), (210000, 120000), (450000, 300000), (750000, 600000),
    (1050000, 900000), (1500000, 1200000), (2700000, 1800000), (5400000, 3600000), (9000000, 7200000), (16200000, 10800000),
    (32400000, 21600000), (86400000, 43200000), (604800000, 86400000), (1814400000, 604800000),
)
_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


class ExpandError(ValueError):
    """A query that Grafana would refuse."""


@dataclass(frozen=True)
class Range:
    """A dashboard's time range, in milliseconds since 1970."""

    from_ms: int
    to_ms: int

    @property
    def from_s(self):
        return self.from_ms // 1000

    @property
    def to_s(self):
        return self.to_ms // 1000


def interval_ms(text):
    """Milliseconds of an interval: 500ms, 1s, 5m, 1h."""
    match = re.fullmatch(r"(\d+)(ms|[smhdw])", text.strip())
    if not match:
        raise ExpandError(f"not an interval: {text}")
    return int(match[1]) * _UNITS_MS[match[2]]


def interval_text(milliseconds):
    """An interval as Grafana writes it: in the largest unit that fits, and nothing of what is left over."""
    for unit, length in (("y", 31_536_000_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds >= length:
            return f"{milliseconds // length}{unit}"
    return f"{milliseconds}ms"


def interval(range_, points, lowest="1s"):
    """$__interval of a panel, in milliseconds: range / points, rounded, and not below the panel's lowest."""
    wanted = (range_.to_ms - range_.from_ms) / points
    rounded = next((to for limit, to in _ROUNDED if wanted < limit), 31_536_000_000 if wanted >= 3_628_800_000 else 2_592_000_000)
    return max(rounded, interval_ms(lowest))


def variables(text, values, range_, milliseconds):
    """What the browser replaces. A value is a number or text; a list is the choice of a variable that takes several."""
    known = {
        "__from": range_.from_ms, "__to": range_.to_ms, "__interval": interval_text(milliseconds), "__interval_ms": milliseconds,
        "__range_s": range_.to_s - range_.from_s, **values,
    }

    def one(match):
        name = match[1] or match[2] or match[4]
        form = match[3] or match[6]
        if name not in known:
            return match[0]
        return _formatted(name, known[name], form)

    return _VARIABLE.sub(one, text)


def _formatted(name, value, form):
    several = isinstance(value, list)
    items = [str(item) for item in value] if several else [str(value)]
    if form is None:
        # SQL data sources quote the values of variables that take several, and double the quotes of the others.
        if several:
            return ",".join(_quoted(item) for item in items)
        return items[0] if isinstance(value, int) or name.startswith("__") else items[0].replace("'", "''")
    if form == "sqlstring":
        return ",".join(_quoted(item) for item in items)
    if form == "raw" or form == "csv":
        return ",".join(items)
    if form == "date:seconds":
        return str(int(items[0]) // 1000)
    if form == "date" or form == "date:iso":
        return _instant(int(items[0]))
    raise ExpandError(f"a format that these checks do not know: {form}")


def _quoted(text):
    return "'" + text.replace("'", "''") + "'"


def _instant(milliseconds):
    time = datetime.fromtimestamp(milliseconds / 1000, timezone.utc)
    fraction = f".{milliseconds % 1000:03}".rstrip("0").rstrip(".")
    return time.strftime("%Y-%m-%dT%H:%M:%S") + fraction + "Z"


def macros(text, database, range_):
    """What the data source replaces."""
    return _MACRO.sub(lambda match: _macro(match[1], [part.strip(" ") for part in match[2].split(",")], database, range_), text)


def _macro(name, arguments, database, range_):
    mysql = database == "mysql"
    from_s, to_s = range_.from_s, range_.to_s
    if name == "__timeFrom":
        return f"FROM_UNIXTIME({from_s})" if mysql else f"'{_instant(range_.from_ms)}'"
    if name == "__timeTo":
        return f"FROM_UNIXTIME({to_s})" if mysql else f"'{_instant(range_.to_ms)}'"
    if not arguments[0]:
        raise ExpandError(f"missing time column argument for macro {name}")
    column = arguments[0]
    if name == "__time":
        return f"UNIX_TIMESTAMP({column}) as time_sec" if mysql else f'{column} AS "time"'
    if name == "__timeFilter":
        if mysql:
            return f"{column} BETWEEN FROM_UNIXTIME({from_s}) AND FROM_UNIXTIME({to_s})"
        return f"{column} BETWEEN '{_instant(range_.from_ms)}' AND '{_instant(range_.to_ms)}'"
    if name == "__unixEpochFilter":
        return f"{column} >= {from_s} AND {column} <= {to_s}"
    if name in ("__timeGroup", "__timeGroupAlias", "__unixEpochGroup"):
        if len(arguments) < 2:
            raise ExpandError(f"macro {name} needs time column and interval")
        step = _seconds(arguments[1].strip("'\""))
        if name == "__unixEpochGroup":
            return f"{column} DIV {step} * {step}" if mysql else f"floor(({column})/{step})*{step}"
        group = (f"UNIX_TIMESTAMP({column}) DIV {step} * {step}" if mysql
                 else f"floor(extract(epoch from {column})/{step})*{step}")
        return group + (' AS "time"' if name.endswith("Alias") else "")
    raise ExpandError(f"unknown macro {name}: only those that read the same on both databases are used here")


def _seconds(text):
    milliseconds = interval_ms(text)
    return str(milliseconds // 1000) if milliseconds % 1000 == 0 else f"{milliseconds / 1000:g}"


def expand(text, database, values, range_, milliseconds):
    """A query as it reaches the database."""
    return macros(variables(text, values, range_, milliseconds), database, range_)
