"""The dashboard *One sequence*: every round and message of one height, by milliseconds from its first message."""

from .navigation import RUN_VARIABLE, SEQUENCE, others
from .panels import (
    BLUE, GREEN, GREY, ORANGE, PURPLE, RED, YELLOW, Dashboard, as_number, bars, colored_background, colored_text, column, grid,
    legend, lines, link, matrix, override, query_variable, stat, table, text_variable,
)
from .sql import KIND_OF_ID
from .words import OUTCOMES

# The height, its chain and run: `delivery_row` is read by its key. Not through the view `delivery`: MySQL would first
# look up the texts of every row there is.
OF_HEIGHT = "run_id = $run AND chain_id = $chain AND sequence = $height"
# When the height was first seen anywhere. Not joined: PostgreSQL would work it out for every row.
START = f"(SELECT MIN(first_seen_ns) FROM message_count WHERE {OF_HEIGHT})"


def since_start(time):
    """Milliseconds from the first message of the height."""
    return f"ROUND(({time} - {START}) / 1000000.0, 3)"


# Deliveries (d) of the height, with ids for texts. A height of many validators has a hundred thousand: names are put in where they have been
# added up, or only some are shown.
DELIVERIES = """delivery_row AS d
  WHERE d.run_id = $run AND d.sequence = $height AND d.chain_id = $chain"""

# Of each round, kind, receiver and signer the first delivery (f), with the receiver's and the signer's names.
FIRSTS = f"""(
  SELECT first_ids.round, first_ids.kind, n.receiver, s.label AS signer, MIN(first_ids.first_ns) AS first_ns
  FROM (
    SELECT d.round, {KIND_OF_ID} AS kind, d.receiver_id, d.signer_id, MIN(d.first_seen_ns) AS first_ns
    FROM {DELIVERIES}
    GROUP BY d.round, d.kind_id, d.receiver_id, d.signer_id
  ) AS first_ids
  JOIN (
    SELECT l.label_id AS receiver_id, MIN(c.receiver) AS receiver
    FROM message_count AS c
    JOIN label AS l ON l.run_id = c.run_id AND l.label = c.receiver_ip
    WHERE c.run_id = $run AND c.chain_id = $chain AND c.sequence = $height
    GROUP BY l.label_id
  ) AS n ON n.receiver_id = first_ids.receiver_id
  JOIN label AS s ON s.run_id = $run AND s.label_id = first_ids.signer_id
  GROUP BY first_ids.round, first_ids.kind, n.receiver, s.label
) AS f"""

KIND_COLORS = {"preprepare": PURPLE, "prepare": BLUE, "commit": GREEN, "roundchange": RED}
KIND_TEXTS = {
    "type": "value",
    "options": {kind: {"text": kind, "color": color, "index": index} for index, (kind, color) in enumerate(KIND_COLORS.items())},
}


def neighbour(name, comparison, order):
    """A hidden variable: the height before or after this one, or this one where there is none."""
    return query_variable(name, name, f"""
        SELECT COALESCE((SELECT sequence FROM round WHERE run_id = $run AND chain_id = $chain AND sequence {comparison} $height
          ORDER BY sequence {order} LIMIT 1), $height) AS __text
        """, hidden=True)


VARIABLES = [
    RUN_VARIABLE,
    query_variable(
        "chain", "Chain",
        """
        SELECT chain AS __text, chain_id AS __value
        FROM chain
        WHERE run_id = $run
        UNION ALL
        SELECT 'no chain yet', 0 FROM (SELECT COUNT(*) AS chains FROM chain WHERE run_id = $run) AS stored WHERE chains = 0
        ORDER BY 2 DESC
        """,
        description="Network id and genesis hash; the chain that was seen last comes first",
    ),
    text_variable("sequence", "Sequence (0: newest)", "0", "Height; 0 follows the newest one of the run"),
    query_variable("height", "height", """
        SELECT COALESCE((SELECT sequence FROM round WHERE run_id = $run AND chain_id = $chain
          AND (${sequence:sqlstring} = '0' OR sequence = ${sequence:sqlstring}) ORDER BY sequence DESC LIMIT 1), 0) AS __text
        """, hidden=True),
    neighbour("previous", "<", "DESC"),
    neighbour("next", ">", "ASC"),
]


