"""The dashboard *Consensus*: what the nodes of a run got, what was needed, and what could not be read."""

from .panels import (
    BLUE, GREEN, GREY, ORANGE, RED, YELLOW, Dashboard, annotation, as_number, bars, colored_background, colored_text, column, grid, legend,
    lines, link, list_variable, matrix, null_text, override, query_variable, series, stat, table, value_texts, NO_LEGEND,
)
from .sql import BEST_COVERAGE, KINDS, NODES, SECONDS_OF_A_POINT, counts, expected_and_received, heights, newest, rounds

UID = "bftap-consensus"
KIND_NAMES = ("preprepare", "prepare", "commit", "roundchange")

# How far panels that show single heights look back from the end of the range; how many rounds are searched for those above 0.
HEIGHTS, EXPECTED_HEIGHTS, SEARCHED_ROUNDS = 100, 50, 10000

OF_BEST_COVERAGE = f"WHERE n.coverage = {BEST_COVERAGE}"

OUTCOMES = value_texts({
    "decided": ("decided", GREEN), "changed": ("changed", ORANGE), "open": ("open", BLUE), "unknown": ("unknown", GREY),
})
SESSION_STATES = value_texts({
    "decrypted": ("decrypted", GREEN), "no_handshake": ("no_handshake", GREY), "no_secret": ("no_secret", RED),
    "lost": ("lost", RED), "failed": ("failed", RED),
})
COVERAGE = value_texts({"full": ("full", GREEN), "lossy": ("lossy", ORANGE), "partial": ("partial", GREY)})

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


# The end of a run's range in milliseconds. A capture that is being played has room for what comes: its time is not the clock's.
END_OF_RANGE = "FLOOR(COALESCE(last_seen_ns, 0) / 1000000) + CASE WHEN state = 'running' THEN 120000 ELSE 0 END"


def time_of_run(name, sql):
    """A hidden variable with the begin or end of the run in milliseconds, for the link that shows all of it."""
    return query_variable(name, name, f"SELECT {sql} AS __text FROM run WHERE run_id = $run", hidden=True)


VARIABLES = [
    RUN_VARIABLE,
    query_variable("node", "Node", "SELECT label AS __text FROM node WHERE run_id = $run ORDER BY node_number", multi=True,
                   description="The receiver of messages"),
    list_variable("kind", "Kind", KIND_NAMES, "Kind of message"),
    time_of_run("run_from", "COALESCE(first_seen_s, 0) * 1000"),
    time_of_run("run_to", END_OF_RANGE),
]

TO_SEQUENCE = "/d/bftap-sequence?var-datasource=${datasource}&var-run=${run}&var-sequence="
SEQUENCE_LINK = {"title": "This height, message by message", "url": TO_SEQUENCE + "${__data.fields.sequence.numeric}"}
FIRST_FIELD_LINK = {"title": "This height, message by message", "url": TO_SEQUENCE + "${__data.fields[0].numeric}"}
RUN_TO_SEQUENCE = link("One sequence", TO_SEQUENCE + "0", "The newest height of this run, message by message")

