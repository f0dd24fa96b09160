"""Alert rules: a chain that stands still, rounds that change again and again, a silent validator, critical events, events that
are not listed, loss, and a monitor that went silent.

They look at the latest live run only, and at the clock of the capture where they can: a capture that is played back years later
behaves like its network did. There are no variables in alert rules, and no time range is needed: what they read lies at the end of
the run. Without a live run a query returns no row, and no row means all is well (`noDataState: OK`): a run that has finished must
not fire. A query that fails is an error of its own kind, not an alert of the network (`execErrState: Error`).
"""

from . import consensus, nodes, suspicious
from .panels import DATA_SOURCE_UIDS
from .sql import for_database

FOLDER, GROUP, INTERVAL = "bftap", "bftap consensus", "10s"

# A live run that was not written for a day has been abandoned; until then `Monitor silent` has said so.
LIVE_ID = """(
  SELECT run_id
  FROM run
  WHERE state = 'running' AND live = 1 AND written_ns >= (@now_s()@ - 86400) * 1000000000
  ORDER BY run_id DESC
  LIMIT 1
)"""
SILENT_S = "(@now_s()@ - FLOOR(live.written_ns / 1000000000))"


def of_live(table):
    return f"{table}.run_id = {LIVE_ID}"


class Rule:
    """One rule: a query with one number (and words that become labels), and the threshold above which it fires."""

    def __init__(self, uid, title, summary, description, runbook, *, panel, sql, above, pending, severity,
                 dashboard=consensus.DASHBOARD):
        self.uid, self.title, self.summary, self.description, self.runbook = uid, title, summary, description, runbook
        self.dashboard, self.panel = dashboard, panel
        self.sql, self.above, self.pending, self.severity = sql, above, pending, severity

    def yaml(self, database):
        panels = self.dashboard.json(database)["panels"]
        # Grafana wants both or none of these.
        (panel,) = (panel["id"] for panel in panels if panel["title"] == self.panel and panel["type"] != "row")
        return {
            "uid": self.uid,
            "title": self.title,
            "condition": "B",
            "data": [
                {
                    "refId": "A",
                    "relativeTimeRange": {"from": 600, "to": 0},
                    "datasourceUid": DATA_SOURCE_UIDS[database],
                    "model": {
                        "refId": "A", "format": "table", "rawQuery": True, "editorMode": "code",
                        "rawSql": for_database(self.sql, database), "intervalMs": 1000, "maxDataPoints": 43200,
                    },
                },
                {
                    "refId": "B",
                    "relativeTimeRange": {"from": 0, "to": 0},
                    "datasourceUid": "__expr__",
                    "model": {
                        "refId": "B", "type": "threshold", "expression": "A",
                        "datasource": {"type": "__expr__", "uid": "__expr__"},
                        "conditions": [{"evaluator": {"type": "gt", "params": [self.above]}}],
                    },
                },
            ],
            "noDataState": "OK",
            "execErrState": "Error",
            "for": self.pending,
            "annotations": {
                "summary": self.summary,
                "description": " ".join(self.description.split()),
                "runbook": " ".join(self.runbook.split()),
                "__dashboardUid__": self.dashboard.uid,
                "__panelId__": str(panel),
            },
            "dashboardUid": self.dashboard.uid,
            "panelId": panel,
            "labels": {"severity": self.severity, "source": "bftap"},
            "isPaused": False,
        }


