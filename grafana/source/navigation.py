"""What all dashboards have in common: the variables on top, and the links from one to the other."""

from .panels import link, list_variable, query_variable
from .sql import KIND_NAMES

CONSENSUS, SEQUENCE, REDUNDANCY, NODES, SUSPICIOUS = (
    "bftap-consensus", "bftap-sequence", "bftap-redundancy", "bftap-nodes", "bftap-suspicious")

# Runs that have rows: those that were given up have none.
RUN_VARIABLE = query_variable(
    "run", "Run",
    """
    SELECT CONCAT(name, ' (', run_id, CASE WHEN state = 'running' AND live = 1 THEN ', live' WHEN state = 'running' THEN
      ', being written' ELSE '' END, ') ', COALESCE(@utc(first_seen_s)@, '')) AS __text, run_id AS __value
    FROM run
    WHERE state <> 'failed'
    UNION ALL
    SELECT 'no run yet', 0 FROM (SELECT COUNT(*) AS runs FROM run WHERE state <> 'failed') AS stored WHERE runs = 0
    ORDER BY 2 DESC
    """,
    description="One analysis or monitoring; the latest comes first",
)


def node_variable(description):
    return query_variable("node", "Node", "SELECT label AS __text FROM node WHERE run_id = $run ORDER BY node_number", multi=True,
                          description=description)


KIND_VARIABLE = list_variable("kind", "Kind", KIND_NAMES, "Kind of message")

# The end of a run's range in milliseconds. A capture that is being played has room for what comes: its time is not the clock's.
END_OF_RANGE = "FLOOR(COALESCE(last_seen_ns, 0) / 1000000) + CASE WHEN state = 'running' THEN 120000 ELSE 0 END"


def _time_of_run(name, sql):
    """A hidden variable with the begin or end of the run in milliseconds, for the link that shows all of it."""
    return query_variable(name, name, f"SELECT {sql} AS __text FROM run WHERE run_id = $run", hidden=True)


RANGE_VARIABLES = [_time_of_run("run_from", "COALESCE(first_seen_s, 0) * 1000"), _time_of_run("run_to", END_OF_RANGE)]

TO_SEQUENCE = f"/d/{SEQUENCE}?var-datasource=${{datasource}}&var-run=${{run}}&var-sequence="
SEQUENCE_LINK = {"title": "This height, message by message", "url": TO_SEQUENCE + "${__data.fields.sequence.numeric}"}
FIRST_FIELD_LINK = {"title": "This height, message by message", "url": TO_SEQUENCE + "${__data.fields[0].numeric}"}
RUN_TO_SEQUENCE = link("One sequence", TO_SEQUENCE + "0", "The newest height of this run, message by message")

_OTHERS = {
    CONSENSUS: ("Consensus", "All heights of this run"),
    REDUNDANCY: ("Redundancy", "Copies of no use in this run: how many, from whom, and why"),
    NODES: ("Nodes", "Who took part in this run, how fast, with which client and connections"),
    SUSPICIOUS: ("Suspicious", "What the rules found in this run, and about whom"),
}


def whole_run(uid):
    """The link that sets the dashboard's range to the time of the run."""
    return link("Whole run", f"/d/{uid}?var-datasource=${{datasource}}&var-run=${{run}}&from=${{run_from}}&to=${{run_to}}",
                "Sets the range to the time of the run: captures are often older than the last hour")


def others(uid):
    """Links to all dashboards but this one, for the same run and range."""
    for other, (title, tooltip) in _OTHERS.items():
        if other != uid:
            yield link(title, f"/d/{other}?var-datasource=${{datasource}}&var-run=${{run}}", tooltip, keep_time=True)


def about_node(uid, field):
    """A link of a field that holds a node's name: the other dashboard, about that node, in the same range."""
    title, _ = _OTHERS[uid]
    return {"title": f"{title}: this node",
            "url": f"/d/{uid}?var-datasource=${{datasource}}&var-run=${{run}}&var-node=${{__data.fields.{field}}}"
                   "&from=${__from}&to=${__to}"}


def links(uid):
    """Everything on top of a dashboard over the heights of a run."""
    return [whole_run(uid), *others(uid), RUN_TO_SEQUENCE]