AT_A_GLANCE = [
    stat(
        "Height", "Height of the newest message in the range.",
        table(f"""
        SELECT sequence AS height
        FROM message_count
        WHERE run_id = $run AND $__unixEpochFilter(first_seen_s)
        ORDER BY first_seen_s DESC, sequence DESC
        LIMIT 1
        """), 3, steps=(BLUE,), decimals=0, links=[RUN_TO_SEQUENCE],
    ),
    stat(
        "Rounds above 0", """Rounds above 0 in the range that got a proposal. Each means that its height could not be decided at the
        attempt before.""",
        table(f"""
        SELECT COALESCE(SUM(higher_rounds), 0) AS rounds
        FROM {rounds()}
        """), 3, steps=(GREEN, (1, YELLOW), (20, RED)), decimals=0,
    ),
    stat(
        "Redundancy factor", """Messages it took to bring one that was needed: messages / useful, over the range, for the chosen kinds and
        those of the chosen nodes of which most traffic was seen. 1: nothing came twice; with 7 gossiping validators 6 is the most
        that Prepare can reach, and a little more with a node's own messages coming back.""",
        table(f"""
        SELECT ROUND(1.0 * SUM(messages) / NULLIF(SUM(useful), 0), 2) AS factor
        FROM {counts("messages", "useful")}
        JOIN node AS n ON n.run_id = $run AND n.label = c.receiver
        WHERE n.coverage = {BEST_COVERAGE}
        """), 3, steps=(GREEN, (2, YELLOW), (5, ORANGE)), decimals=2,
    ),
    stat(
        "Useful of expected", f"""Of the messages that the decided rounds of the newest {EXPECTED_HEIGHTS} heights should bring (see *Expected
        against received*), how many arrived at least once at the chosen validators of which all traffic was seen. Below 100 %
        votes were not sent, came too late for the capture, or were lost.""",
        table(f"""
        SELECT ROUND(1.0 * SUM(useful) / NULLIF(SUM(expected), 0), 4) AS share
        FROM {expected_and_received(EXPECTED_HEIGHTS, "n.label", "useful", where=OF_BEST_COVERAGE)}
        """), 3, unit="percentunit", steps=(RED, (0.8, YELLOW), (0.95, GREEN)), decimals=1,
    ),
    stat(
        "Lower bounds", """Share of the counts in the range that are lower bounds: of the receiver not all traffic was captured, or a
        gap or an unread session overlaps. What they show may be less than what arrived.""",
        table(f"""
        SELECT ROUND(1.0 * SUM(lower_bound) / NULLIF(SUM(counted), 0), 4) AS share
        FROM {counts("lower_bound", "counted")}
        """), 3, unit="percentunit", steps=(GREEN, (0.01, YELLOW)), decimals=1,
    ),
    stat(
        "Sessions not read", """Sessions of the whole run of which content was captured and could not be read: no secret, the
        place in the key stream lost, or a secret that does not fit. Dials that never finished a handshake carry nothing and
        are left out.""",
        table("""
        SELECT COALESCE(SUM(CASE WHEN state IN ('no_secret', 'lost', 'failed') THEN 1 ELSE 0 END), 0) AS sessions
        FROM session
        WHERE run_id = $run
        """), 3, steps=(GREEN, (1, RED)), decimals=0,
    ),
    stat(
        "Lag", """From the capture of the newest packet to the commit of its row, at the last batch of a live run.""",
        table("SELECT ROUND(lag_ns / 1000000000.0, 3) AS lag_s FROM run WHERE run_id = $run"),
        3, unit="s", steps=(GREEN, (1, YELLOW), (5, RED)), mappings=[null_text("not live")], no_value="not live",
    ),
    stat(
        "Run", "`live` while rows are being added, `complete` when all are there, `being written` before that.",
        table("""
        SELECT CASE WHEN state = 'running' AND live = 1 THEN 'live' WHEN state = 'running' THEN 'being written' ELSE state END
          AS state
        FROM run
        WHERE run_id = $run
        """), 3, field="/^state$/", steps=(BLUE,),
        mappings=[value_texts({"live": ("live", GREEN), "complete": ("complete", BLUE), "being written": ("being written", YELLOW)})],
    ),
]

