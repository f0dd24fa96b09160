"""The dashboard *Suspicious*: what the rules found, about whom, with what shows it, and what could not be judged."""

from .navigation import NODES, RANGE_VARIABLES, RUN_VARIABLE, SUSPICIOUS, TO_SEQUENCE, about_node, links
from .panels import (
    BLUE, GREEN, GREY, ORANGE, RED, YELLOW, Dashboard, bars, colored_background, colored_text, column, grid, legend, lines,
    list_variable, matrix, override, query_variable, series, stat, table, thresholds,
)
from .sql import EVERYBODY, heights, newest
from .words import SEVERITIES, SUSPICIOUS as SUSPICIOUS_WORDS, colored, severity_colors

# How many rows a table shows at most; how many heights are looked at for rounds of which nothing can be said.
LISTED, JUDGED_HEIGHTS = 200, 1000

# Who is blamed, or named where nobody is: the signer for content, the sender for volume, or where it came from.
NAMED = "COALESCE(e.signer, e.sender, e.ip, 'nobody')"

VARIABLES = [
    RUN_VARIABLE,
    query_variable(
        "node", "Blamed or named",
        f"""
        SELECT named AS __text
        FROM (
          SELECT DISTINCT {NAMED} AS named FROM event AS e WHERE e.run_id = $run
          UNION
          SELECT 'nobody'
        ) AS names
        ORDER BY named
        LIMIT 500
        """, multi=True, all_value=EVERYBODY, description="The node that an event blames or names; nobody where it names none",
    ),
    list_variable("severity", "Severity", ("critical", "warning", "info"), "Severity of events"),
    query_variable(
        "rule", "Rule",
        """
        SELECT rule AS __text FROM event WHERE run_id = $run
        UNION
        SELECT 'equivocation'
        ORDER BY 1
        """, multi=True, all_value=EVERYBODY, description="The rule that found it: docs/rules.md",
    ),
    *RANGE_VARIABLES,
]

# Events (e) of the range that were chosen.
EVENTS = f"""FROM event AS e
        WHERE e.run_id = $run AND $__unixEpochFilter(e.time_s) AND e.severity IN (${{severity:sqlstring}})
          AND ('{EVERYBODY}' IN (${{rule:sqlstring}}) OR e.rule IN (${{rule:sqlstring}}))
          AND ('{EVERYBODY}' IN (${{node:sqlstring}}) OR {NAMED} IN (${{node:sqlstring}}))"""


def number_of(title, description, condition, steps, width=3):
    return stat(title, description, table(f"SELECT COUNT(*) AS events {EVENTS} AND {condition}"), width, steps=steps, decimals=0)


AT_A_GLANCE = [
    number_of("Suspicious events", "Events in the range that an honest node does not cause, of the chosen rules and severities.",
              "e.suspicious = 1", (GREEN, (1, RED))),
    stat("Nodes under suspicion", "Nodes that the suspicious events of the range blame.",
         table(f"SELECT COUNT(DISTINCT {NAMED}) AS nodes {EVENTS} AND e.suspicious = 1"), 3, steps=(GREEN, (1, RED)), decimals=0),
    number_of("Critical", "Critical events in the range, suspicious or not: what endangers the chain, or proves that a key was misused.",
              "e.severity = 'critical'", (GREEN, (1, RED))),
    number_of("Warnings", "Warnings in the range, suspicious or not.", "e.severity = 'warning'", (GREEN, (1, ORANGE))),
    number_of("Worth knowing", """Events in the range that blame nobody of malice: honest trouble such as a silent validator, a slow
              proposer or a stalled chain.""", "e.suspicious = 0", (GREEN, (1, BLUE))),
    number_of("Still silent", "Validators named by `silent_validator` that had not come back when that was written last.",
              "e.rule = 'silent_validator' AND e.numbers LIKE '%\"open\":1%'", (GREEN, (1, ORANGE))),
    stat("Lowest behaviour", """The lowest part *behaviour* of a score in the run: what rules blamed on one node. 0: nobody was blamed.""",
         table("SELECT COALESCE(ROUND(MIN(behaviour_milli) / 1000.0, 1), 0) AS behaviour FROM score WHERE run_id = $run"), 3,
         steps=(RED, (-0.001, GREEN)), decimals=1),
    stat("Not judged", """Kinds of loss in the run that keep rules from judging: see *What could not be judged*. 0: everything that
         passed was read.""",
         table("""
         SELECT CASE WHEN gaps > 0 THEN 1 ELSE 0 END + CASE WHEN undecodable > 0 THEN 1 ELSE 0 END
           + CASE WHEN (SELECT COUNT(*) FROM session WHERE run_id = $run AND state IN ('no_secret', 'lost', 'failed')) > 0 THEN 1 ELSE 0 END
           + CASE WHEN (SELECT COUNT(*) FROM node WHERE run_id = $run AND coverage <> 'full') > 0 THEN 1 ELSE 0 END
           + CASE WHEN (SELECT COUNT(*) FROM counter WHERE run_id = $run AND list = 'limits_reached') > 0 THEN 1 ELSE 0 END AS kinds
         FROM run
         WHERE run_id = $run
         """), 3, steps=(GREEN, (1, YELLOW)), decimals=0),
]