def to_height(title, variable, tooltip):
    return link(title, f"/d/{SEQUENCE}?var-datasource=${{datasource}}&var-run=${{run}}&var-chain=${{chain}}&var-sequence=${{{variable}}}",
                tooltip)


SUMMARY = [
    stat(
        "Height", "The height that is shown. 0: there is no such height in this run.",
        table("SELECT $height AS height"), 4, steps=(RED, (1, BLUE)), decimals=0,
    ),
    stat(
        "Rounds", "Rounds that were seen or requested. 1 is a height without round change.",
        table("SELECT COUNT(*) AS rounds FROM round WHERE " + OF_HEIGHT), 4, steps=(GREEN, (2, ORANGE), (4, RED)), decimals=0,
    ),
    stat(
        "Proposer", "Who proposed in the last round, or should have.",
        table(f"SELECT COALESCE(proposer, 'unknown') AS proposer FROM round WHERE {OF_HEIGHT} ORDER BY round DESC LIMIT 1"),
        4, field="/^proposer$/", steps=(BLUE,),
    ),
    stat(
        "Outcome", "Outcome of the last round: `decided` if any node committed in it.",
        table(f"SELECT outcome FROM round WHERE {OF_HEIGHT} ORDER BY round DESC LIMIT 1"),
        4, field="/^outcome$/", mappings=[OUTCOMES], steps=(GREY,),
    ),
    stat(
        "Decided after", "From the first message of the height, of any round, until the median node had its quorum of commits.",
        table(f"""
        SELECT {since_start("MAX(committed_ns)")} AS decided_ms
        FROM round
        WHERE {OF_HEIGHT}
        """), 4, unit="ms", decimals=1, steps=(GREEN, (1000, YELLOW), (5000, RED)), no_value="not decided, or not seen",
    ),
    stat(
        "Redundancy factor", "Messages / useful messages of this height, over all receivers.",
        table(f"SELECT ROUND(1.0 * SUM(messages) / NULLIF(SUM(useful), 0), 2) AS factor FROM message_count WHERE {OF_HEIGHT}"),
        4, steps=(GREEN, (2, YELLOW), (5, ORANGE)), decimals=2,
    ),
]

ROUNDS = [
    grid(
        "Rounds of this height", """Every round, also those of which nothing was seen. Prepared and committed: when the median of the
        nodes of which all traffic was seen had its quorum, from the preprepare of that round.""",
        table(f"""
        SELECT round, proposer, validators, quorum, FLOOR(preprepare_ns / 1000000) AS preprepare_ms,
          {since_start("preprepare_ns")} AS offset_ms,
          ROUND((prepared_ns - preprepare_ns) / 1000000.0, 3) AS prepared_ms,
          ROUND((committed_ns - preprepare_ns) / 1000000.0, 3) AS committed_ms, messages, outcome
        FROM round
        WHERE {OF_HEIGHT}
        ORDER BY round
        """), 24, 6, columns=[
            column("round", "Round", 70), column("proposer", "Proposer"), column("validators", "Validators", 95),
            column("quorum", "Quorum", 80), column("preprepare_ms", "Preprepare seen", 220, "time:YYYY-MM-DD HH:mm:ss.SSS"),
            column("offset_ms", "After the first message", 170, "ms", 3), column("prepared_ms", "Prepared after", 120, "ms", 3),
            column("committed_ms", "Committed after", 130, "ms", 3), column("messages", "Messages", 90),
            column("outcome", "Outcome", 100, mappings=[OUTCOMES], custom_cellOptions=colored_text()),
        ],
    ),
]