MESSAGES = [
    lines(
        "Messages per node and kind by sequence", f"""The original tool's figure: messages that each node got of each kind, at
        each of the newest {HEIGHTS} heights up to the end of the range. With 7 validators 6 Prepare and 6 Commit would do; more is
        gossip. Rounds of a height and chains are added up. A click on a point leads to the height.""",
        table(f"""
        SELECT c.sequence, CONCAT(c.receiver, ' ', c.kind) AS series, SUM(c.messages) AS messages
        FROM {heights(HEIGHTS)}
        JOIN message_count AS c ON c.run_id = $run AND c.sequence = h.sequence AND {newest("c.sequence", HEIGHTS)}
        WHERE c.receiver IN {NODES} AND c.kind IN {KINDS}
        GROUP BY c.sequence, c.receiver, c.kind
        ORDER BY c.sequence, c.receiver, c.kind
        """), 16, 11, x_field="sequence\\series", axis="messages", decimals=0, legend_options=legend(("mean", "max"), "right"),
        transformations=[matrix("sequence", "series", "messages"), as_number("sequence\\series")],
        data_links=[FIRST_FIELD_LINK], links=[RUN_TO_SEQUENCE],
        overrides=[override("sequence\\series", displayName="sequence", decimals=0, unit="none")],
    ),
    lines(
        "Expected against received by sequence", f"""Per validator, for the chosen kinds, at each decided round of the newest {EXPECTED_HEIGHTS}
        heights. Expected: one vote of every other validator of Prepare and Commit each, and the proposal unless the node made
        it; the number of validators is that of the round (`round.validators`), learned from headers, signers or the
        configuration. Useful: first copies. Averages over those of the chosen nodes of which most traffic was seen.""",
        table(f"""
        SELECT part AS sequence, ROUND(1.0 * expected / NULLIF(receivers, 0), 2) AS expected,
          ROUND(1.0 * messages / NULLIF(receivers, 0), 2) AS received, ROUND(1.0 * useful / NULLIF(receivers, 0), 2) AS useful
        FROM {expected_and_received(EXPECTED_HEIGHTS, "r.sequence", "messages", "useful", where=OF_BEST_COVERAGE)}
        ORDER BY part
        """), 8, 11, x_field="sequence", axis="messages", data_links=[SEQUENCE_LINK],
        overrides=[
            override("expected", color={"mode": "fixed", "fixedColor": GREEN}, custom_lineStyle={"fill": "dash", "dash": [10, 10]},
                     custom_lineWidth=2),
            override("received", color={"mode": "fixed", "fixedColor": ORANGE}),
            override("useful", color={"mode": "fixed", "fixedColor": BLUE}),
            override("sequence", decimals=0),
        ],
    ),
    lines(
        "Messages per node and kind over time", """Messages a second that each node got of each kind. Ranges above five minutes are
        shown by the minute of the first message of each count; the last minute is still filling.""",
        series(f"""
        SELECT $__unixEpochGroup(second, $__interval) AS time, CONCAT(receiver, ' ', kind) AS metric,
          ROUND(1.0 * SUM(messages) / {SECONDS_OF_A_POINT}, 3) AS messages
        FROM {counts("messages")}
        GROUP BY 1, receiver, kind
        ORDER BY 1, receiver, kind
        """), 12, 9, unit="cps", axis="messages a second", points=60,
    ),
    grid(
        "What validators got of what they needed", f"""Over the decided rounds of the newest {EXPECTED_HEIGHTS} heights, for the chosen kinds.
        Expected as in *Expected against received*. A validator whose own port was not captured (coverage `partial`) shows only what
        passed the captured ports.""",
        table(f"""
        SELECT part AS node, coverage, expected, messages AS received, useful, repeats, echoes, invalid,
          ROUND(1.0 * useful / NULLIF(expected, 0), 4) AS useful_share, ROUND(1.0 * messages / NULLIF(useful, 0), 2) AS factor
        FROM {expected_and_received(EXPECTED_HEIGHTS, "n.label", "messages", "useful", "repeats", "echoes", "invalid")}
        ORDER BY part
        """), 12, 9, columns=[
            column("node", "Node"),
            column("coverage", "Coverage", 90, mappings=[COVERAGE], custom_cellOptions=colored_text()),
            column("expected", "Expected", 85), column("received", "Received", 85), column("useful", "Useful", 75),
            column("repeats", "Repeats", 80), column("echoes", "Echoes", 75),
            column("invalid", "Invalid", 75, thresholds={"mode": "absolute", "steps": [
                {"color": "text", "value": None}, {"color": RED, "value": 1}]}, custom_cellOptions=colored_text()),
            column("useful_share", "Useful of expected", 90, "percentunit", 1, min=0, max=1,
                   thresholds={"mode": "absolute", "steps": [{"color": RED, "value": None}, {"color": YELLOW, "value": 0.8},
                                                             {"color": GREEN, "value": 0.95}]},
                   custom_cellOptions=colored_text()),
            column("factor", "Redundancy", 95, decimals=2),
        ],
    ),
]

