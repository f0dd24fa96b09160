#!/usr/bin/env python3
"""Compares what panels show with the store's own sums, on both databases.

    python3 -m check.sums --mysql mysql://... --postgres postgres://... --run NAME...

That a query runs and brings rows does not say that its numbers are right. Here panels are added up and held against tables that were
written by other ways: deliveries against counts, parts against wholes, lists against their totals.
"""

import argparse
import sys

from . import databases
from .dashboards import Variables, load, panel_interval, panels, run_range
from .expand import Range, expand


class Panels:
    """The panels of a run on one database, over its whole time, with everything chosen."""

    def __init__(self, database, run):
        self.database, self.run = database, run
        self.range = Range(*run_range(database, run))
        self._dashboards = {}

    def rows(self, dashboard, title, **chosen):
        """The rows of a panel, each by the names of its columns; with what is chosen in variables, else everything."""
        if dashboard not in self._dashboards:
            json = load(self.database.name, dashboard)
            self._dashboards[dashboard] = json, Variables(self.database, json, self.range, {"run": self.run, "datasource": "x"})
        json, variables = self._dashboards[dashboard]
        (panel,) = (panel for panel in panels(json) if panel["title"] == title)
        values = {**variables.values, **chosen}
        sql = expand(panel["targets"][0]["rawSql"], self.database.name, values, self.range, panel_interval(panel, self.range))
        columns, rows = self.database.rows(sql)
        return [dict(zip(columns, row)) for row in rows]

    def sum(self, dashboard, title, *columns):
        return sum(row[column] or 0 for row in self.rows(dashboard, title) for column in columns)

    def one(self, dashboard, title):
        ((value,),) = (row.values() for row in self.rows(dashboard, title))
        return value

    def stored(self, sql):
        """A number of the run, from the store."""
        return self.database.value(sql.replace("$run", str(self.run))) or 0


# The height of the newest message, up to which dashboards show heights: others may be floods of what does not exist.
NEWEST = "SELECT sequence FROM message_count WHERE run_id = $run ORDER BY first_seen_s DESC, sequence DESC LIMIT 1"
CAUSES = ("echo_signer", "resent", "echo_source", "crossing", "regossip")


def redundancy(show):
    """(what, shown, stored) of the dashboard Redundancy."""
    wasted = show.stored("SELECT SUM(copies) FROM waste WHERE run_id = $run")
    yield "copies by kind and cause", show.sum("redundancy", "Copies of no use by kind and cause", *CAUSES), wasted
    yield "copies by link and cause", show.sum("redundancy", "By link and cause", *CAUSES), wasted
    yield "copies by link", show.sum("redundancy", "By link and cause", "copies"), wasted
    yield "copies in the counts", show.stored("SELECT SUM(repeats + echoes) FROM message_count WHERE run_id = $run"), wasted
    useless = show.stored("SELECT SUM(bytes) FROM waste WHERE run_id = $run")
    yield "bytes by cause", show.sum("redundancy", "Bytes of no use by cause", "bytes"), useless
    yield "bytes by receiver and sender", show.sum("redundancy", "Bytes of no use by receiver and sender", "bytes"), useless
    yield "bytes at a glance", show.one("redundancy", "Bytes of no use"), useless
    firsts = [show.sum("redundancy", "Who delivers first", column) for column in ("firsts", "later", "returned")]
    matrix = show.sum("redundancy", "First deliveries by receiver and sender", "firsts")
    yield "first deliveries, by sender and in the matrix", matrix, firsts[0]
    newest = show.stored(NEWEST)
    counted = f"""FROM message_count AS c JOIN node AS n ON n.run_id = c.run_id AND n.label = c.receiver AND n.validator = 1
        WHERE c.run_id = $run AND c.sequence > {newest} - 20 AND c.sequence <= {newest}
          AND n.coverage = (SELECT MIN(coverage) FROM node WHERE run_id = $run AND validator = 1)"""
    # All of them are looked at only where there are not too many.
    if show.stored(f"SELECT SUM(c.messages) {counted}") <= 15000:
        yield "first and later deliveries, and all but echoes", firsts[0] + firsts[1], show.stored(f"SELECT SUM(c.useful + c.repeats) {counted}")
        # Where a signer contradicts itself, deliveries do not tell its two payloads apart.
        if not show.stored("SELECT COUNT(*) FROM event WHERE run_id = $run AND rule = 'equivocation'"):
            yield "first deliveries and what is useful", firsts[0], show.stored(f"SELECT SUM(c.useful) {counted}")
            yield "later deliveries and what is repeated", firsts[1], show.stored(f"SELECT SUM(c.repeats) {counted}")
        yield "own messages coming back, and echoes", firsts[2], show.stored(f"SELECT SUM(c.echoes) {counted}")


