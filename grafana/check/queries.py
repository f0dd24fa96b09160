#!/usr/bin/env python3
"""Runs every query of every dashboard on both databases, as Grafana would send it, and looks at what comes back.

    python3 -m check.queries --mysql mysql://... --postgres postgres://... --run NAME

In both databases there is a run of that name over the same capture. Checked are, for each panel, variable and annotation:
no error; the columns that the panel's transformations, overrides, links and options name; time series with a numeric time
in order and in range; rows, and not too many; and that both databases answer the same.
"""

import argparse
import re
import sys
import time

from . import databases
from .dashboards import NAMES, Variables, load, panel_interval, panels, run_range
from .expand import ExpandError, Range, expand
from .told import Told

# A query that answers more is no query for a panel.
MOST_ROWS = 10_000
# How long a run may take to have something to show, in seconds.
WAIT_S = 60
# Grafana takes a whole number of ten digits for seconds, one of nineteen for nanoseconds.
SECONDS, NANOSECONDS = range(10**9, 10**10), range(10**18, 10**19)
# The run's own time, and so long a range that sums over minutes are read: seconds before the run.
RANGES = (0, 3 * 3600)


class Problems(list):
    def add(self, where, text):
        self.append(f"{where}: {text}")


def check_run(connections, run, sequences, before_s, problems, report, told, same=True):
    """Every query over one run, in the range that begins so much before it; One sequence at these heights."""
    found = len(problems)
    for name in NAMES:
        for given in [{"sequence": sequence} for sequence in sequences] if name == "one-sequence" else [{}]:
            check_dashboard(name, connections, run, given, problems, report, told, before_s, same)
    problems[found:] = [f"{run}: {problem}" for problem in problems[found:]]


def check_full(connections, run, sequences, problems, report, losses=False):
    """The same in all ranges over a run with everything in it: each panel must show something, but for those that are listed."""
    live = {database.name for database in connections if database.value("SELECT MAX(live) FROM run WHERE name = %s", run)}
    for before_s in RANGES:
        told, found = Told(), len(problems)
        check_run(connections, run, sequences, before_s, problems, report, told)
        listed = len(problems)
        told.check_panels(problems, losses, live)
        problems[listed:] = [f"{run}: {problem}" for problem in problems[listed:]]
        # What is wrong in both ranges is told once.
        problems[found:] = [problem for problem in problems[found:] if problem not in problems[:found]]


def check_dashboard(name, connections, run_name, given, problems, report, told, before_s=0, same=True):
    """Every query of one dashboard on both databases, in the range of the run or one that begins so much before."""
    answers = {}
    for database in connections:
        run = database.value("SELECT MAX(run_id) FROM run WHERE name = %s AND state <> 'failed'", run_name)
        if run is None:
            raise SystemExit(f"{database.name}: no run is named {run_name}")
        dashboard = load(database.name, name)
        first_ms, last_ms = run_range(database, run)
        range_ = Range(first_ms - before_s * 1000, last_ms)
        variables = Variables(database, dashboard, range_, {"run": run, "datasource": "x", **given})
        for variable, _, columns, rows in variables.asked:
            answers.setdefault(("variable", variable), {})[database.name] = (columns, [r[:1] for r in rows])
            if not rows:
                problems.add(f"{name}, {database.name}, variable {variable}", "has no value")
        # The list of runs differs between databases in what else was stored; it must at least run.
        runs = next(v for v in dashboard["templating"]["list"] if v["name"] == "run")
        _, rows = database.rows(expand(runs["query"], database.name, {}, range_, 1000))
        if run not in [row[1] for row in rows]:
            problems.add(f"{name}, {database.name}, variable run", "does not offer the run")
        for panel in panels(dashboard):
            for target in panel["targets"]:
                where = f"{name}, {database.name}, {panel['title']}, {target['refId']}"
                try:
                    sql = expand(target["rawSql"], database.name, variables.values, range_, panel_interval(panel, range_))
                    start = time.perf_counter()
                    columns, rows = database.rows(sql)
                    report.append((where, len(rows), time.perf_counter() - start))
                except (ExpandError, Exception) as error:
                    problems.add(where, error)
                    database.rollback()
                    continue
                check_answer(where, panel, target, columns, rows, range_, problems)
                told.note(name, database.name, panel["title"], columns, rows)
                if comparable_between_databases(panel):
                    answers.setdefault((panel["title"], target["refId"]), {})[database.name] = (columns, rows)
        for mark in dashboard["annotations"]["list"]:
            sql = expand(mark["target"]["rawSql"], database.name, variables.values, range_, 1000)
            columns, rows = database.rows(sql)
            if columns[:2] != ["time", "text"]:
                problems.add(f"{name}, {database.name}, annotation {mark['name']}", f"has the columns {columns}")
    for (title, ref_id), both in answers.items():
        if len(both) == 2 and same:
            compare(f"{name}, {title}, {ref_id}", both["mysql"], both["postgres"], problems)