REDUNDANCY = [
    lines(
        "Redundancy factor by node", """Messages / useful messages of the chosen kinds: how many copies it took to bring one that was
        needed. Ranges above five minutes are shown by the minute.""",
        series(f"""
        SELECT $__unixEpochGroup(second, $__interval) AS time, receiver AS metric,
          ROUND(1.0 * SUM(messages) / NULLIF(SUM(useful), 0), 3) AS factor
        FROM {counts("messages", "useful")}
        GROUP BY 1, receiver
        ORDER BY 1, receiver
        """), 12, 8, minimum=1, axis="messages / useful", steps=("transparent", (5, ORANGE)), points=100, decimals=2,
    ),
    bars(
        "Histogram of copies", """How many distinct payloads arrived at a node in exactly so many copies, echoes of its own messages
        included, over the whole run. All in the first bar: nothing came twice.""",
        table(f"""
        SELECT CONCAT(c.copies, '') AS copies, n.label AS node, SUM(c.payloads) AS payloads
        FROM copies AS c
        JOIN node_ip AS i ON i.run_id = c.run_id AND i.ip = c.receiver_ip
        JOIN node AS n ON n.run_id = i.run_id AND n.node_number = i.node_number
        WHERE c.run_id = $run AND n.label IN {NODES}
        GROUP BY c.copies, n.label
        ORDER BY c.copies, n.label
        """), 12, 8, axis="payloads", transformations=[matrix("copies", "node", "payloads")], decimals=0,
        overrides=[override("copies\\node", displayName="copies")],
    ),
]

ROUNDS_ROW = [
    lines(
        "Height over time", """Highest height that was proposed, over time: a flat piece is a stalled chain. Ranges above 15 minutes are shown
        by the minute.""",
        series(f"""
        SELECT $__unixEpochGroup(second, $__interval) AS time, MAX(highest_sequence) AS height
        FROM {rounds()}
        GROUP BY 1
        ORDER BY 1
        """), 8, 8, minimum=None, decimals=0, axis="height", legend_options=NO_LEGEND, points=300, span_nulls=True,
    ),
    lines(
        "From proposal to decision", """From the first sight of the preprepare until the median node had the quorum of commits: the median, the
        mean and the slowest of the rounds of a point. Ranges above an hour are shown by the minute, and without the median: of
        minutes, sums and the slowest are kept. Only nodes of which all traffic was seen are judged.""",
        series(f"""
        SELECT point AS time, MIN(CASE WHEN share >= 0.5 THEN ms END) AS median, ROUND(1.0 * SUM(ms_sum) / SUM(committed), 3) AS mean,
          MAX(ms_max) AS slowest
        FROM (
          SELECT point, ms, ms_sum, ms_max, committed, CUME_DIST() OVER (PARTITION BY point ORDER BY ms) AS share
          FROM (
            SELECT $__unixEpochGroup(second, $__interval) AS point, ms, ms_sum, ms_max, committed
            FROM {rounds(one_by_one=3600)}
            WHERE committed > 0
          ) AS committed_rounds
        ) AS shares
        GROUP BY point
        ORDER BY point
        """), 8, 8, unit="ms", axis="after the preprepare", points=120,
    ),
    lines(
        "Round changes", """Rounds above 0 that got a proposal, by the time of that proposal, and RoundChange messages at the chosen nodes. A
        few at the start of a network are usual. Long ranges are shown by the minute.""",
        [
            series(f"""
            SELECT $__unixEpochGroup(second, $__interval) AS time, SUM(higher_rounds) AS rounds
            FROM {rounds()}
            GROUP BY 1
            ORDER BY 1
            """),
            series(f"""
            SELECT $__unixEpochGroup(second, $__interval) AS time, SUM(messages) AS messages
            FROM {counts("messages", kinds="('roundchange')")}
            GROUP BY 1
            ORDER BY 1
            """),
        ], 8, 8, draw="bars", fill=60, points=120, axis="rounds above 0", decimals=0, legend_options=legend(("sum", "max")),
        overrides=[
            override("rounds", displayName="rounds above 0", color={"mode": "fixed", "fixedColor": RED}),
            override("messages", displayName="RoundChange messages", color={"mode": "fixed", "fixedColor": ORANGE},
                     custom_axisPlacement="right", custom_axisLabel="messages"),
        ],
    ),
]