NO_EVENT = "nothing found in this range"

OVERVIEW = [
    lines(
        "Events over time by severity", """Events of the chosen rules, severities and nodes, by the time at which they happened. One
        event stands for one node and height, or for one stretch of time, however many messages it is about.""",
        series(f"""
        SELECT $__unixEpochGroup(second, $__interval) AS time, metric, SUM(found) AS events
        FROM (
          SELECT e.time_s AS second, e.severity AS metric, 1 AS found
          {EVENTS}
          UNION ALL SELECT ${{__from:date:seconds}}, 'critical', 0
          UNION ALL SELECT ${{__from:date:seconds}}, 'warning', 0
          UNION ALL SELECT ${{__from:date:seconds}}, 'info', 0
        ) AS marks
        GROUP BY 1, metric
        ORDER BY 1, metric
        """), 24, 8, draw="bars", fill=70, stacked=True, points=120, axis="events", decimals=0, legend_options=legend(("sum", "max")),
        overrides=severity_colors(),
    ),
    bars(
        "Events by rule", "Events of the range by the rule that found them: suspicious ones, and those that an honest node can cause.",
        table(f"""
        SELECT e.rule, SUM(e.suspicious) AS suspicious, SUM(1 - e.suspicious) AS honest
        {EVENTS}
        GROUP BY e.rule
        UNION ALL
        SELECT '{NO_EVENT}', 0, 0 FROM (SELECT COUNT(*) AS found {EVENTS}) AS stored WHERE found = 0
        ORDER BY 1
        """), 8, 10, horizontal=True, axis="events", decimals=0,
        overrides=[colored("suspicious", RED), colored("honest", GREY, "worth knowing")],
    ),
    bars(
        "Events by node", f"""Events of the range by the node that they blame or name, the 50 with most. Absence
        (`silent_validator`, `missing_proposer`, ...) names a node and blames nobody.""",
        table(f"""
        SELECT {NAMED} AS named, SUM(e.suspicious) AS suspicious, SUM(1 - e.suspicious) AS honest
        {EVENTS}
        GROUP BY 1
        UNION ALL
        SELECT '{NO_EVENT}', 0, 0 FROM (SELECT COUNT(*) AS found {EVENTS}) AS stored WHERE found = 0
        ORDER BY 2 DESC, 3 DESC, 1
        LIMIT 50
        """), 8, 10, horizontal=True, axis="events", decimals=0,
        overrides=[colored("suspicious", RED), colored("honest", GREY, "worth knowing")],
    ),
    grid(
        "Who did what", "Events of the range by node (rows) and rule (columns), the first 1,000 pairs.",
        table(f"""
        SELECT {NAMED} AS named, e.rule, COUNT(*) AS events
        {EVENTS}
        GROUP BY 1, e.rule
        UNION ALL
        SELECT '{NO_EVENT}', 'any rule', 0 FROM (SELECT COUNT(*) AS found {EVENTS}) AS stored WHERE found = 0
        ORDER BY 1, 2
        LIMIT 1000
        """), 8, 10, columns=[override("named\\rule", displayName="Node", custom_width=140, custom_cellOptions={"type": "auto"})],
        defaults={"unit": "none", "decimals": 0, "color": {"mode": "continuous-YlRd"}, "min": 0,
                  "custom": {"align": "center", "cellOptions": colored_background(), "inspect": False, "filterable": False}},
        transformations=[matrix("named", "rule", "events")],
    ),
]