def comparable_between_databases(panel):
    """Not where other runs are shown too, nor how far behind the writing was: that is the machine's, at that moment."""
    return all("$run" in target["rawSql"] and "lag_ns" not in target["rawSql"] for target in panel["targets"])


def check_answer(where, panel, target, columns, rows, range_, problems):
    if not rows:
        problems.add(where, "is empty")
        return
    if len(rows) > MOST_ROWS:
        problems.add(where, f"has {len(rows)} rows, more than {MOST_ROWS}")
    if len(set(columns)) != len(columns):
        problems.add(where, f"names a column twice: {columns}")
    kinds = {column: kind_of([row[place] for row in rows]) for place, column in enumerate(columns)}
    for column, kind in kinds.items():
        if kind == "mixed":
            problems.add(where, f"column {column} holds numbers and texts")
    if "time" in columns:
        check_time(where, target["format"], [row[columns.index("time")] for row in rows], range_, problems)
    elif target["format"] == "time_series":
        problems.add(where, "is a time series without a column time")
    if target["format"] == "time_series":
        values = [column for column, kind in kinds.items() if column != "time" and kind in ("number", "null")]
        words = [column for column, kind in kinds.items() if kind == "text"]
        if not values or words not in ([], ["metric"]):
            problems.add(where, f"is no time series of numbers by metric: {kinds}")
        if words and len(values) > 1:
            problems.add(where, "has several numbers by metric: their series would get long names")
    check_panel(where, panel, columns, rows, kinds, problems)


def kind_of(values):
    kinds = {"text" if isinstance(value, str) else "number" for value in values if value is not None}
    return "mixed" if len(kinds) > 1 else kinds.pop() if kinds else "null"


def check_time(where, form, times, range_, problems):
    known = [moment for moment in times if moment is not None]
    if form == "time_series" and len(known) < len(times):
        problems.add(where, "has rows without a time")
    if form == "time_series" and known != sorted(known):
        problems.add(where, "is not in order of time")
    for moment in known:
        if int(moment) in NANOSECONDS:
            moment = moment // 10**9
        elif int(moment) not in SECONDS:
            problems.add(where, f"time {moment} is neither seconds nor nanoseconds since 1970")
            return
        # Sums over a minute or an interval stand at its start.
        if form == "time_series" and not range_.from_s - 3600 <= moment <= range_.to_s:
            problems.add(where, f"time {moment} lies outside of the range")
            return


def check_panel(where, panel, columns, rows, kinds, problems):
    """What the panel's settings name must be there."""
    shown = list(columns)
    for step in panel.get("transformations", []):
        options = step["options"]
        if step["id"] == "groupingToMatrix":
            fields = [options[key] for key in ("rowField", "columnField", "valueField")]
            if missing := [field for field in fields if field not in columns]:
                problems.add(where, f"a transformation names {missing}, the query has {columns}")
                return
            row, column, value = (columns.index(field) for field in fields)
            pairs = [(line[row], line[column]) for line in rows]
            if len(set(pairs)) != len(pairs):
                problems.add(where, "has two values for a cell of its matrix")
            if kinds[columns[value]] not in ("number", "null"):
                problems.add(where, "its matrix does not hold numbers")
            first = f"{fields[0]}\\{fields[1]}"
            shown = [first] + list(dict.fromkeys(line[column] for line in rows))
            kinds = {first: "text"} | {name: "number" for name in shown[1:]}
            order = list(dict.fromkeys(line[row] for line in rows))
        elif step["id"] == "convertFieldType":
            for conversion in options["conversions"]:
                if conversion["targetField"] not in shown:
                    problems.add(where, f"a conversion names {conversion['targetField']}, there is {shown}")
                kinds[conversion["targetField"]] = conversion["destinationType"]
        else:
            problems.add(where, f"a transformation that these checks do not know: {step['id']}")
    matched = {column for target in panel["targets"] for column in re.findall(r"\bAS (\w+)\b", target["rawSql"])} | set(shown)
    if "metric" in columns:
        matched |= {row[columns.index("metric")] for row in rows}
    for setting in panel["fieldConfig"]["overrides"]:
        if setting["matcher"]["options"] not in matched:
            problems.add(where, f"settings for {setting['matcher']['options']}, there is {shown}")
    links = panel["fieldConfig"]["defaults"].get("links", [])
    for setting in panel["fieldConfig"]["overrides"]:
        links = links + [link for property_ in setting["properties"] if property_["id"] == "links" for link in property_["value"]]
    for link in links:
        for field in re.findall(r"__data\.fields\.(\w+)", link["url"]):
            if field not in columns:
                problems.add(where, f"a link names {field}, the query has {columns}")
    if panel["type"] == "trend":
        x = panel["options"]["xField"]
        if x not in shown or kinds.get(x) != "number":
            problems.add(where, f"{x} is no number to draw over")
        else:
            xs = order if panel.get("transformations") else [row[columns.index(x)] for row in rows]
            if xs != sorted(xs):
                problems.add(where, f"{x} is not ascending")
        if [kinds[field] for field in shown].count("number") < 2:
            problems.add(where, "has nothing to draw")
    if panel["type"] == "barchart" and (kinds[shown[0]] != "text" or "number" not in kinds.values()):
        problems.add(where, f"bars need a text and numbers: {kinds}")
    if panel["type"] == "stat":
        pattern = panel["options"]["reduceOptions"]["fields"]
        fields = [field for field in shown if re.search(pattern.strip("/"), field)] if pattern else shown
        if not fields or len(rows) != 1:
            problems.add(where, f"shows one value of {fields}, there are {len(rows)} rows")
        if not pattern and kinds[shown[0]] == "text":
            problems.add(where, "shows numbers only unless it names its field")