ROUND_COLUMNS = [
    column("time", "Proposed", 190, "dateTimeAsIso"), column("sequence", "Sequence", 95, decimals=0, links=[SEQUENCE_LINK]),
    column("round", "Round", 70, custom_cellOptions=colored_background(), thresholds={"mode": "absolute", "steps": [
        {"color": "transparent", "value": None}, {"color": ORANGE, "value": 1}, {"color": RED, "value": 3}]}),
    column("proposer", "Proposer"),
    column("outcome", "Outcome", 90, mappings=[OUTCOMES], custom_cellOptions=colored_text()),
    column("prepared_ms", "Prepared after", 115, "ms", 1), column("committed_ms", "Committed after", 125, "ms", 1),
    column("messages", "Messages", 90),
]
ROUND_FIELDS = """r.preprepare_s AS time, r.sequence, r.round, r.proposer, r.outcome,
          ROUND((r.prepared_ns - r.preprepare_ns) / 1000000.0, 3) AS prepared_ms,
          ROUND((r.committed_ns - r.preprepare_ns) / 1000000.0, 3) AS committed_ms, r.messages"""

ROUND_TABLES = [
    grid(
        "Newest rounds", """Every round of the newest 50 heights up to the end of the range, also those of which nothing was seen. The
        sequence leads to the height, message by message.""",
        table(f"""
        SELECT {ROUND_FIELDS}
        FROM {heights(50)}
        JOIN round AS r ON r.run_id = $run AND r.sequence = h.sequence AND {newest("r.sequence", 50)}
        ORDER BY r.sequence DESC, r.round DESC, r.chain_id
        """), 12, 9, columns=ROUND_COLUMNS, links=[RUN_TO_SEQUENCE],
    ),
    grid(
        "Heights that took more than one round", f"""Rounds above 0 that got a proposal, among the newest {SEARCHED_ROUNDS:,} rounds of the
        range; the newest 50 of them. Empty in a network without trouble.""",
        table(f"""
        SELECT {ROUND_FIELDS}
        FROM (
          SELECT sequence, round, chain_id
          FROM (
            SELECT preprepare_s, sequence, round, chain_id
            FROM round
            WHERE run_id = $run AND $__unixEpochFilter(preprepare_s)
            ORDER BY preprepare_s DESC, sequence DESC
            LIMIT {SEARCHED_ROUNDS}
          ) AS newest
          WHERE round > 0
          ORDER BY preprepare_s DESC, sequence DESC, round DESC
          LIMIT 50
        ) AS h
        JOIN round AS r ON r.run_id = $run AND r.sequence = h.sequence AND r.round = h.round AND r.chain_id = h.chain_id
        ORDER BY r.preprepare_s DESC, r.sequence DESC, r.round DESC
        """), 12, 9, columns=ROUND_COLUMNS,
    ),
]

