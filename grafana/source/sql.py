"""SQL that both databases understand, and the few words in which they differ.

A query is one text. What differs stands in it as @word(argument)@ and is put in per database by `for_database`. What is left
are Grafana's own macros and variables, which Grafana replaces before it asks the database.

Rules that keep one text right on MariaDB, MySQL 8 and PostgreSQL:
- times are whole seconds or nanoseconds since 1970; no function that knows a time zone is used;
- `1.0 * a / NULLIF(b, 0)`, since PostgreSQL divides integers to integers, and ROUND only of such decimals;
- a macro's argument is a column: Grafana's pattern ends at the first closing parenthesis;
- GROUP BY the position where the first column is a macro: `GROUP BY time` would mean other things on the two.
"""

import re

DATABASES = ("mysql", "postgres")

_WORDS = {
    "mysql": {
        # The server's clock, in seconds since 1970, in whatever time zone the session is.
        "now_s": lambda _: "UNIX_TIMESTAMP()",
        "utc": lambda seconds: f"DATE_FORMAT(DATE_ADD('1970-01-01', INTERVAL {seconds} SECOND), '%Y-%m-%d %H:%i:%s')",
        # (of a query in WITH) Its rows are worked out once, not where they are asked for.
        "once": lambda _: "",
    },
    "postgres": {
        "now_s": lambda _: "FLOOR(EXTRACT(EPOCH FROM NOW()))",
        "utc": lambda seconds: f"TO_CHAR(TO_TIMESTAMP({seconds}) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')",
        "once": lambda _: "MATERIALIZED ",
    },
}
_WORD = re.compile(r"@(\w+)\(([^@]*)\)@")


_CLAUSES = ("SELECT", "FROM", "JOIN", "LEFT JOIN", "CROSS JOIN", "WHERE", "GROUP BY", "ORDER BY", "LIMIT", "UNION ALL", "WITH", ")")


def for_database(text, database):
    """The text with the words of that database."""
    words = _WORDS[database]
    text = _WORD.sub(lambda match: words[match[1]](match[2].strip()), text)
    if "@" in text:
        raise ValueError(f"a word of ours is left over in: {text}")
    return "\n".join(_indented(line.strip() for line in text.split("\n") if line.strip()))


def _indented(lines):
    """Lines by the depth of their parentheses: queries are put together from pieces, and people read them in Grafana."""
    depth = 0
    for line in lines:
        leading = len(line) - len(line.lstrip(")"))
        further = 0 if line.startswith(_CLAUSES) else 1
        yield "  " * (depth - leading + further) + line
        depth += line.count("(") - line.count(")")


def at_most(seconds):
    """Whether the range is that short. The database knows before it runs, and drops the part of a query that does not hold."""
    return f"${{__to:date:seconds}} - ${{__from:date:seconds}} <= {seconds}"


# What a range costs must not grow with it. Counts and rounds of short ranges are read one by one, in longer ones their sums over
# minutes.
FEW_COUNTS = at_most(300)

# Minutes of which a part lies in the range: also the one in which it begins, and the one that is still filling.
MINUTES = "minute_s >= ${__from:date:seconds} - 59 AND minute_s <= ${__to:date:seconds}"

# (of `delivery_row` as `d`)
KIND_OF_ID = "CASE d.kind_id WHEN 0 THEN 'preprepare' WHEN 1 THEN 'prepare' WHEN 2 THEN 'commit' ELSE 'roundchange' END"
KIND_NAMES = ("preprepare", "prepare", "commit", "roundchange")



def with_zeros(sql, word, number, words, order=None):
    """Rows of a word and a number, and a 0 for each of the words that is not among them: bars that say "none" instead of nothing."""
    zeros = " ".join(f"UNION ALL SELECT '{one}', 0" for one in words)
    return f"""
SELECT {word}, SUM({number}) AS {number}
FROM (
{sql}
{zeros}
) AS counted
GROUP BY {word}
ORDER BY {order or word}"""


# In the dashboards' variables every value is quoted by Grafana; the run's id is a number of our own.
NODES = "(${node:sqlstring})"
# What stands for all values of a variable that may have more than fit into a query.
EVERYBODY = "all of them"
KINDS = "(${kind:sqlstring})"


def counts(*columns, kinds=KINDS):
    """Counts in the range as `c`, with `second`, `receiver`, `kind` and the columns, by the second or summed by the minute.

    `lower_bound` is how many counts are lower bounds, `counted` how many there are.
    """
    by_minute = {"lower_bound": "rows_lower_bound AS lower_bound", "counted": "heights AS counted"}
    by_second = {"counted": "1 AS counted"}
    fine = ", ".join(by_second.get(column, column) for column in columns)
    coarse = ", ".join(by_minute.get(column, column) for column in columns)
    return f"""(
  SELECT first_seen_s AS second, receiver, kind, {fine}
  FROM message_count
  WHERE run_id = $run AND $__unixEpochFilter(first_seen_s) AND {FEW_COUNTS}
    AND receiver IN {NODES} AND kind IN {kinds}
  UNION ALL
  SELECT minute_s AS second, receiver, kind, {coarse}
  FROM minute_count
  WHERE run_id = $run AND {MINUTES} AND NOT ({FEW_COUNTS})
    AND receiver IN {NODES} AND kind IN {kinds}
) AS c"""


# Seconds that one point of `counts` stands for, when points are grouped by $__interval.
SECONDS_OF_A_POINT = f"GREATEST(CASE WHEN {FEW_COUNTS} THEN 1 ELSE 60 END, $__interval_ms / 1000.0)"