# How a shell reads the name of a run whatever stands in it: quoted, a quote of its own between double ones.
RUN_NAME = """CONCAT('''', REPLACE(r.name, '''', '''"''"'''), '''')"""

EVENT_LINK = {
    "title": "This height, message by message",
    "url": TO_SEQUENCE + "${__data.fields.sequence.numeric}&var-chain=${__data.fields.chain.numeric}",
}
INSPECTED = {"custom_inspect": True}

LIST = [
    grid(
        "Events", f"""The newest {LISTED} events of the range. Signer: who signed, where content is to blame. Sender: who handed it
        over, where volume is. Numbers are those that made the rule speak, times in nanoseconds; payloads are Keccak-256 hashes of
        messages that show it. A click on the sequence leads to its messages. The last column makes a bundle for others to check,
        with the key logs of the sessions and `BFTAP_STORE` set; while a run goes on an event's number can change, and `bftap
        evidence --run NAME` lists them.""",
        table(f"""
        SELECT e.time_s AS time, e.severity, e.rule, e.suspicious, {NAMED} AS named, e.signer, e.sender, e.sequence, e.round, e.kind,
          e.detail, e.numbers, e.payloads, e.address, e.ip, e.chain_id AS chain,
          CASE WHEN e.payloads IS NULL THEN 'no signed message shows it'
            ELSE CONCAT('bftap evidence ', e.event_number, ' --run ', {RUN_NAME}, ' -o evidence-', e.event_number, ' --keylog KEYLOG') END
            AS evidence
        FROM (
          SELECT e.event_number
          {EVENTS}
          ORDER BY e.time_s DESC, e.event_number DESC
          LIMIT {LISTED}
        ) AS chosen
        JOIN event AS e ON e.run_id = $run AND e.event_number = chosen.event_number
        JOIN run AS r ON r.run_id = e.run_id
        UNION ALL
        SELECT NULL, 'none', '{NO_EVENT}', 0, 'nobody', NULL, NULL, NULL, NULL, NULL,
          'No event of the chosen rules and severities. What could not be judged stands below.', NULL, NULL, NULL, NULL, NULL, NULL
        FROM (SELECT COUNT(*) AS found {EVENTS}) AS stored
        WHERE found = 0
        ORDER BY 1 DESC, 8 DESC, 3, 5
        """), 24, 13, columns=[
            column("time", "Time", 185, "dateTimeAsIso"),
            column("severity", "Severity", 85, mappings=[SEVERITIES], custom_cellOptions=colored_text()),
            column("rule", "Rule", 145), column("suspicious", "Says", 115, mappings=[SUSPICIOUS_WORDS], custom_cellOptions=colored_text()),
            column("named", "Node", 90, links=[about_node(NODES, "named")]), column("signer", "Signer", 85), column("sender", "Sender", 85),
            column("sequence", "Sequence", 90, decimals=0, links=[EVENT_LINK]), column("round", "Round", 65), column("kind", "Kind", 95),
            column("detail", "What happened", 420, **INSPECTED), column("numbers", "Numbers", 220, **INSPECTED),
            column("payloads", "Payloads", 160, **INSPECTED), column("address", "Address", 150, **INSPECTED),
            column("ip", "IP address", 110),
            column("chain", "Chain", 65), column("evidence", "Evidence for others", 300, **INSPECTED),
        ],
    ),
]