READING = [
    bars(
        "Sessions by state", """Sessions of the whole run. `no_secret`: no key log has its secret; `lost`: the place in the key stream
        was lost; `failed`: a secret fits, but nothing sensible comes out; `no_handshake`: a dial that was not completed.""",
        table("SELECT state, COUNT(*) AS sessions FROM session WHERE run_id = $run GROUP BY state ORDER BY state"),
        6, 9, stacked=False, axis="sessions", legend_options=NO_LEGEND, decimals=0,
    ),
    grid(
        "Sessions", """The sessions of the whole run, unread and lossy ones first, at most 200. Frames lost: cut or swallowed by gaps, as
        far as a place behind the gap was found.""",
        table("""
        SELECT initiator, recipient, state, attached, mac, gaps, lost_bytes,
          frames_lost_from_initiator + frames_lost_from_recipient AS frames_lost,
          frames_from_initiator + frames_from_recipient AS frames_read, detail
        FROM session
        WHERE run_id = $run
        ORDER BY CASE state WHEN 'failed' THEN 0 WHEN 'lost' THEN 1 WHEN 'no_secret' THEN 2 WHEN 'decrypted' THEN 3 ELSE 4 END,
          lost_bytes DESC, session_number
        LIMIT 200
        """), 18, 9, columns=[
            column("initiator", "Initiator", 150), column("recipient", "Recipient", 150),
            column("state", "State", 110, mappings=[SESSION_STATES], custom_cellOptions=colored_text()),
            column("attached", "Joined", 90), column("mac", "MAC", 95), column("gaps", "Gaps", 65),
            column("lost_bytes", "Lost", 85, "bytes"), column("frames_lost", "Frames lost", 100),
            column("frames_read", "Frames read", 105), column("detail", "Why it could not be read"),
        ],
    ),
    grid(
        "What could not be read", """Totals of the whole run, zeros included, so that nothing lost and nothing looked at are not
        mistaken for each other. Lists below the totals name reasons and limits.""",
        table("""
        SELECT what, amount
        FROM (
        SELECT 'gaps in streams' AS what, gaps AS amount, 1 AS place FROM run WHERE run_id = $run
        UNION ALL SELECT 'bytes lost in gaps', lost_bytes, 2 FROM run WHERE run_id = $run
        UNION ALL SELECT 'frames lost in gaps, as far as known', COALESCE(frames_lost, 0), 3 FROM run WHERE run_id = $run
        UNION ALL SELECT 'messages that do not decode', undecodable, 4 FROM run WHERE run_id = $run
        UNION ALL SELECT 'bytes of frames cut by the end', incomplete_bytes, 5 FROM run WHERE run_id = $run
        UNION ALL SELECT 'sessions not read', COUNT(*), 6 FROM session
          WHERE run_id = $run AND state IN ('no_secret', 'lost', 'failed')
        UNION ALL SELECT 'connections refused or without payload', refused, 7 FROM run WHERE run_id = $run
        UNION ALL SELECT 'connections that are something else', other_flows, 8 FROM run WHERE run_id = $run
        UNION ALL SELECT 'packets with a wrong TCP checksum', bad_checksums, 9 FROM run WHERE run_id = $run
        UNION ALL SELECT CONCAT(list, ': ', name), value, 10 FROM counter WHERE run_id = $run
        ) AS lost
        ORDER BY place, what
        """), 8, 9, columns=[
            column("what", "What"), column("amount", "How much", 110),
        ],
    ),
    lines(
        "Lag and spool", """Seconds from the capture of the newest packet to the commit of its row, at the newest 1,200 batches of a live
        run, over the time of capture; and batches that wait on disk because the database is away. A run that was not live has
        one point of 0 at its end.""",
        series("""
        SELECT seen_ns AS time, ROUND(lag_ns / 1000000000.0, 3) AS lag_s, spooled_batches AS spooled
        FROM (
          SELECT batch, seen_ns, FLOOR(seen_ns / 1000000000) AS seen_s, lag_ns, spooled_batches
          FROM progress
          WHERE run_id = $run AND seen_ns IS NOT NULL
          ORDER BY batch DESC
          LIMIT 1200
        ) AS p
        WHERE $__unixEpochFilter(seen_s)
        UNION ALL
        SELECT last_seen_ns, 0, 0
        FROM (SELECT last_seen_ns, FLOOR(last_seen_ns / 1000000000) AS last_s FROM run WHERE run_id = $run AND live = 0) AS whole
        WHERE $__unixEpochFilter(last_s)
        ORDER BY 1
        """), 8, 9, unit="s", steps=("transparent", (1, YELLOW), (5, RED)), axis="lag", show_points="always",
        overrides=[override("lag_s", displayName="lag"),
                   override("spooled", displayName="batches spooled", unit="none", decimals=0, custom_axisPlacement="right",
                            custom_axisLabel="batches")],
    ),
    lines(
        "Counts that are lower bounds", """Share of the counts of each node that may be less than what arrived, since not all of its
        traffic was captured, or a gap or an unread session overlaps. Ranges above five minutes are shown by the minute.""",
        series(f"""
        SELECT $__unixEpochGroup(second, $__interval) AS time, receiver AS metric,
          ROUND(1.0 * SUM(lower_bound) / NULLIF(SUM(counted), 0), 4) AS share
        FROM {counts("lower_bound", "counted")}
        GROUP BY 1, receiver
        ORDER BY 1, receiver
        """), 8, 9, unit="percentunit", axis="share", points=100, legend_options=legend(("mean", "lastNotNull")),
    ),
]

