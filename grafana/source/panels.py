"""Grafana's JSON for panels, variables and dashboards, with the settings that all of ours share."""

import copy

from .sql import for_database

# What Grafana 11 writes into dashboards; later versions migrate it when they load it.
SCHEMA_VERSION = 39
PLUGIN_VERSION = "11.6.0"

# Data source types by database. Users choose the data source itself by a variable, so that dashboards can be imported anywhere.
DATA_SOURCE_TYPES = {"mysql": "mysql", "postgres": "grafana-postgresql-datasource"}
DATA_SOURCE_UIDS = {"mysql": "bftap-mysql", "postgres": "bftap-postgres"}

GREEN, YELLOW, ORANGE, RED, GREY, BLUE, PURPLE = "green", "yellow", "orange", "red", "#808080", "blue", "purple"


def thresholds(*steps):
    """Thresholds: the first colour holds from the start, each further one from its value on."""
    first, *others = steps
    return {
        "mode": "absolute",
        "steps": [{"color": first, "value": None}] + [{"color": color, "value": value} for value, color in others],
    }


def value_texts(texts):
    """Texts and colours for values: {"decided": ("decided", GREEN)}."""
    return {
        "type": "value",
        "options": {
            value: {"text": text, "color": color, "index": index} for index, (value, (text, color)) in enumerate(texts.items())
        },
    }


def null_text(text, color=GREY):
    return {"type": "special", "options": {"match": "null", "result": {"text": text, "color": color, "index": 0}}}


def override(field, **properties):
    """Settings for the field of that name. `custom_width=80` sets `custom.width`."""
    return {
        "matcher": {"id": "byName", "options": field},
        "properties": [
            {"id": name.replace("custom_", "custom.", 1), "value": value} for name, value in properties.items()
        ],
    }


def column(field, title, width=None, unit=None, decimals=None, **more):
    """A column of a table: its heading, width and unit."""
    properties = {"displayName": title}
    if width:
        properties["custom_width"] = width
    if unit:
        properties["unit"] = unit
    if decimals is not None:
        properties["decimals"] = decimals
    return override(field, **properties, **more)


def colored_text():
    return {"type": "color-text"}


def colored_background():
    return {"type": "color-background", "mode": "basic"}


def link(title, url, tooltip="", keep_time=False):
    """A link in a panel's corner or on top of the dashboard."""
    return {
        "title": title,
        "url": url,
        "type": "link",
        "tooltip": tooltip,
        "icon": "external link",
        "tags": [],
        "asDropdown": False,
        "targetBlank": False,
        "includeVars": False,
        "keepTime": keep_time,
    }


class Query:
    """One query of a panel: the text for both databases, as a table or as time series."""

    def __init__(self, sql, series=False):
        self.sql = sql
        self.format = "time_series" if series else "table"

    def json(self, database, ref_id):
        return {
            "refId": ref_id,
            "datasource": data_source(database),
            "format": self.format,
            "rawQuery": True,
            "editorMode": "code",
            "rawSql": for_database(self.sql, database),
        }


def series(sql):
    return Query(sql, series=True)


def table(sql):
    return Query(sql)


class Panel:
    """A panel: what it shows, and how wide and high it is on the grid of 24 columns."""

    def __init__(self, kind, title, description, queries, width, height, *, options, defaults=None, overrides=(),
                 transformations=(), links=(), interval=None, points=None):
        self.kind, self.title, self.description = kind, title, description
        self.queries = queries if isinstance(queries, (list, tuple)) else [queries]
        self.width, self.height = width, height
        self.options, self.defaults, self.overrides = options, defaults or {}, list(overrides)
        self.transformations, self.links = list(transformations), list(links)
        self.interval, self.points = interval, points

    def sized(self, width, height):
        """The same panel for another place."""
        other = copy.copy(self)
        other.width, other.height = width, height
        return other

    def json(self, database, number, x, y):
        panel = {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": " ".join(self.description.split()),
            "datasource": data_source(database),
            "gridPos": {"h": self.height, "w": self.width, "x": x, "y": y},
            "targets": [query.json(database, chr(ord("A") + index)) for index, query in enumerate(self.queries)],
            "fieldConfig": {"defaults": {**self._no_value(), **self.defaults}, "overrides": self.overrides},
            "options": self.options,
            "pluginVersion": PLUGIN_VERSION,
            # Below a second both databases would divide by zero or by fractions.
            "interval": self.interval or "1s",
            "links": self.links,
        }
        if self.points:
            panel["maxDataPoints"] = self.points
        if self.transformations:
            panel["transformations"] = self.transformations
        return panel

    def _no_value(self):
        # A table would show it in every cell without a value.
        return {} if self.kind == "table" else {"noValue": "nothing in this range"}


def data_source(database):
    return {"type": DATA_SOURCE_TYPES[database], "uid": "${datasource}"}


def legend(calcs=("mean", "max"), placement="bottom"):
    return {"showLegend": True, "displayMode": "table", "placement": placement, "calcs": list(calcs)}