SCORES = [
    bars(
        "Behaviour part of scores", """What rules blamed on each node of the run, as its score has it: suspicious events, a critical
        one counting four, squared, and long past ones less. The 30 lowest. Advice, not a verdict.""",
        table("""
        SELECT node, ROUND(behaviour_milli / 1000.0, 3) AS behaviour, ROUND(invalid_milli / 1000.0, 3) AS invalid
        FROM score
        WHERE run_id = $run
        UNION ALL
        SELECT 'no node was scored', 0, 0 FROM (SELECT COUNT(*) AS scores FROM score WHERE run_id = $run) AS stored WHERE scores = 0
        ORDER BY 2, 3, 1
        LIMIT 30
        """), 12, 10, horizontal=True, stacked=False, axis="score", decimals=1, minimum=None,
        overrides=[colored("behaviour", RED), colored("invalid", ORANGE, "invalid messages")],
    ),
    grid(
        "What could not be judged", f"""Loss, missing secrets and limits of the whole run, zeros included. Rules about absence speak
        only where no loss can hide a message, and no rule judges what was not read: so what is not found here may still have
        happened. Rounds are those of the newest {JUDGED_HEIGHTS:,} heights.""",
        table(f"""
        SELECT what, amount, meaning
        FROM (
        SELECT 'nodes not seen in full' AS what, COUNT(*) AS amount, 1 AS place,
          'their absence, and what others sent only to them' AS meaning
          FROM node WHERE run_id = $run AND coverage <> 'full'
        UNION ALL SELECT 'sessions not read', COUNT(*), 2, 'everything in them'
          FROM session WHERE run_id = $run AND state IN ('no_secret', 'lost', 'failed')
        UNION ALL SELECT 'gaps in streams', gaps, 3, 'absence at their time' FROM run WHERE run_id = $run
        UNION ALL SELECT 'packets dropped while capturing', COALESCE(SUM(COALESCE(kernel_drops, 0) + COALESCE(interface_drops, 0)), 0), 4,
          'what was in them: they are among the gaps' FROM capture WHERE run_id = $run
        UNION ALL SELECT 'messages that do not decode', undecodable, 5, 'their content' FROM run WHERE run_id = $run
        UNION ALL SELECT 'commits that may have been hidden by loss', COALESCE(SUM(unknown), 0), 6, 'whether they were sent'
          FROM participation WHERE run_id = $run
        UNION ALL SELECT 'rounds of which it is not known what became', COUNT(*), 7, 'their outcome' FROM round AS r
          WHERE r.run_id = $run AND r.outcome = 'unknown' AND r.sequence IN (SELECT h.sequence FROM {heights(JUDGED_HEIGHTS)})
          AND {newest("r.sequence", JUDGED_HEIGHTS)}
        UNION ALL SELECT CONCAT('limit reached: ', name), value, 8, 'what was over it: docs/config.md' FROM counter
          WHERE run_id = $run AND list = 'limits_reached'
        ) AS losses
        ORDER BY place, what
        """), 12, 10, columns=[
            column("what", "What"), column("amount", "How much", 100, thresholds=thresholds("text", (1, YELLOW)),
                                         custom_cellOptions=colored_text()),
            column("meaning", "What is not judged then"),
        ],
    ),
]

DASHBOARD = Dashboard(
    SUSPICIOUS, "bftap: Suspicious",
    """What the rules found in a run: events by severity, rule and node, with what shows them, and what could not be judged. Times are
    UTC.""",
    rows=[
        (None, AT_A_GLANCE),
        ("Events by severity, rule and node", OVERVIEW),
        ("Events", LIST),
        ("Scores, and what could not be judged", SCORES),
    ],
    variables=VARIABLES, links=links(SUSPICIOUS), time=("now-1h", "now"), refresh="5s",
)