RUNS = [
    grid(
        "Runs", """The newest 50 runs that have rows. The name leads to the run and sets the range to its own time: captures are often
        older than the last hour. For a run that is still played, the range ends two minutes later.""",
        table(f"""
        SELECT run_id, name, CASE WHEN state = 'running' AND live = 1 THEN 'live' WHEN state = 'running' THEN 'being written' ELSE state
          END AS state, first_seen_s * 1000 AS first_ms, FLOOR(last_seen_ns / 1000000) AS last_ms, {END_OF_RANGE} AS until_ms,
          ROUND((last_seen_ns - first_seen_ns) / 1000000000.0, 1) AS seconds, sessions, consensus_messages AS messages, gaps,
          lost_bytes, undecodable
        FROM run
        WHERE state <> 'failed'
        ORDER BY run_id DESC
        LIMIT 50
        """), 24, 8, columns=[
            column("run_id", "Id", 60, decimals=0),
            column("name", "Run", links=[{
                "title": "This run, with its own time range",
                "url": "/d/bftap-consensus?var-datasource=${datasource}&var-run=${__data.fields.run_id.numeric}"
                       "&from=${__data.fields.first_ms.numeric}&to=${__data.fields.until_ms.numeric}",
            }]),
            column("state", "State", 110), column("first_ms", "First packet", 190, "dateTimeAsIso"),
            column("last_ms", "Last packet", 190, "dateTimeAsIso"), column("until_ms", "Shown until", 190, "dateTimeAsIso"), column("seconds", "Length", 90, "s"),
            column("sessions", "Sessions", 85), column("messages", "Messages", 95), column("gaps", "Gaps", 65),
            column("lost_bytes", "Lost", 85, "bytes"), column("undecodable", "Undecodable", 110),
        ],
    ),
]

EVENTS = annotation(
    "Events", ORANGE,
    """
    SELECT time_s AS time, CONCAT(rule, ': ', detail) AS text, severity AS tags
    FROM event
    WHERE run_id = $run AND $__unixEpochFilter(time_s)
    ORDER BY time_s DESC
    LIMIT 200
    """,
)

DASHBOARD = Dashboard(
    UID, "bftap: Consensus",
    """Consensus messages of a BFT network as seen on the wire: what each node got, what it needed, how long rounds took, and what
    could not be read. Times are UTC.""",
    rows=[
        (None, AT_A_GLANCE),
        ("Messages", MESSAGES),
        ("Redundancy", REDUNDANCY),
        ("Heights and rounds", ROUNDS_ROW + ROUND_TABLES),
        ("What could not be read, and how far behind", READING),
        ("Runs", RUNS),
    ],
    variables=VARIABLES,
    links=[
        link("Whole run", f"/d/{UID}?var-datasource=${{datasource}}&var-run=${{run}}&from=${{run_from}}&to=${{run_to}}",
             "Sets the range to the time of the run: captures are often older than the last hour"),
        RUN_TO_SEQUENCE,
    ],
    annotations=[EVENTS], time=("now-1h", "now"), refresh="1s",
)
