"""The dashboard *Consensus*: what the nodes of a run got, what was needed, and what could not be read."""

from .navigation import (
    CONSENSUS, END_OF_RANGE, FIRST_FIELD_LINK, KIND_VARIABLE, RANGE_VARIABLES, RUN_TO_SEQUENCE, RUN_VARIABLE, SEQUENCE_LINK, links,
    node_variable,
)
from .panels import (
    BLUE, GREEN, ORANGE, RED, YELLOW, Dashboard, as_number, bars, colored_background, colored_text, column, grid, legend, lines,
    matrix, null_text, override, series, stat, table, value_texts, NO_LEGEND,
)
from .shared_panels import (
    CAUSES_BY_SEQUENCE, EVENTS, EXPECTED_BY_SEQUENCE, EXPECTED_HEIGHTS, GOT_OF_NEEDED, HEIGHTS, HISTOGRAM_OF_COPIES, OF_BEST_COVERAGE,
    SESSIONS, SESSIONS_BY_STATE,
)
from .sql import BEST_COVERAGE, KINDS, NODES, SECONDS_OF_A_POINT, counts, expected_and_received, heights, newest, rounds, with_zeros
from .words import OUTCOMES, ROUND_CAUSES

# How many rounds are searched for those above 0, and heights for those that were left for a higher one.
SEARCHED_ROUNDS, SEARCHED_HEIGHTS = 10000, 1000

VARIABLES = [RUN_VARIABLE, node_variable("The receiver of messages"), KIND_VARIABLE, *RANGE_VARIABLES]

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
        "Useful of expected", f"""Of the messages that the decided rounds of the newest {EXPECTED_HEIGHTS} heights should bring (see
        *Expected against received*), how many arrived at least once at the chosen validators of which all traffic was seen. Below
        100 % votes were not sent, came too late for the capture, or were lost.""",
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
    EXPECTED_BY_SEQUENCE.sized(8, 11),
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
    GOT_OF_NEEDED.sized(12, 9),
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
    HISTOGRAM_OF_COPIES.sized(12, 8),
    CAUSES_BY_SEQUENCE.sized(24, 8),
]