TIMELINE = [
    bars(
        "Phases by receiver", """For each round, kind and receiver: when the first signer's message came, when those of a quorum (one
        less: its own vote is the receiver's own), and when the last signer's. For a preprepare the first is all. Milliseconds from
        the first message of the height; the bars begin where the first message came.""",
        table(f"""
        SELECT CONCAT('round ', v.round, ' ', v.kind, ' to ', v.receiver) AS phase, MIN(v.ms) AS before_first,
          COALESCE(MIN(CASE WHEN v.place >= v.needed THEN v.ms END), MAX(v.ms)) - MIN(v.ms) AS until_quorum,
          MAX(v.ms) - COALESCE(MIN(CASE WHEN v.place >= v.needed THEN v.ms END), MAX(v.ms)) AS until_last
        FROM (
          SELECT f.round, f.kind, f.receiver, f.ms,
            ROW_NUMBER() OVER (PARTITION BY f.round, f.kind, f.receiver ORDER BY f.ms, f.signer) AS place,
            CASE WHEN f.kind = 'preprepare' THEN 1 ELSE COALESCE(f.quorum, 2) - 1 END AS needed
          FROM (
            SELECT f.round, f.kind, f.receiver, f.signer, r.quorum, {since_start("f.first_ns")} AS ms
            FROM {FIRSTS}
            JOIN round AS r ON r.run_id = $run AND r.chain_id = $chain AND r.sequence = $height AND r.round = f.round
            WHERE f.signer <> f.receiver
          ) AS f
        ) AS v
        GROUP BY v.round, v.kind, v.receiver
        ORDER BY v.round, MIN(v.ms), v.kind, v.receiver
        LIMIT 200
        """), 12, 14, horizontal=True, unit="ms", axis="after the first message of the height",
        overrides=[
            override("before_first", displayName="before the first", color={"mode": "fixed", "fixedColor": "transparent"},
                     custom_fillOpacity=0, custom_hideFrom={"legend": True, "tooltip": False, "viz": False}),
            override("until_quorum", displayName="first to quorum", color={"mode": "fixed", "fixedColor": BLUE}),
            override("until_last", displayName="quorum to last signer", color={"mode": "fixed", "fixedColor": YELLOW}),
        ],
    ),
    lines(
        "Messages as they arrive", """Messages that have arrived at all receivers together, by round and kind, over milliseconds from the
        first message of the height. Each point is a delivery; copies that a sender repeated count at its first one.""",
        table(f"""
        SELECT e.ms, CONCAT('round ', e.round, ' ', e.kind) AS series,
          SUM(e.copies) OVER (PARTITION BY e.round, e.kind ORDER BY e.ms) AS messages
        FROM (
          SELECT t.ms, t.round, t.kind, SUM(t.copies) AS copies
          FROM (
            SELECT {since_start("d.first_seen_ns")} AS ms, d.round, {KIND_OF_ID} AS kind, d.copies
            FROM {DELIVERIES}
          ) AS t
          GROUP BY t.ms, t.round, t.kind
        ) AS e
        ORDER BY e.ms, e.round, e.kind
        """), 12, 14, x_field="ms\\series", axis="messages so far", decimals=0, legend_options=legend(("max",)), show_points="always",
        point_size=5, span_nulls=True, transformations=[matrix("ms", "series", "messages"), as_number("ms\\series")],
        overrides=[override("ms\\series", displayName="after the first message", unit="ms", decimals=3)],
    ),
]


def arrivals(kind):
    """Who got whose vote, and when: a receiver in each row, a signer in each column.

    Pairs and arrivals are put under each other and not joined: PostgreSQL would work out the arrivals again for each pair.
    """
    return grid(
        f"{kind.capitalize()}: first arrival by signer", f"""For each receiver (rows) and signer (columns) the first {kind} of the last
        round, in milliseconds after the first message of the height. `own`: the receiver's own vote. `missing`: all traffic of
        the receiver was captured, and it never came. `not seen`: it did not pass the captured ports, or was lost there.""",
        table(f"""
        SELECT receiver, signer, CASE WHEN receiver = signer THEN -1 WHEN MIN(ms) IS NOT NULL THEN MIN(ms)
          WHEN MAX(coverage) = 'full' THEN -2 ELSE -3 END AS ms
        FROM (
          SELECT n.label AS receiver, v.label AS signer, n.coverage, n.node_number AS receiver_number,
            v.node_number AS signer_number, NULL AS ms
          FROM node AS n
          JOIN node AS v ON v.run_id = $run AND v.validator = 1
          WHERE n.run_id = $run AND n.validator = 1
          UNION ALL
          SELECT f.receiver, f.signer, NULL, NULL, NULL, {since_start("f.first_ns")}
          FROM {FIRSTS}
          WHERE f.kind = '{kind}' AND f.round = (SELECT MAX(round) FROM round WHERE {OF_HEIGHT})
        ) AS pairs
        GROUP BY receiver, signer
        HAVING COUNT(coverage) > 0
        ORDER BY MIN(receiver_number), MIN(signer_number)
        """), 12, 9,
        columns=[override("receiver\\signer", displayName="Receiver", custom_width=110, custom_cellOptions={"type": "auto"})],
        defaults={
            "unit": "ms", "decimals": 2, "color": {"mode": "continuous-GrYlRd"}, "min": 0,
            "custom": {"align": "center", "cellOptions": colored_background(), "inspect": False, "filterable": False},
            "mappings": [{"type": "value", "options": {
                "-1": {"text": "own", "color": GREY, "index": 0}, "-2": {"text": "missing", "color": RED, "index": 1},
                "-3": {"text": "not seen", "color": "transparent", "index": 2},
            }}],
        },
        transformations=[matrix("receiver", "signer", "ms")],
    )