SHORT_LEGEND = {"showLegend": True, "displayMode": "list", "placement": "bottom", "calcs": []}
NO_LEGEND = {"showLegend": False, "displayMode": "list", "placement": "bottom", "calcs": []}
ALL_SERIES = {"mode": "multi", "sort": "desc"}


def stat(title, description, query, width, *, field="", mappings=(), steps=(GREEN,), unit="none", text="value", height=4,
         decimals=None, overrides=(), links=(), no_value=None, color="value"):
    """A number or word as large as the panel allows."""
    defaults = {"unit": unit, "thresholds": thresholds(*steps), "mappings": list(mappings), "color": {"mode": "thresholds"}}
    if decimals is not None:
        defaults["decimals"] = decimals
    if no_value:
        defaults["noValue"] = no_value
    return Panel(
        "stat", title, description, query, width, height,
        options={
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": field, "values": False},
            "orientation": "auto",
            "textMode": text,
            "wideLayout": True,
            "colorMode": color,
            "graphMode": "none",
            "justifyMode": "auto",
            "showPercentChange": False,
            "percentChangeColorMode": "standard",
        },
        defaults=defaults, overrides=overrides, links=links,
    )


def lines(title, description, queries, width, height, *, kind="timeseries", unit="none", x_field=None, draw="line", fill=0,
          line_width=1, point_size=4, stacked=False, steps=None, minimum=0, decimals=None, axis="", overrides=(), links=(),
          legend_options=None, transformations=(), points=None, data_links=(), show_points="auto", span_nulls=False):
    """Lines, points or bars over time, or over a number when `x_field` is given (Grafana's trend panel)."""
    options = {"legend": legend_options or legend(), "tooltip": ALL_SERIES}
    if x_field:
        kind, options["xField"] = "trend", x_field
    defaults = {
        "unit": unit,
        "color": {"mode": "palette-classic-by-name"},
        "links": list(data_links),
        "custom": {
            "drawStyle": draw,
            "lineInterpolation": "linear",
            "lineWidth": line_width,
            "fillOpacity": fill,
            "pointSize": point_size,
            "showPoints": show_points,
            "spanNulls": span_nulls,
            "axisLabel": axis,
            "axisPlacement": "auto",
            "stacking": {"group": "A", "mode": "normal" if stacked else "none"},
            "thresholdsStyle": {"mode": "line+area" if steps else "off"},
        },
        "thresholds": thresholds(*(steps or (GREEN,))),
    }
    if minimum is not None:
        defaults["min"] = minimum
    if decimals is not None:
        defaults["decimals"] = decimals
    return Panel(kind, title, description, queries, width, height, options=options, defaults=defaults, overrides=overrides,
                 links=links, transformations=transformations, points=points)


def grid(title, description, query, width, height, *, columns, defaults=None, transformations=(), links=(), sort=None):
    """A table."""
    options = {"showHeader": True, "cellHeight": "sm", "frameIndex": 0}
    if sort:
        options["sortBy"] = [{"displayName": sort, "desc": True}]
    settings = {"custom": {"align": "auto", "cellOptions": {"type": "auto"}, "inspect": False, "filterable": True},
                "thresholds": thresholds(GREEN), **(defaults or {})}
    return Panel("table", title, description, query, width, height, options=options, defaults=settings, overrides=columns,
                 transformations=transformations, links=links)


def bars(title, description, query, width, height, *, horizontal=False, stacked=True, unit="none", axis="", overrides=(),
         transformations=(), links=(), data_links=(), legend_options=None, decimals=None, minimum=0):
    """Bars over words."""
    defaults = {
        "unit": unit, "color": {"mode": "palette-classic-by-name"}, "links": list(data_links),
        "custom": {"axisLabel": axis, "axisPlacement": "auto", "fillOpacity": 80, "lineWidth": 0, "gradientMode": "none",
                   "thresholdsStyle": {"mode": "off"}},
        "thresholds": thresholds(GREEN),
    }
    if minimum is not None:
        defaults["min"] = minimum
    if decimals is not None:
        defaults["decimals"] = decimals
    return Panel(
        "barchart", title, description, query, width, height,
        options={
            "orientation": "horizontal" if horizontal else "vertical",
            "stacking": "normal" if stacked else "none",
            "showValue": "never" if stacked else "auto",
            "barWidth": 0.9, "groupWidth": 0.7, "barRadius": 0, "fullHighlight": False,
            "xTickLabelRotation": 0, "xTickLabelMaxLength": 0, "xTickLabelSpacing": 0,
            "legend": legend_options or SHORT_LEGEND, "tooltip": ALL_SERIES,
        },
        defaults=defaults, overrides=overrides, transformations=transformations, links=links,
    )


def matrix(row, columns, value):
    """Long rows to a table with a column for each value of `columns`. The first column is then named `row\\columns`."""
    return {
        "id": "groupingToMatrix",
        "options": {"rowField": row, "columnField": columns, "valueField": value, "emptyValue": "null"},
    }