def nodes(show):
    """(what, shown, stored) of the dashboard Nodes."""
    for column in ("rounds", "proposals", "prepares", "commits", "late", "missing"):
        yield column, show.sum("nodes", "Participation", column), show.stored(f"SELECT SUM({column}) FROM participation WHERE run_id = $run")
    yield ("what became of commits", show.sum("nodes", "What became of the commits", "sent", "not_needed", "missing", "not_known"),
           show.stored("SELECT SUM(rounds) FROM participation WHERE run_id = $run"))
    yield ("Disconnects by reason", show.sum("nodes", "Disconnects by reason", "disconnects"),
           show.stored("SELECT SUM(total) FROM census WHERE run_id = $run AND list = 'disconnect'"))
    yield ("Disconnects by node", show.sum("nodes", "Disconnects by node", "disconnects"),
           show.stored("SELECT SUM(disconnects) FROM peer_disconnect WHERE run_id = $run"))
    yield ("segments sent again", show.sum("nodes", "Segments sent again by sender", "segments"),
           show.stored("SELECT SUM(retransmissions) FROM tcp_link WHERE run_id = $run"))


def suspicious(show):
    """(what, shown, stored) of the dashboard Suspicious."""
    events = show.stored("SELECT COUNT(*) FROM event WHERE run_id = $run AND time_s >= (SELECT first_seen_s FROM run WHERE run_id = $run)")
    yield "events over time", show.sum("suspicious", "Events over time by severity", "events"), events
    yield "events by rule", show.sum("suspicious", "Events by rule", "suspicious", "honest"), events
    yield "events by node", show.sum("suspicious", "Events by node", "suspicious", "honest"), events
    yield "events by node and rule", show.sum("suspicious", "Who did what", "events"), events
    listed = [row for row in show.rows("suspicious", "Events") if row["time"]]
    yield "events listed", len(listed), min(events, 200)
    yield ("suspicious ones", show.one("suspicious", "Suspicious events") + show.one("suspicious", "Worth knowing"), events)
    for event in listed[:20]:
        chosen = {"rule": [event["rule"]], "node": [event["named"]], "severity": [event["severity"]]}
        alike = sum(all(other[key] == event[key] for key in ("rule", "named", "severity")) for other in listed)
        if len(listed) < 200:
            yield f"events of {chosen}", len(show.rows("suspicious", "Events", **chosen)), alike
    bundles = sum(row["evidence"].startswith("bftap evidence ") for row in listed)
    yield "commands for evidence", bundles, sum(row["payloads"] is not None for row in listed)


def rounds(show):
    """(what, shown, stored) of what Consensus says of rounds."""
    yield ("rounds left, by cause", show.sum("consensus", "Why rounds were left for a higher one", "rounds"),
           show.stored(f"SELECT COUNT(*) FROM round WHERE run_id = $run AND outcome = 'changed' AND sequence <= ({NEWEST})"))
    yield ("phases", show.sum("consensus", "Phases in numbers", "rounds"), show.stored("SELECT SUM(rounds) FROM phase WHERE run_id = $run"))


def main():
    parser = argparse.ArgumentParser(description="Compares what panels show with the store's own sums.")
    databases.add_arguments(parser)
    parser.add_argument("--run", metavar="NAME", required=True, nargs="+", help="short runs that both databases hold")
    arguments = parser.parse_args()
    compared, problems = 0, []
    for database in databases.connected(arguments):
        for name in arguments.run:
            run = database.value("SELECT MAX(run_id) FROM run WHERE name = %s AND state = 'complete'", name)
            if run is None:
                sys.exit(f"{database.name}: no complete run is named {name}")
            show = Panels(database, run)
            for dashboard in (redundancy, nodes, suspicious, rounds):
                for what, shown, stored in dashboard(show):
                    compared += 1
                    if shown != stored:
                        problems.append(f"{database.name}, {name}, {what}: {shown} is shown, {stored} stored")
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        sys.exit(f"{len(problems)} of {compared} sums differ from the store's")
    print(f"{compared} sums of panels over {len(arguments.run)} runs are those of the store")


if __name__ == "__main__":
    main()
