"""Dashboards and alert rules as they lie on disk, and the values that their variables take on a database."""

import json
import pathlib

from .expand import expand, interval

HERE = pathlib.Path(__file__).resolve().parent.parent
NAMES = ("consensus", "one-sequence", "redundancy", "nodes", "suspicious")
# How wide Grafana draws a panel of full width, in points.
FULL_WIDTH = 1400


def load(database, name):
    return json.loads((HERE / "dashboards" / database / f"{name}.json").read_text(encoding="utf-8"))


def alert_rules(database):
    """(title, data source's query) of each rule."""
    import yaml

    file = HERE / "provisioning" / database / "alerting" / "bftap.yaml"
    provisioning = yaml.safe_load(file.read_text(encoding="utf-8"))
    return [(rule, rule["data"][0]["model"]) for group in provisioning["groups"] for rule in group["rules"]]


def panels(dashboard):
    """Panels that ask something: neither headings nor words."""
    return [panel for panel in dashboard["panels"] if panel["type"] not in ("row", "text")]


def panel_interval(panel, range_):
    points = panel.get("maxDataPoints") or FULL_WIDTH * panel["gridPos"]["w"] // 24
    return interval(range_, points, panel["interval"])


class Variables:
    """The values of a dashboard's variables, asked from the database in their order, as Grafana does when it opens one."""

    def __init__(self, database, dashboard, range_, given):
        self.values, self.asked = {}, []
        for variable in dashboard["templating"]["list"]:
            name = variable["name"]
            if name in given:
                self.values[name] = given[name]
            elif variable["type"] == "custom":
                self.values[name] = variable["query"].split(",")
            elif variable["type"] == "textbox":
                self.values[name] = variable["query"]
            elif variable["type"] == "query":
                self.values[name] = self._asked(database, variable, range_)

    def _asked(self, database, variable, range_):
        sql = expand(variable["query"], database.name, self.values, range_, 1000)
        columns, rows = database.rows(sql)
        self.asked.append((variable["name"], sql, columns, rows))
        place = columns.index("__value") if "__value" in columns else 0
        found = [number(row[place]) for row in rows]
        if "allValue" in variable:
            # All are chosen; the quotes are those that the format would put around it, which Grafana leaves out here.
            return variable["allValue"].strip("'")
        if variable["multi"]:
            return found or ""
        return found[0] if found else ""


def number(value):
    """Numbers as Grafana writes them into a query: 12, not 12.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def run_range(database, run, margin_s=0):
    """From the first to the last packet of a run, in milliseconds."""
    _, rows = database.rows("SELECT first_seen_s, last_seen_ns FROM run WHERE run_id = %s", run)
    if not rows or rows[0][0] is None:
        raise SystemExit(f"{database.name}: there is no run {run}, or it has seen nothing")
    first_s, last_ns = rows[0]
    return (first_s - margin_s) * 1000, last_ns // 1_000_000 + 1000