def as_number(field):
    return {"id": "convertFieldType", "options": {"conversions": [{"targetField": field, "destinationType": "number"}]}}


def query_variable(name, label, sql, *, multi=False, hidden=False, description="", all_value=None):
    """A variable whose values come from the database, asked again whenever the range moves: with every refresh.

    `all_value` stands in queries where all are chosen, instead of each of them: where there may be too many.
    """
    def json(database):
        text = for_database(sql, database)
        variable = {
            "type": "query", "name": name, "label": label, "description": description,
            "datasource": data_source(database), "query": text,
            "refresh": 2, "sort": 0, "regex": "", "multi": multi, "includeAll": multi,
            "hide": 2 if hidden else 0, "skipUrlSync": hidden, "options": [],
        }
        if multi:
            variable["current"] = {"selected": True, "text": ["All"], "value": ["$__all"]}
        if all_value:
            # Grafana puts it in as it is, whatever format the query asks for.
            variable["allValue"] = f"'{all_value}'"
        return variable
    return json


def list_variable(name, label, values, description=""):
    """A variable with fixed values, of which several can be chosen."""
    def json(_database):
        options = [{"text": "All", "value": "$__all", "selected": True}]
        options += [{"text": value, "value": value, "selected": False} for value in values]
        return {
            "type": "custom", "name": name, "label": label, "description": description, "query": ",".join(values),
            "multi": True, "includeAll": True, "hide": 0, "skipUrlSync": False, "options": options,
            "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        }
    return json


def text_variable(name, label, value, description=""):
    def json(_database):
        choice = {"selected": True, "text": value, "value": value}
        return {"type": "textbox", "name": name, "label": label, "description": description, "query": value, "hide": 0,
                "skipUrlSync": False, "options": [choice], "current": choice}
    return json


def data_source_variable(database):
    uid = DATA_SOURCE_UIDS[database]
    return {
        "type": "datasource", "name": "datasource", "label": "Data source", "query": DATA_SOURCE_TYPES[database], "regex": "",
        "description": "The database that bftap writes into",
        "refresh": 1, "multi": False, "includeAll": False, "hide": 0, "skipUrlSync": False, "options": [],
        "current": {"selected": True, "text": uid, "value": uid},
    }


class Dashboard:
    """A dashboard: rows of panels under headings."""

    def __init__(self, uid, title, description, *, rows, variables, links, time, refresh, annotations=()):
        self.uid, self.title, self.description, self.rows = uid, title, description, rows
        self.variables, self.links, self.time, self.refresh, self.annotations = variables, links, time, refresh, annotations

    def json(self, database):
        return {
            "id": None,
            "uid": self.uid,
            "title": self.title,
            "description": " ".join(self.description.split()),
            "tags": ["bftap", "consensus"],
            "schemaVersion": SCHEMA_VERSION,
            "version": 1,
            "editable": True,
            "graphTooltip": 1,
            "timezone": "utc",
            "time": {"from": self.time[0], "to": self.time[1]},
            "refresh": self.refresh,
            "timepicker": {"refresh_intervals": ["1s", "5s", "10s", "30s", "1m", "5m", "15m"]},
            "links": self.links,
            "annotations": {"list": [mark(database) for mark in self.annotations]},
            "templating": {"list": [data_source_variable(database)] + [variable(database) for variable in self.variables]},
            "panels": self._panels(database),
        }

    def _panels(self, database):
        panels, y = [], 0
        for heading, row in self.rows:
            if heading:
                panels.append({"id": len(panels) + 1, "type": "row", "title": heading, "collapsed": False, "panels": [],
                               "gridPos": {"h": 1, "w": 24, "x": 0, "y": y}})
                y += 1
            x = height = 0
            for panel in row:
                if x + panel.width > 24:
                    x, y, height = 0, y + height, 0
                panels.append(panel.json(database, len(panels) + 1, x, y))
                x, height = x + panel.width, max(height, panel.height)
            y += height
        return panels


def annotation(name, color, sql):
    """Marks over time, from a query with the columns time, text and tags."""
    def json(database):
        return {
            "name": name, "enable": True, "hide": False, "iconColor": color, "datasource": data_source(database),
            "target": {"refId": "Anno", "format": "table", "rawQuery": True, "editorMode": "code",
                       "rawSql": for_database(sql, database),
                       # For Grafana's own annotations; its types demand them of all.
                       "limit": 200, "matchAny": False, "tags": [], "type": "dashboard"},
        }
    return json


def text(title, content, width, height):
    """Words, in Markdown: what no number says."""
    return Text(title, content, width, height)


class Text:
    """A panel of words only."""

    def __init__(self, title, content, width, height):
        self.title, self.content, self.width, self.height = title, content, width, height

    def json(self, _database, number, x, y):
        return {
            "id": number, "type": "text", "title": self.title, "gridPos": {"h": self.height, "w": self.width, "x": x, "y": y},
            "options": {"mode": "markdown", "content": self.content}, "fieldConfig": {"defaults": {}, "overrides": []},
            "pluginVersion": PLUGIN_VERSION,
        }