ROUNDS_ROW = [
    lines(
        "Height over time", """Highest height that was proposed, over time: a flat piece is a stalled chain. Ranges above 15 minutes
        are shown by the minute.""",
        series(f"""
        SELECT $__unixEpochGroup(second, $__interval) AS time, MAX(highest_sequence) AS height
        FROM {rounds()}
        GROUP BY 1
        ORDER BY 1
        """), 8, 8, minimum=None, decimals=0, axis="height", legend_options=NO_LEGEND, points=300, span_nulls=True,
    ),
    lines(
        "From proposal to decision", """From the first sight of the preprepare until the median node had the quorum of commits: the
        median, the mean and the slowest of the rounds of a point. Ranges above an hour are shown by the minute, and without the
        median: of minutes, sums and the slowest are kept. Only nodes of which all traffic was seen are judged.""",
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
        "Round changes", """Rounds above 0 that got a proposal, by the time of that proposal, and RoundChange messages at the chosen
        nodes. A few at the start of a network are usual. Long ranges are shown by the minute.""",
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

# Phases in the order in which they happen, and what is measured of each.
PHASE_WORDS = """CASE phase WHEN 'block_time' THEN 'block to block' WHEN 'preprepare_to_prepared' THEN 'proposal to prepared'
            WHEN 'prepared_to_committed' THEN 'prepared to committed' WHEN 'preprepare_to_committed' THEN 'proposal to committed'
            WHEN 'roundchange_to_preprepare' THEN 'round change to proposal' ELSE phase END"""
PHASE_PLACE = """CASE phase WHEN 'preprepare_to_prepared' THEN 1 WHEN 'prepared_to_committed' THEN 2 WHEN 'preprepare_to_committed' THEN 3
          WHEN 'roundchange_to_preprepare' THEN 4 ELSE 5 END"""
# Chains have their own phases; nearly always there is one.
PHASE_OF_CHAIN = f"CONCAT({PHASE_WORDS}, CASE WHEN chain_id > 0 THEN CONCAT(' (chain ', chain_id, ')') ELSE '' END)"

PHASES = [
    bars(
        "How long the phases of rounds take", """Median, 95 % and 99 % of the phases of all rounds of the run: from the first sight of the
        proposal until the median node was prepared, from there until it was committed, both together, and from the first round
        change until the proposal of the new round. Only nodes of which all traffic was seen are judged; at most 1 % above
        the exact values.""",
        table(f"""
        SELECT {PHASE_OF_CHAIN} AS phase_name, ROUND(p50_ns / 1000000.0, 3) AS p50_ms, ROUND(p95_ns / 1000000.0, 3) AS p95_ms,
          ROUND(p99_ns / 1000000.0, 3) AS p99_ms
        FROM phase
        WHERE run_id = $run AND phase <> 'block_time'
        UNION ALL
        SELECT 'no phase was seen from begin to end', NULL, NULL, NULL
        FROM (SELECT COUNT(*) AS phases FROM phase WHERE run_id = $run AND phase <> 'block_time') AS stored
        WHERE phases = 0
        """), 9, 9, stacked=False, unit="ms", axis="duration", decimals=1, overrides=[
            override("p50_ms", displayName="median", color={"mode": "fixed", "fixedColor": GREEN}),
            override("p95_ms", displayName="95 %", color={"mode": "fixed", "fixedColor": YELLOW}),
            override("p99_ms", displayName="99 %", color={"mode": "fixed", "fixedColor": RED}),
        ],
    ),
    grid(
        "Phases in numbers", """The same, with the time from block to block, the number of rounds that each was measured in, and the
        longest. A run of which no node was seen whole has none.""",
        table(f"""
        SELECT {PHASE_OF_CHAIN} AS phase_name, {PHASE_PLACE} AS place, rounds, ROUND(p50_ns / 1000000.0, 3) AS p50_ms,
          ROUND(p95_ns / 1000000.0, 3) AS p95_ms, ROUND(p99_ns / 1000000.0, 3) AS p99_ms, ROUND(max_ns / 1000000.0, 3) AS max_ms
        FROM phase
        WHERE run_id = $run
        UNION ALL
        SELECT 'no phase was seen from begin to end', 9, 0, NULL, NULL, NULL, NULL
        FROM (SELECT COUNT(*) AS phases FROM phase WHERE run_id = $run) AS stored
        WHERE phases = 0
        ORDER BY 2, 1
        """), 8, 9, columns=[
            column("phase_name", "Phase"), column("place", "Order", 60), column("rounds", "Rounds", 75),
            column("p50_ms", "Median", 90, "ms"),
            column("p95_ms", "95 %", 90, "ms"), column("p99_ms", "99 %", 90, "ms"), column("max_ms", "Longest", 90, "ms"),
        ],
    ),
    bars(
        "Why rounds were left for a higher one", f"""Rounds of the newest {SEARCHED_HEIGHTS:,} heights up to the end of the range
        that were left for a higher one, by cause: no proposal was seen; it came after the first round change; it was there and
        nobody got a quorum of votes; a node had its quorum and others left all the same; unknown, because loss or missing coverage
        may hide it.""",
        table(with_zeros(f"""
        SELECT {ROUND_CAUSES.sql("r.cause")} AS cause, COUNT(*) AS rounds
        FROM round AS r
        WHERE r.run_id = $run AND {newest("r.sequence", SEARCHED_HEIGHTS)} AND r.outcome = 'changed'
        GROUP BY 1
        """, "cause", "rounds", ROUND_CAUSES.names)), 7, 9, stacked=False, axis="rounds", decimals=0, legend_options=NO_LEGEND,
    ),
    lines(
        "Block time by sequence", f"""From the commit of the height before to that of this one, both at the median node of which all
        traffic was seen, at the newest {HEIGHTS} heights up to the end of the range. Heights next to one that was not seen have
        none.""",
        table(f"""
        SELECT r.sequence, ROUND(MAX(r.block_time_ns) / 1000000000.0, 6) AS block_s
        FROM {heights(HEIGHTS)}
        JOIN round AS r ON r.run_id = $run AND r.sequence = h.sequence AND {newest("r.sequence", HEIGHTS)}
        GROUP BY r.sequence
        ORDER BY r.sequence
        """), 24, 7, unit="s", x_field="sequence", axis="block to block", draw="bars", fill=60, legend_options=legend(("mean", "max")),
        data_links=[SEQUENCE_LINK], overrides=[override("block_s", displayName="block time"), override("sequence", decimals=0)],
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

LEFT_BECAUSE, BEFORE_LEFT = column("cause", "Left because", 130), column("cause_before", "Round before left because", 190)

ROUND_TABLES = [
    grid(
        "Newest rounds", """Every round of the newest 50 heights up to the end of the range, also those of which nothing was seen. The
        sequence leads to the height, message by message.""",
        table(f"""
        SELECT {ROUND_FIELDS}, {ROUND_CAUSES.sql("r.cause")} AS cause
        FROM {heights(50)}
        JOIN round AS r ON r.run_id = $run AND r.sequence = h.sequence AND {newest("r.sequence", 50)}
        ORDER BY r.sequence DESC, r.round DESC, r.chain_id
        """), 12, 9, columns=[*ROUND_COLUMNS, LEFT_BECAUSE], links=[RUN_TO_SEQUENCE],
    ),
    grid(
        "Heights that took more than one round", f"""Rounds above 0 that got a proposal, among the newest {SEARCHED_ROUNDS:,} rounds of the
        range; the newest 50 of them, and why the round before was left. Empty in a network without trouble.""",
        table(f"""
        SELECT {ROUND_FIELDS}, {ROUND_CAUSES.sql("b.cause")} AS cause_before
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
        LEFT JOIN round AS b ON b.run_id = $run AND b.sequence = h.sequence AND b.round = h.round - 1 AND b.chain_id = h.chain_id
        ORDER BY r.preprepare_s DESC, r.sequence DESC, r.round DESC
        """), 12, 9, columns=[*ROUND_COLUMNS, BEFORE_LEFT],
    ),
]

READING = [
    SESSIONS_BY_STATE.sized(6, 9),
    SESSIONS.sized(18, 9),
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
            column("last_ms", "Last packet", 190, "dateTimeAsIso"), column("until_ms", "Shown until", 190, "dateTimeAsIso"),
            column("seconds", "Length", 90, "s"),
            column("sessions", "Sessions", 85), column("messages", "Messages", 95), column("gaps", "Gaps", 65),
            column("lost_bytes", "Lost", 85, "bytes"), column("undecodable", "Undecodable", 110),
        ],
    ),
]

DASHBOARD = Dashboard(
    CONSENSUS, "bftap: Consensus",
    """Consensus messages of a BFT network as seen on the wire: what each node got, what it needed, how long rounds took, and what
    could not be read. Times are UTC.""",
    rows=[
        (None, AT_A_GLANCE),
        ("Messages", MESSAGES),
        ("Redundancy", REDUNDANCY),
        ("Heights and rounds", ROUNDS_ROW + PHASES + ROUND_TABLES),
        ("What could not be read, and how far behind", READING),
        ("Runs", RUNS),
    ],
    variables=VARIABLES,
    links=links(CONSENSUS),
    annotations=[EVENTS], time=("now-1h", "now"), refresh="1s",
)
