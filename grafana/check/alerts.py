#!/usr/bin/env python3
"""Runs the queries of the alert rules on both databases, and looks at when they fire.

    python3 -m check.alerts --mysql mysql://... --postgres postgres://... --run NAME

A stored run is made a live one inside a transaction that is rolled back: with the state of a healthy network, then with each trouble
in turn. A rule must fire at its trouble and at no other; without a live run, none may.
"""

import argparse
import sys
import time

from . import databases
from .dashboards import alert_rules
from .expand import Range, macros

# What a rule may return for Grafana to take it as one number with labels.
BATCHES = 40


class Trouble:
    """A state of a live run: what is done to the rows, and which rules must fire."""

    def __init__(self, name, fires, *statements):
        self.name, self.fires, self.statements = name, set(fires), statements


def round_changes(number, seconds_ago):
    """So many rounds asked for in the minute that lies so far back."""
    return f"""INSERT INTO minute_count (run_id, minute_ns, chain_id, receiver_ip, kind, receiver, messages, useful, repeats, echoes,
          invalid, bytes, rows_lower_bound, heights)
        SELECT run_id, seen_ns - {seconds_ago}000000000 - (seen_ns - {seconds_ago}000000000) % 60000000000, 0, '10.9.9.9', 'roundchange',
          'x', 20, 20, 0, 0, 0, 1, 0, {number}
        FROM run WHERE run_id = %(run)s"""


def event(rule, severity, seconds_ago, numbers="{}", signer="'cn1'"):
    """An event so long before the newest packet."""
    return f"""INSERT INTO event (run_id, event_number, time_ns, rule, severity, signer, chain_id, detail, suspicious, numbers)
        SELECT run_id, (SELECT COALESCE(MAX(event_number), -1) + 1 FROM (SELECT event_number FROM event WHERE run_id = %(run)s) AS there),
          seen_ns - {seconds_ago}000000000, '{rule}', '{severity}', {signer}, 0, 'made by the checks', 1, '{numbers}'
        FROM run WHERE run_id = %(run)s"""


def limit(name):
    """A limit that was reached once."""
    return f"""INSERT INTO counter (run_id, list, name, value)
        SELECT run_id, 'limits_reached', '{name}', 1 FROM run WHERE run_id = %(run)s"""


NOW_NS = time.time_ns()
GAP_S = 120
TROUBLES = [
    Trouble("healthy", []),
    Trouble("a chain that stands still while packets come", ["Stalled chain"],
            f"UPDATE run SET seen_ns = seen_ns + {GAP_S}000000000 WHERE run_id = %(run)s"),
    Trouble("a chain that stands still with a proposal in every round", ["Stalled chain"],
            f"UPDATE run SET seen_ns = seen_ns + {GAP_S}000000000 WHERE run_id = %(run)s",
            """INSERT INTO round (run_id, chain_id, sequence, round, preprepare_ns, messages, outcome)
            SELECT run_id, chain_id, sequence, 77, preprepare_ns + 119000000000, 0, 'open'
            FROM round WHERE run_id = %(run)s AND preprepare_ns IS NOT NULL ORDER BY preprepare_ns DESC LIMIT 1"""),
    Trouble("nothing written any more", ["Stalled chain", "Monitor silent"],
            f"UPDATE run SET written_ns = written_ns - {GAP_S}000000000 WHERE run_id = %(run)s"),
    Trouble("rounds that change again and again", ["Round-change storm"], round_changes(8, 0)),
    Trouble("a few round changes", [], round_changes(3, 0)),
    Trouble("round changes long ago", [], round_changes(8, 900)),
    Trouble("a validator that is silent", ["Silent validator"],
            event("silent_validator", "warning", 20, '{"from_ns":1,"open":1,"seconds":20}')),
    Trouble("two validators that are silent for long", ["Silent validator"],
            event("silent_validator", "warning", 4000, '{"from_ns":1,"open":1,"seconds":4000}'),
            event("silent_validator", "warning", 20, '{"from_ns":1,"open":1,"seconds":20}', "'cn2'")),
    Trouble("a validator that came back", [], event("silent_validator", "warning", 20, '{"from_ns":1,"open":0,"seconds":10}')),
    Trouble("a validator that equivocates", ["Critical events"], event("equivocation", "critical", 10)),
    Trouble("several critical events", ["Critical events"], event("equivocation", "critical", 10), event("equivocation", "critical", 12),
            event("bad_signature", "critical", 14), event("conflicting_lock", "critical", 14, signer="NULL")),
    Trouble("critical events long ago", [], event("equivocation", "critical", 400)),
    Trouble("critical events, and more than are listed", ["Critical events", "Events not listed"],
            event("equivocation", "critical", 10),
            limit("listed_events")),
    Trouble("another limit that was reached", [], limit("orphans")),
    Trouble("warnings", [], event("slow_proposer", "warning", 10)),
    Trouble("a stalled chain that has its own alert", [], event("stalled_chain", "critical", 10, signer="NULL")),
    Trouble("events of a run that has finished", [], event("equivocation", "critical", 10),
            event("silent_validator", "warning", 20, '{"open":1}'), "UPDATE run SET state = 'complete' WHERE run_id = %(run)s"),
    *(Trouble(f"{column} grow", ["Loss"], f"UPDATE progress SET {column} = 3 WHERE run_id = %(run)s AND batch = {10**6 + BATCHES}")
      for column in ("gaps", "undecodable", "unread_sessions")),
    Trouble("loss that does not grow", [], "UPDATE progress SET gaps = 3, undecodable = 2, unread_sessions = 1 WHERE run_id = %(run)s"),
    Trouble("a run that has finished", [],
            f"UPDATE run SET seen_ns = seen_ns + {GAP_S}000000000, state = 'complete' WHERE run_id = %(run)s"),
    Trouble("a live run that was abandoned", [],
            "UPDATE run SET written_ns = written_ns - 100000000000000 WHERE run_id = %(run)s"),
]