MISSING = [arrivals("prepare"), arrivals("commit")]

def named(column):
    """The text that an id of a delivery (m) stands for."""
    return f"(SELECT l.label FROM label AS l WHERE l.run_id = $run AND l.label_id = m.{column})"


DETAIL = [
    grid(
        "What each receiver got", """Messages of this height by round, receiver and kind. Useful: first copies of what it did not sign
        itself; echoes: its own messages coming back.""",
        table(f"""
        SELECT round, receiver, kind, messages, useful, repeats, echoes, invalid,
          ROUND(1.0 * messages / NULLIF(useful, 0), 2) AS factor, bytes,
          CASE lower_bound WHEN 1 THEN 'at least' ELSE 'exact' END AS bound
        FROM message_count
        WHERE {OF_HEIGHT}
        ORDER BY round, receiver, kind, receiver_ip
        LIMIT 1000
        """), 12, 14, columns=[
            column("round", "Round", 70), column("receiver", "Receiver"),
            column("kind", "Kind", 105, mappings=[KIND_TEXTS], custom_cellOptions=colored_text()),
            column("messages", "Messages", 90), column("useful", "Useful", 75), column("repeats", "Repeats", 80),
            column("echoes", "Echoes", 75), column("invalid", "Invalid", 75), column("factor", "Redundancy", 95, decimals=2),
            column("bytes", "Size", 85, "bytes"), column("bound", "Count is", 85),
        ],
    ),
    grid(
        "Every message", """Every delivery of this height in the order of its first sight, at most 2,000: who handed whose message to
        whom, in how many copies. Where sender and signer differ, it was passed on.""",
        table(f"""
        SELECT {since_start("m.first_seen_ns")} AS ms, m.round, m.kind, {named("sender_id")} AS sender,
          COALESCE((SELECT MIN(c.receiver) FROM message_count AS c WHERE c.run_id = $run AND c.chain_id = $chain AND c.sequence = $height
            AND c.receiver_ip = {named("receiver_id")}), {named("receiver_id")}) AS receiver,
          {named("signer_id")} AS signer, m.copies, {since_start("m.last_seen_ns")} AS last_ms
        FROM (
          SELECT d.round, {KIND_OF_ID} AS kind, d.receiver_id, d.sender_id, d.signer_id, d.copies, d.first_seen_ns, d.last_seen_ns
          FROM {DELIVERIES}
          ORDER BY d.first_seen_ns, d.receiver_id, d.round, d.kind_id, d.sender_id, d.signer_id
          LIMIT 2000
        ) AS m
        ORDER BY m.first_seen_ns, m.receiver_id, m.round, m.kind, m.sender_id, m.signer_id
        """), 12, 14, columns=[
            column("ms", "After the first", 115, "ms", 3), column("round", "Round", 70),
            column("kind", "Kind", 105, mappings=[KIND_TEXTS], custom_cellOptions=colored_text()),
            column("sender", "Sender"), column("receiver", "Receiver"), column("signer", "Signer"),
            column("copies", "Copies", 75), column("last_ms", "Last copy", 110, "ms", 3),
        ],
    ),
]

DASHBOARD = Dashboard(
    SEQUENCE, "bftap: One sequence",
    """Every round and message of one height of a run. Times are milliseconds from the first message of the height that was seen
    anywhere; the dashboard's time range plays no part.""",
    rows=[
        (None, SUMMARY + ROUNDS),
        ("Timeline", TIMELINE),
        ("Who is missing", MISSING),
        ("Messages", DETAIL),
    ],
    variables=VARIABLES,
    links=[
        *others(SEQUENCE),
        to_height("Previous", "previous", "The height before this one"),
        to_height("Next", "next", "The height after this one"),
    ],
    time=("now-1h", "now"), refresh="5s",
)