def compare(where, mysql, postgres, problems):
    """The same rows, whatever the order among those that tie, numbers by value."""
    if mysql[0] != postgres[0]:
        problems.add(where, f"columns differ: {mysql[0]} and {postgres[0]}")
        return
    left, right = (sorted(tuple(map(comparable, row)) for row in answer[1]) for answer in (mysql, postgres))
    if left != right:
        differing = next((pair for pair in zip(left, right) if pair[0] != pair[1]), (len(left), len(right)))
        problems.add(where, f"the databases differ: {differing[0]} and {differing[1]}")


def comparable(value):
    """Sorts whatever stands in a column, and takes 1 and 1.0 for the same."""
    if value is None:
        return (0, 0, "")
    if isinstance(value, str):
        return (2, 0, value)
    return (1, round(float(value), 6) if abs(value) < 10**15 else int(value), "")


def wait_for(database, run_name):
    """Until a run that is being written has heights, events and scores to show."""
    deadline = time.monotonic() + WAIT_S
    while True:
        # Nothing newer would be seen within a transaction.
        database.rollback()
        run = database.value("SELECT MAX(run_id) FROM run WHERE name = %s AND state = 'running' AND live = 1", run_name)
        if run is not None and all(database.value(f"SELECT COUNT(*) FROM {table} WHERE run_id = %s", run) > least
                                   for table, least in (("round", 10), ("event", 2), ("score", 0), ("participation", 0))):
            return
        if time.monotonic() > deadline:
            raise SystemExit(f"{database.name}: no run named {run_name} is being written, or it does not get on")
        time.sleep(0.1)


def main():
    parser = argparse.ArgumentParser(description="Runs every query of the dashboards on both databases.")
    databases.add_arguments(parser)
    parser.add_argument("--run", metavar="NAME", required=True, nargs="+", help="runs that both databases hold")
    parser.add_argument("--sequence", default=["0"], nargs="*", help="heights to open in One sequence (0: the newest)")
    parser.add_argument("--filled", action="store_true",
                        help="runs with every kind of trouble: each column of each panel must tell something in one of them")
    parser.add_argument("--full", action="store_true",
                        help="runs with everything in them: each panel must show something in each, but for those that are listed")
    parser.add_argument("--losses", action="store_true", help="with --full: of these runs something was lost, too")
    parser.add_argument("--live", action="store_true", help="wait until the runs have come far enough; the databases need not agree")
    parser.add_argument("--durations", action="store_true", help="print how long each query took")
    arguments = parser.parse_args()
    connections = databases.connected(arguments)
    problems, report, told = Problems(), [], Told()
    if arguments.live:
        for database in connections:
            for run in arguments.run:
                wait_for(database, run)
    for run in arguments.run:
        if arguments.full:
            check_full(connections, run, arguments.sequence, problems, report, arguments.losses)
            continue
        for before_s in RANGES:
            sequences = arguments.sequence if before_s == 0 else []
            check_run(connections, run, sequences, before_s, problems, report, told, same=not arguments.live)
    if arguments.filled:
        told.check_columns(problems)
    if arguments.durations:
        for where, rows, seconds in report:
            print(f"{seconds * 1000:8.1f} ms {rows:6} rows  {where}")
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        sys.exit(f"{len(problems)} of {len(report)} queries and what belongs to them are not right")
    total = sum(seconds for _, _, seconds in report)
    print(f"{len(report)} queries of {len(NAMES)} dashboards over {len(arguments.run)} runs on {len(connections)} databases: all right, "
          f"{total * 1000:.0f} ms")


if __name__ == "__main__":
    main()