RULES = [
    Rule(
        "bftap-stalled-chain", "Stalled chain",
        "{{ .Labels.run }}: no new height for {{ .Values.A }} s",
        """No new height was seen for more than 30 seconds, by the clock of the capture and, since the last write, by that of the
        database. Either the network stands still, or bftap does not see it any more.""",
        """Look at the panels Height over time and Newest rounds of the dashboard Consensus. Rounds that change: see the rule
        Round-change storm, and who does not vote in the dashboard One sequence. No messages at all: check the capture, and the rule
        Monitor silent. A network with blocks slower than 30 seconds needs a higher threshold.""",
        # The height of the newest proposal, and when anything of that height was seen first: proposals of later rounds of the same
        # height are no progress. A capture that is played runs at its own pace after the last write, too.
        sql=f"""
        SELECT live.name AS run, ROUND(1.0 * (FLOOR(live.seen_ns / 1000000000) - COALESCE(MIN(c.first_seen_s), live.first_seen_s))
          + 1.0 * {SILENT_S} * COALESCE(live.pace_milli, 1000) / 1000) AS seconds
        FROM run AS live
        LEFT JOIN (
          SELECT run_id, chain_id, sequence
          FROM round
          WHERE {of_live("round")} AND preprepare_s IS NOT NULL
          ORDER BY preprepare_s DESC, sequence DESC
          LIMIT 1
        ) AS newest ON newest.run_id = live.run_id
        LEFT JOIN message_count AS c ON c.run_id = newest.run_id AND c.sequence = newest.sequence AND c.chain_id = newest.chain_id
        WHERE {of_live("live")} AND live.seen_ns IS NOT NULL
        GROUP BY live.name, live.seen_ns, live.first_seen_s, live.written_ns, live.pace_milli
        """,
        panel="Height over time", above=30, pending="10s", severity="critical",
    ),
    Rule(
        "bftap-round-change-storm", "Round-change storm",
        "{{ .Labels.run }}: {{ .Values.A }} rounds asked for in five minutes",
        """Validators asked for more than 5 different rounds above 0 within the last five minutes of the capture: heights are not decided at
        the first attempt. Blocks come late or not at all.""",
        """Look at Round changes and at Heights that took more than one round in the dashboard Consensus: one proposer again and again is
        down or slow; changing ones point to the network between validators. One sequence shows whose votes are missing.""",
        # A receiver has a count for each round that was asked for. The newest 2,000 sums are five minutes of a hundred nodes.
        sql=f"""
        SELECT live.name AS run, COALESCE(MAX(asked.rounds), 0) AS rounds
        FROM run AS live
        LEFT JOIN (
        SELECT run_id, receiver_ip, SUM(heights) AS rounds
        FROM (
        SELECT run_id, receiver_ip, kind, heights, minute_s
        FROM minute_count
        WHERE {of_live("minute_count")}
        ORDER BY minute_s DESC
        LIMIT 2000
        ) AS newest
        WHERE kind = 'roundchange' AND minute_s > (SELECT seen_ns / 1000000000 - 300 FROM run WHERE {of_live("run")})
        GROUP BY run_id, receiver_ip
        ) AS asked ON asked.run_id = live.run_id
        WHERE {of_live("live")}
        GROUP BY live.name
        """,
        panel="Round changes", above=5, pending="0s", severity="warning",
    ),
    Rule(
        "bftap-silent-validator", "Silent validator",
        "{{ .Labels.run }}: nothing from {{ .Labels.validator }} for {{ .Values.A }} s",
        """A validator sends nothing of its own while others are at work, in at least 3 rounds and for at least 5 seconds of the
        capture: rule silent_validator, which speaks only where no loss can hide its messages. It does not vote and does not
        propose: its turns cost a round each, and one less may fail.""",
        """Is the node up, and connected? The dashboard Nodes shows its sessions, Disconnects and what it missed; One sequence,
        whether others reach it. Nobody is blamed. Thresholds are silent_seconds and silent_rounds (docs/rules.md). A run lists so
        many events of a rule and no more: see the rule Events not listed.""",
        # An event that lasts is written again with each change, and says that it is open. Time runs by the capture's clock.
        sql=f"""
        SELECT live.name AS run, COALESCE(e.signer, 'none') AS validator,
          COALESCE(ROUND(MAX(live.seen_ns - e.time_ns) / 1000000000.0), 0) AS seconds
        FROM run AS live
        LEFT JOIN event AS e ON e.run_id = live.run_id AND e.rule = 'silent_validator' AND e.numbers LIKE '%"open":1%'
        WHERE {of_live("live")}
        GROUP BY live.name, COALESCE(e.signer, 'none')
        """,
        panel="Participation", dashboard=nodes.DASHBOARD, above=0, pending="10s", severity="warning",
    ),
    Rule(
        "bftap-critical-events", "Critical events",
        "{{ .Labels.run }}: {{ .Values.A }} critical events {{ .Labels.event }} that name {{ .Labels.node }}",
        """Within the last five minutes of the capture a rule found something critical: a validator that signed two blocks for one
        step, messages with wrong signatures or from strangers, validators locked on different blocks, a storm of round changes. The
        node is the one that the rule blames, or nobody. A stalled chain has its own alert.""",
        """Look at Events in the dashboard Suspicious: whether it is suspicious, what happened, and the messages of that height. Its
        last column makes a bundle of evidence that others can check (docs/evidence.md). A node that was started anew, or whose key
        runs on two machines, contradicts itself without malice. A run lists so many events of a rule and no more: see the rule
        Events not listed.""",
        sql=f"""
        SELECT live.name AS run, COALESCE(found.rule, 'none') AS event, COALESCE(found.named, 'nobody') AS node,
          COALESCE(found.events, 0) AS events
        FROM run AS live
        LEFT JOIN (
          SELECT e.run_id, e.rule, {suspicious.NAMED} AS named, COUNT(*) AS events
          FROM event AS e
          WHERE {of_live("e")} AND e.severity = 'critical' AND e.rule <> 'stalled_chain'
            AND e.time_s > (SELECT FLOOR(seen_ns / 1000000000) - 300 FROM run WHERE {of_live("run")})
          GROUP BY e.run_id, e.rule, {suspicious.NAMED}
        ) AS found ON found.run_id = live.run_id
        WHERE {of_live("live")}
        """,
        panel="Events", dashboard=suspicious.DASHBOARD, above=0, pending="0s", severity="critical",
    ),
    Rule(
        "bftap-events-not-listed", "Events not listed",
        "{{ .Labels.run }}: {{ .Values.A }} events are not listed, and raise no alert",
        """Rules found more than a run lists: the earliest 1,000 events of each rule, 10,000 of all rules together. Later ones of a rule
        that is full are only counted: Critical events and Silent validator do not see them, and no dashboard shows them.""",
        """Which rule is full? See Events by rule in the dashboard Suspicious: where it is one of floods or garbage, the others still
        speak. Stop who causes it (bftap guard), start a new run, or raise listed in [rules] and listed_events (docs/config.md). It
        fires until the run ends.""",
        sql=f"""
        SELECT live.name AS run, COALESCE(MAX(more.value), 0) AS events
        FROM run AS live
        LEFT JOIN counter AS more ON more.run_id = live.run_id AND more.list = 'limits_reached' AND more.name = 'listed_events'
        WHERE {of_live("live")}
        GROUP BY live.name
        """,
        panel="What could not be judged", dashboard=suspicious.DASHBOARD, above=0, pending="0s", severity="warning",
    ),
    Rule(
        "bftap-loss", "Loss",
        "{{ .Labels.run }}: {{ .Values.A }} more {{ .Labels.what }}",
        """Within the newest 1,200 batches (five minutes, at four a second) traffic was lost or could not be read. Counts are lower
        bounds where the loss falls, and rounds may seem to lack votes that were sent.""",
        """Look at What could not be read and at Sessions in the dashboard Consensus. Gaps: the capture or the mirror drops packets.
        Sessions not read: a node's secrets do not arrive (bftap keys check). Messages that do not decode: another dialect or
        version than expected; the reason stands in the list.""",
        sql=f"""
        SELECT live.name AS run, loss.what, loss.amount
        FROM run AS live
        JOIN (
          SELECT run_id, 'gaps in streams' AS what, MAX(gaps) - MIN(gaps) AS amount
          FROM (SELECT run_id, gaps FROM progress WHERE {of_live("progress")} ORDER BY batch DESC LIMIT 1200) AS g
          GROUP BY run_id
          UNION ALL
          SELECT run_id, 'messages that do not decode', MAX(undecodable) - MIN(undecodable)
          FROM (SELECT run_id, undecodable FROM progress WHERE {of_live("progress")} ORDER BY batch DESC LIMIT 1200) AS u
          GROUP BY run_id
          UNION ALL
          SELECT run_id, 'sessions not read', MAX(unread_sessions) - MIN(unread_sessions)
          FROM (SELECT run_id, unread_sessions FROM progress WHERE {of_live("progress")} ORDER BY batch DESC LIMIT 1200) AS s
          GROUP BY run_id
        ) AS loss ON loss.run_id = live.run_id
        WHERE {of_live("live")}
        """,
        panel="What could not be read", above=0, pending="30s", severity="warning",
    ),
    Rule(
        "bftap-monitor-silent", "Monitor silent",
        "{{ .Labels.run }}: nothing was written for {{ .Values.A }} s",
        """A live run is not finished, and bftap has not written to this database for more than 30 seconds. It writes several times
        a second while packets come: so it is dead, cannot reach the database, or captures nothing at all. What the dashboards show
        is old.""",
        """Is the process alive, and its capture? While the database is away bftap spools to disk and drains later: then this rule
        resolves by itself. A run that was killed is replaced when it is started again under its name. The rule gives up after a
        day.""",
        sql=f"""
        SELECT live.name AS run, {SILENT_S} AS seconds
        FROM run AS live
        WHERE {of_live("live")}
        """,
        panel="Lag and spool", above=30, pending="10s", severity="warning",
    ),
]


def provisioning(database):
    """The rules as Grafana's provisioning file for alerting."""
    return {
        "apiVersion": 1,
        "groups": [{
            "orgId": 1, "name": GROUP, "folder": FOLDER, "interval": INTERVAL,
            "rules": [rule.yaml(database) for rule in RULES],
        }],
    }