def made_live(database, run):
    """The run as if it were being written now, its newest height just proposed."""
    def execute(sql):
        database.rows(sql.replace("%(run)s", str(run)))

    execute("UPDATE run SET state = 'failed' WHERE run_id <> %(run)s")
    execute(f"UPDATE run SET state = 'running', live = 1, pace_milli = NULL, written_ns = {NOW_NS}, lag_ns = 0 WHERE run_id = %(run)s")
    # The newest packet is a second younger than the newest proposal.
    newest = database.value("SELECT MAX(preprepare_ns) FROM round WHERE run_id = %s", run)
    execute(f"UPDATE run SET seen_ns = {newest + 1_000_000_000} WHERE run_id = %(run)s")
    # Troubles of the capture itself are not what is tried here.
    execute("DELETE FROM minute_count WHERE run_id = %(run)s AND kind = 'roundchange'")
    execute("DELETE FROM event WHERE run_id = %(run)s")
    execute("DELETE FROM counter WHERE run_id = %(run)s")
    for number in range(BATCHES + 1):
        execute(f"""INSERT INTO progress (run_id, batch, written_ns, seen_ns, lag_ns, rows_written, spooled_batches, spooled_bytes,
              gaps, lost_bytes, undecodable, unread_sessions)
            VALUES (%(run)s, {10**6 + number}, {NOW_NS}, {newest}, 0, 1, 0, 0, 0, 0, 0, 0)""")
    return execute


def check(database, run_name, problems):
    run = database.value("SELECT MAX(run_id) FROM run WHERE name = %s AND state <> 'failed'", run_name)
    if run is None:
        sys.exit(f"{database.name}: no run is named {run_name}")
    range_ = Range(NOW_NS // 10**6 - 600_000, NOW_NS // 10**6)
    for trouble in TROUBLES:
        execute = made_live(database, run)
        for statement in trouble.statements:
            execute(statement)
        fired = set()
        for rule, query in alert_rules(database.name):
            where = f"{database.name}, {trouble.name}, {rule['title']}"
            rows = answer(database, where, query, range_, problems)
            if firing(rule, rows):
                fired.add(rule["title"])
            if trouble.name == "healthy" and not rows:
                problems.append(f"{where}: says nothing about a live run")
        if fired != trouble.fires:
            problems.append(f"{database.name}, {trouble.name}: fired {sorted(fired)}, expected {sorted(trouble.fires)}")
        database.rollback()


def answer(database, where, query, range_, problems):
    """The rows of a rule's query, which are as Grafana wants them."""
    columns, rows = database.rows(macros(query["rawSql"], database.name, range_))
    check_shape(where, columns, rows, problems)
    return rows


def firing(rule, rows):
    """The texts of the rows that are above the rule's threshold."""
    above = rule["data"][1]["model"]["conditions"][0]["evaluator"]["params"][0]

    def is_above(row):
        return any(value is not None and value > above for value in row if not isinstance(value, str))

    return [tuple(value for value in row if isinstance(value, str)) for row in rows if is_above(row)]


def check_shape(where, columns, rows, problems):
    """Grafana wants texts, one number, and no two rows with the same texts."""
    labels = []
    for row in rows:
        texts = tuple(value for value in row if isinstance(value, str))
        if len(texts) != len(row) - 1:
            problems.append(f"{where}: {columns} must be texts and one number, the row is {row}")
        labels.append(texts)
    if len(set(labels)) != len(labels):
        problems.append(f"{where}: two rows have the same labels")


def main():
    parser = argparse.ArgumentParser(description="Runs the queries of the alert rules and looks at when they fire.")
    databases.add_arguments(parser)
    parser.add_argument("--run", metavar="NAME", required=True, help="a run that both databases hold")
    arguments = parser.parse_args()
    problems = []
    for database in databases.connected(arguments):
        check(database, arguments.run, problems)
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        sys.exit(f"{len(problems)} things about the alert rules are not right")
    print(f"{len(alert_rules('mysql'))} alert rules in {len(TROUBLES)} states of a live run on 2 databases: all right")


if __name__ == "__main__":
    main()