# The height of the newest message in the range.
NEWEST_HEIGHT = """(
  SELECT sequence
  FROM message_count
  WHERE run_id = $run AND $__unixEpochFilter(first_seen_s)
  ORDER BY first_seen_s DESC, sequence DESC
  LIMIT 1
)"""


def newest(column, number):
    """That a height is one of so many that end with the newest one in the range.

    Said of every table that has heights: PostgreSQL knows nothing of a run that has just begun, and reads all of it where only a
    join tells which heights are wanted.
    """
    return f"{column} > {NEWEST_HEIGHT} - {number} AND {column} <= {NEWEST_HEIGHT}"


def heights(number):
    """The heights that are among so many that end with the newest one in the range, as `h`.

    To be joined by equality: MariaDB reads a whole run where only a comparison with a query tells which heights are wanted. It reads
    these from the end, so they cost the same for any run.
    """
    return f"""(
  SELECT DISTINCT sequence
  FROM round
  WHERE run_id = $run AND {newest("sequence", number)}
  ORDER BY sequence DESC
  LIMIT {number}
) AS h"""


def rounds(one_by_one=900):
    """Rounds in the range of which a preprepare was seen, as `r`: one by one in ranges of up to so many seconds, in longer ones
    summed by the minute of the preprepare.

    `rounds` is how many there are, `higher_rounds` how many of them are above 0, `committed` how many were seen committed; `ms` the
    milliseconds from preprepare to commit where it is one round, `ms_sum` and `ms_max` where it may be more.
    """
    few = at_most(one_by_one)
    took = "ROUND((committed_ns - preprepare_ns) / 1000000.0, 3)"
    return f"""(
  SELECT preprepare_s AS second, sequence AS highest_sequence, 1 AS rounds, CASE WHEN round > 0 THEN 1 ELSE 0 END AS higher_rounds,
    CASE WHEN committed_ns IS NULL THEN 0 ELSE 1 END AS committed, {took} AS ms, {took} AS ms_sum, {took} AS ms_max
  FROM round
  WHERE run_id = $run AND $__unixEpochFilter(preprepare_s) AND {few}
  UNION ALL
  SELECT minute_s AS second, highest_sequence, rounds, higher_rounds, committed, NULL AS ms, ROUND(commit_ns_sum / 1000000.0, 3) AS ms_sum,
    ROUND(commit_ns_max / 1000000.0, 3) AS ms_max
  FROM minute_round
  WHERE run_id = $run AND {MINUTES} AND NOT ({few})
) AS r"""


# What a decided round should bring to a validator, of the chosen kinds: one vote of every other one, and the proposal unless it made
# it.
EXPECTED = f"""CASE WHEN 'prepare' IN {KINDS} THEN r.validators - 1 ELSE 0 END
+ CASE WHEN 'commit' IN {KINDS} THEN r.validators - 1 ELSE 0 END
+ CASE WHEN 'preprepare' IN {KINDS} AND COALESCE(r.proposer, '') <> n.label THEN 1 ELSE 0 END"""


# Of the chosen validators, the coverage of those of which most was seen: full, lossy, partial are in that order by their letters.
BEST_COVERAGE = f"(SELECT MIN(coverage) FROM node WHERE run_id = $run AND validator = 1 AND label IN {NODES})"


def decided(number):
    """Decided rounds (r) of the newest heights."""
    return f"""{heights(number)}
JOIN round AS r ON r.run_id = $run AND r.sequence = h.sequence AND {newest("r.sequence", number)}
  AND r.outcome = 'decided' AND r.validators IS NOT NULL"""


def expected_and_received(number, by, *columns, where=""):
    """What the decided rounds of the newest heights should bring to the chosen validators, and what they brought, as `e`.

    By `by` as `part`: `expected`, the `receivers` it is the sum of, the columns of `message_count`, and `coverage` (the best, where it
    is not one validator's). The two are put under each other and not joined: what is expected may not have come at all, and a
    database that knows nothing yet of a new run works out one of them again for every row of the other.
    """
    nothing = ", ".join(f"0 AS {column}" for column in columns)
    sums = ", ".join(f"SUM({column}) AS {column}" for column in columns)
    came = ", ".join(f"SUM(c.{column}) AS {column}" for column in columns)
    return f"""(
  SELECT part, MIN(coverage) AS coverage, SUM(receivers) AS receivers, SUM(expected) AS expected, {sums}
  FROM (
    SELECT {by} AS part, MIN(n.coverage) AS coverage, COUNT(DISTINCT i.ip) AS receivers, SUM({EXPECTED}) AS expected, {nothing}
    FROM {decided(number)}
    JOIN node AS n ON n.run_id = $run AND n.validator = 1 AND n.label IN {NODES}
    JOIN node_ip AS i ON i.run_id = $run AND i.node_number = n.node_number
    {where}
    GROUP BY {by}
    UNION ALL
    SELECT {by} AS part, MIN(n.coverage) AS coverage, 0 AS receivers, 0 AS expected, {came}
    FROM {decided(number)}
    JOIN message_count AS c ON c.run_id = $run AND c.sequence = r.sequence AND c.round = r.round AND c.chain_id = r.chain_id
      AND {newest("c.sequence", number)} AND c.kind IN {KINDS} AND c.kind <> 'roundchange' AND c.receiver IN {NODES}
    JOIN node AS n ON n.run_id = $run AND n.validator = 1 AND n.label = c.receiver
    {where}
    GROUP BY {by}
  ) AS parts
  GROUP BY part
) AS e"""
