"""The dashboard *Redundancy*: copies of no use, who handed them over and why, who is first, and what other policies would cost."""

from .navigation import KIND_VARIABLE, RANGE_VARIABLES, REDUNDANCY, RUN_VARIABLE, SEQUENCE_LINK, links, node_variable
from .panels import (
    BLUE, GREEN, NO_LEGEND, ORANGE, PURPLE, RED, YELLOW, Dashboard, bars, colored_background, colored_text, column, grid, legend,
    lines, matrix, override, series, stat, table, text, thresholds,
)
from .shared_panels import (
    CAUSES_BY_SEQUENCE, EVENTS, EXPECTED_BY_SEQUENCE, EXPECTED_HEIGHTS, GOT_OF_NEEDED, HISTOGRAM_OF_COPIES, OF_BEST_COVERAGE,
)
from .sql import (
    BEST_COVERAGE, KIND_OF_ID, KINDS, MINUTES, NODES, SECONDS_OF_A_POINT, counts, decided, heights, newest, with_zeros,
)
from .words import CAUSES, POLICIES, cause_colors, colored

# How many heights, and how many messages of them, are looked at to see who delivers first.
FIRST_HEIGHTS, FIRST_MESSAGES = 20, 15000
# What is shown of links at most; how many seconds of their messages.
LINKS, LINK_SECONDS = 200, 3600

# Copies of no use, by link, kind and cause, of the whole run: as many rows as links have causes, however long the run.
WASTE = f"FROM waste AS w WHERE w.run_id = $run AND w.receiver IN {NODES} AND w.kind IN {KINDS}"
# Of what the newest decided heights should cost: see WIRE-FORMATS, or docs/redundancy.md.
NEWEST_VALIDATORS = f"""SELECT MAX(r.validators) AS validators
          FROM {decided(EXPECTED_HEIGHTS)}"""

AT_A_GLANCE = [
    stat(
        "Copies of no use", """Share of the messages in the range that brought their receiver nothing new: copies of what it had already
        (repeats), and its own messages coming back (echoes). Of the chosen kinds, at those of the chosen nodes of which most traffic
        was seen.""",
        table(f"""
        SELECT ROUND(1.0 * (SUM(messages) - SUM(useful)) / NULLIF(SUM(messages), 0), 4) AS share
        FROM {counts("messages", "useful")}
        JOIN node AS n ON n.run_id = $run AND n.label = c.receiver
        WHERE n.coverage = {BEST_COVERAGE}
        """), 3, unit="percentunit", steps=(GREEN, (0.5, YELLOW), (0.8, ORANGE)), decimals=1,
    ),
    stat(
        "Bytes of no use", """Bytes of those copies on the wire, over the whole run, for the chosen receivers and kinds.""",
        table(f"SELECT COALESCE(SUM(w.bytes), 0) AS bytes {WASTE}"), 3, unit="bytes", steps=(BLUE,),
    ),
    stat(
        "Most frequent cause", """Why most copies of no use were sent, over the whole run. The table *By link and cause* has all of
        them.""",
        table(f"""
        SELECT {CAUSES.sql("cause")} AS cause
        FROM (
          SELECT w.cause, SUM(w.copies) AS copies {WASTE}
          GROUP BY w.cause
          UNION ALL
          SELECT 'none', 0
        ) AS causes
        ORDER BY copies DESC, cause
        LIMIT 1
        """), 3, field="/^cause$/", steps=(BLUE,),
    ),
    stat(
        "Copies of a payload", """In how many copies a payload arrives at a node on average, echoes included, over the whole run. 1 would
        do.""",
        table(f"""
        SELECT ROUND(1.0 * SUM(c.copies * c.payloads) / NULLIF(SUM(c.payloads), 0), 2) AS copies
        FROM copies AS c
        JOIN node_ip AS i ON i.run_id = c.run_id AND i.ip = c.receiver_ip
        JOIN node AS n ON n.run_id = i.run_id AND n.node_number = i.node_number
        WHERE c.run_id = $run AND n.label IN {NODES}
        """), 3, steps=(GREEN, (2, YELLOW), (5, ORANGE)), decimals=2,
    ),
    stat(
        "Most copies of a payload", """The most copies in which one payload arrived at one node, over the whole run. Nodes that pass
        on what they accept once to each neighbour cannot exceed n - 1, n being the validators: more was sent again, or came over a
        second connection.""",
        table(f"""
        SELECT MAX(c.copies) AS copies
        FROM copies AS c
        JOIN node_ip AS i ON i.run_id = c.run_id AND i.ip = c.receiver_ip
        JOIN node AS n ON n.run_id = i.run_id AND n.node_number = i.node_number
        WHERE c.run_id = $run AND n.label IN {NODES}
        """), 3, steps=(BLUE,), decimals=0,
    ),
    stat(
        "Votes needed: n - 1", f"""What a node needs of Prepare, and of Commit, in one round: a vote of every other validator. From the
        validators of the newest {EXPECTED_HEIGHTS} heights.""",
        table(f"SELECT validators - 1 AS votes FROM ({NEWEST_VALIDATORS}) AS v"), 3, steps=(GREEN,), decimals=0,
        no_value="validators not known",
    ),
    stat(
        "Most possible: n(n - 1)", """What a node gets at most of Prepare, and of Commit, in one round where everybody passes on
        everything once to each neighbour: every vote from every neighbour, its own included. Without its own votes coming back (n -
        1)².""",
        table(f"SELECT validators * (validators - 1) AS votes FROM ({NEWEST_VALIDATORS}) AS v"), 3, steps=(ORANGE,), decimals=0,
        no_value="validators not known",
    ),
    stat(
        "Saved if nothing were handed on", """Bytes that would not have been sent if each message had gone from its author to all
        and nobody had handed it on: an estimate over the whole run, for all nodes and kinds. See *What other policies would cost*.""",
        table("""
        SELECT ROUND(1.0 - 1.0 * SUM(CASE policy WHEN 'none' THEN bytes ELSE 0 END)
          / NULLIF(SUM(CASE policy WHEN 'as_seen' THEN bytes ELSE 0 END), 0), 4) AS share
        FROM what_if
        WHERE run_id = $run
        """), 3, unit="percentunit", steps=(BLUE,), decimals=1, no_value="nothing replayed",
    ),
]

EXPECTED = [
    EXPECTED_BY_SEQUENCE.sized(12, 9),
    lines(
        "Votes at a node against their bounds", f"""Prepare and Commit that a validator got in a decided round, on average, at the
        newest {EXPECTED_HEIGHTS} heights. Bounds for n validators that are all connected: n - 1 where nobody hands on; (n - 1)²
        where everybody hands on once to each neighbour; n(n - 1) with a node's own votes coming back. Of those of the chosen nodes
        of which most traffic was seen.""",
        table(f"""
        SELECT r.sequence,
          ROUND(1.0 * SUM(CASE c.kind WHEN 'prepare' THEN c.messages ELSE 0 END) / COUNT(DISTINCT c.receiver_ip), 2) AS prepares,
          ROUND(1.0 * SUM(CASE c.kind WHEN 'commit' THEN c.messages ELSE 0 END) / COUNT(DISTINCT c.receiver_ip), 2) AS commits,
          MAX(r.validators) - 1 AS fewest, (MAX(r.validators) - 1) * (MAX(r.validators) - 1) AS without_echoes,
          MAX(r.validators) * (MAX(r.validators) - 1) AS most
        FROM {decided(EXPECTED_HEIGHTS)}
        JOIN message_count AS c ON c.run_id = $run AND c.sequence = r.sequence AND c.round = r.round AND c.chain_id = r.chain_id
          AND {newest("c.sequence", EXPECTED_HEIGHTS)} AND c.receiver IN {NODES}
        JOIN node AS n ON n.run_id = $run AND n.validator = 1 AND n.label = c.receiver
        {OF_BEST_COVERAGE}
        GROUP BY r.sequence
        ORDER BY r.sequence
        """), 12, 9, x_field="sequence", axis="messages", data_links=[SEQUENCE_LINK],
        overrides=[
            colored("prepares", BLUE, "Prepare"), colored("commits", PURPLE, "Commit"),
            colored("fewest", GREEN, "n - 1", custom_lineStyle={"fill": "dash", "dash": [10, 10]}),
            colored("without_echoes", YELLOW, "(n - 1)²", custom_lineStyle={"fill": "dash", "dash": [10, 10]}),
            colored("most", RED, "n(n - 1)", custom_lineStyle={"fill": "dash", "dash": [10, 10]}), override("sequence", decimals=0),
        ],
    ),
    lines(
        "Useful, repeated and returned over time", """Messages a second at all chosen nodes together: the first copies of what they
        did not sign themselves, further copies, and their own messages coming back. Ranges above five minutes are shown by the
        minute.""",
        series(f"""
        SELECT $__unixEpochGroup(second, $__interval) AS time, ROUND(1.0 * SUM(useful) / {SECONDS_OF_A_POINT}, 3) AS useful,
          ROUND(1.0 * SUM(repeats) / {SECONDS_OF_A_POINT}, 3) AS repeats, ROUND(1.0 * SUM(echoes) / {SECONDS_OF_A_POINT}, 3) AS echoes
        FROM {counts("useful", "repeats", "echoes")}
        GROUP BY 1
        ORDER BY 1
        """), 12, 9, unit="cps", axis="messages a second", stacked=True, fill=40, points=120,
        overrides=[colored("useful", GREEN), colored("repeats", ORANGE), colored("echoes", PURPLE)],
    ),
    lines(
        "Bytes a second, of use and of no use", """The same in bytes on the wire. Of each count the copies are taken to be equally long, as
        copies of one payload are; the totals of *By link and cause* are exact.""",
        series(f"""
        SELECT $__unixEpochGroup(second, $__interval) AS time,
          ROUND(SUM(1.0 * bytes * useful / NULLIF(messages, 0)) / {SECONDS_OF_A_POINT}, 1) AS useful,
          ROUND(SUM(1.0 * bytes * (messages - useful) / NULLIF(messages, 0)) / {SECONDS_OF_A_POINT}, 1) AS no_use
        FROM {counts("bytes", "useful", "messages")}
        GROUP BY 1
        ORDER BY 1
        """), 12, 9, unit="Bps", axis="bytes a second", stacked=True, fill=40, points=120,
        overrides=[colored("useful", GREEN, "of use"), colored("no_use", ORANGE, "of no use")],
    ),
    GOT_OF_NEEDED.sized(24, 8),
]

# Receivers in the newest rounds, as many as have no more messages than can be looked at one by one; the newest one in any case. A few
# receivers of a hundred validators fill a panel, and what it costs stays the same. (They are worked out once, and not
# for each delivery: MariaDB needs the limit for that, which is never reached, and PostgreSQL, while it knows nothing of a new run, the word.)
# Only those of which most was seen: at others, who was captured would seem to be first.
CHOSEN = f"""(
  WITH newest_receivers AS @once()@(
  SELECT summed.sequence, summed.round, summed.chain_id, summed.receiver,
    (SELECT l.label_id FROM label AS l WHERE l.run_id = $run AND l.label = summed.receiver_ip) AS receiver_id,
    (SELECT l.label_id FROM label AS l WHERE l.run_id = $run AND l.label = summed.receiver) AS own_id
  FROM (
    SELECT c.sequence, c.round, c.chain_id, c.receiver_ip, MIN(c.receiver) AS receiver,
      SUM(SUM(c.messages)) OVER (ORDER BY c.sequence DESC, c.round DESC, c.chain_id, c.receiver_ip) AS total,
      ROW_NUMBER() OVER (ORDER BY c.sequence DESC, c.round DESC, c.chain_id, c.receiver_ip) AS place
    FROM {heights(FIRST_HEIGHTS)}
    JOIN message_count AS c ON c.run_id = $run AND c.sequence = h.sequence AND {newest("c.sequence", FIRST_HEIGHTS)}
    JOIN node AS n ON n.run_id = $run AND n.label = c.receiver AND n.validator = 1
    WHERE c.receiver IN {NODES} AND c.kind IN {KINDS} AND n.coverage = {BEST_COVERAGE}
    GROUP BY c.sequence, c.round, c.chain_id, c.receiver_ip
  ) AS summed
  WHERE summed.total <= {FIRST_MESSAGES} OR summed.place = 1
  LIMIT {FIRST_MESSAGES}
  )
  SELECT * FROM newest_receivers
) AS chosen"""

# Deliveries at the chosen nodes (f), added up by receiver and sender: with how many payloads the sender was first, how many copies it handed
# over later, and how many of what the receiver had signed. `delivery_row` is read by its key, and senders' names are put in where few rows
# are left.
FIRSTS = f"""(
  SELECT ranked.receiver_id, ranked.sender_id, MIN(ranked.receiver) AS receiver,
    SUM(CASE WHEN ranked.own = 0 AND ranked.place = 1 THEN 1 ELSE 0 END) AS firsts,
    SUM(CASE WHEN ranked.own = 1 THEN 0 WHEN ranked.place = 1 THEN ranked.copies - 1 ELSE ranked.copies END) AS later,
    SUM(CASE ranked.own WHEN 1 THEN ranked.copies ELSE 0 END) AS returned
  FROM (
    SELECT chosen.receiver, d.receiver_id, d.sender_id, d.copies, CASE WHEN d.signer_id = chosen.own_id THEN 1 ELSE 0 END AS own,
      ROW_NUMBER() OVER (PARTITION BY d.sequence, d.round, d.chain_id, d.receiver_id, d.kind_id, d.signer_id
        ORDER BY d.first_seen_ns, d.sender_id) AS place
    FROM {CHOSEN}
    JOIN delivery_row AS d ON d.run_id = $run AND d.sequence = chosen.sequence AND {newest("d.sequence", FIRST_HEIGHTS)}
      AND d.round = chosen.round AND d.chain_id = chosen.chain_id AND d.receiver_id = chosen.receiver_id
    WHERE {KIND_OF_ID} IN {KINDS}
  ) AS ranked
  GROUP BY ranked.receiver_id, ranked.sender_id
) AS f
JOIN label AS s ON s.run_id = $run AND s.label_id = f.sender_id"""

FIRST_DESCRIPTION = f"""Of the newest {FIRST_HEIGHTS} heights up to the end of the range, or as many of them, and of their
        receivers, as have {FIRST_MESSAGES:,} messages: choose a few nodes where there are many. At those of the chosen validators
        of which most traffic was seen.
        What one signer sends of a kind in a round counts as one payload, also where it contradicts itself."""

FIRST = [
    bars(
        "Who delivers first", f"""With how many payloads each sender was the first at a receiver, by the first sight of each copy;
        how many copies it handed over that came later; and how many of what the receiver had signed itself. {FIRST_DESCRIPTION} A
        sender that is rarely first and hands over much costs the others bandwidth and gives little.""",
        table(f"""
        SELECT s.label AS sender, SUM(f.firsts) AS firsts, SUM(f.later) AS later, SUM(f.returned) AS returned
        FROM {FIRSTS}
        GROUP BY s.label
        ORDER BY 2 DESC, s.label
        LIMIT 100
        """), 12, 10, axis="copies", decimals=0,
        overrides=[colored("firsts", GREEN, "first"), colored("later", ORANGE, "later copies"),
                   colored("returned", PURPLE, "returned to the signer")],
    ),
    grid(
        "First deliveries by receiver and sender", f"""With how many payloads each sender (columns) was the first at each receiver
        (rows). {FIRST_DESCRIPTION}""",
        table(f"""
        SELECT f.receiver, s.label AS sender, SUM(f.firsts) AS firsts
        FROM {FIRSTS}
        GROUP BY f.receiver, s.label
        ORDER BY f.receiver, s.label
        LIMIT 10000
        """), 12, 10, columns=[override("receiver\\sender", displayName="Receiver", custom_width=110, custom_cellOptions={"type": "auto"})],
        defaults={"unit": "none", "decimals": 0, "color": {"mode": "continuous-BlPu"}, "min": 0,
                  "custom": {"align": "center", "cellOptions": colored_background(), "inspect": False, "filterable": False}},
        transformations=[matrix("receiver", "sender", "firsts")],
    ),
    lines(
        "Messages handed over, by sender", """Messages a minute that each sender handed to the chosen nodes, of the chosen kinds:
        the last hour of the range in which there were any. What it was of use is told above and by cause below.""",
        series(f"""
        SELECT l.minute_s AS time, l.sender AS metric, SUM(l.messages) AS messages
        FROM link_count AS l
        WHERE l.run_id = $run AND l.minute_s >= ${{__from:date:seconds}} - 59 AND l.minute_s <= ${{__to:date:seconds}}
          AND l.minute_s > (SELECT MAX(minute_s) FROM link_count WHERE run_id = $run AND {MINUTES}) - {LINK_SECONDS}
          AND l.receiver IN {NODES} AND l.kind IN {KINDS}
        GROUP BY l.minute_s, l.sender
        ORDER BY l.minute_s, l.sender
        """), 24, 8, unit="cpm", axis="messages a minute", decimals=0, show_points="always",
        legend_options=legend(("mean", "max"), "right"),
    ),
]

CAUSE_SUMS = ", ".join(f"SUM(CASE w.cause WHEN '{cause}' THEN w.copies ELSE 0 END) AS {cause}"
                       for cause in ("echo_signer", "resent", "echo_source", "crossing", "regossip"))

CAUSE_ROW = [
    bars(
        "Copies of no use by kind and cause", """Over the whole run, for the chosen receivers. Each copy has one cause, the first of
        these that holds: the receiver signed it; the same sender had handed it over before; the receiver had handed it to the
        sender; it crossed the receiver's own copy; the receiver had it from somebody else.""",
        table(f"""
        SELECT kind, SUM(echo_signer) AS echo_signer, SUM(resent) AS resent, SUM(echo_source) AS echo_source, SUM(crossing) AS crossing,
          SUM(regossip) AS regossip
        FROM (
          SELECT w.kind, {CAUSE_SUMS}
          {WASTE}
          GROUP BY w.kind
          UNION ALL SELECT 'preprepare', 0, 0, 0, 0, 0 UNION ALL SELECT 'prepare', 0, 0, 0, 0, 0
          UNION ALL SELECT 'commit', 0, 0, 0, 0, 0 UNION ALL SELECT 'roundchange', 0, 0, 0, 0, 0
        ) AS sums
        GROUP BY kind
        ORDER BY kind
        """), 6, 9, axis="copies", decimals=0, overrides=cause_colors(),
    ),
    bars(
        "Bytes of no use by cause", """Bytes on the wire, over the whole run, for the chosen receivers and kinds.""",
        table(with_zeros(f"""
        SELECT {CAUSES.sql("w.cause")} AS cause, SUM(w.bytes) AS bytes
        {WASTE}
        GROUP BY w.cause
        """, "cause", "bytes", CAUSES.names)), 6, 9, stacked=False, unit="bytes", axis="bytes", legend_options=NO_LEGEND,
    ),
    CAUSES_BY_SEQUENCE.sized(12, 9),
    grid(
        "By link and cause", f"""Copies of no use of each link over the whole run, for the chosen receivers and kinds: the {LINKS}
        links with most of them. Causes as above.""",
        table(f"""
        SELECT w.sender, w.receiver, {CAUSE_SUMS}, SUM(w.copies) AS copies, SUM(w.bytes) AS bytes
        {WASTE}
        GROUP BY w.sender, w.receiver
        UNION ALL
        SELECT 'no copy of no use', '', 0, 0, 0, 0, 0, 0, 0
        FROM (SELECT COUNT(*) AS links {WASTE}) AS stored
        WHERE links = 0
        ORDER BY 8 DESC, 1, 2
        LIMIT {LINKS}
        """), 12, 11, columns=[
            column("sender", "Sender"), column("receiver", "Receiver"), column("echo_signer", "To the signer", 105),
            column("resent", "Sent again", 95, thresholds=thresholds("text", (1, RED)), custom_cellOptions=colored_text()),
            column("echo_source", "To the source", 110), column("crossing", "Crossing", 85), column("regossip", "Had it already", 120),
            column("copies", "Copies", 85), column("bytes", "Size", 85, "bytes"),
        ],
    ),
    grid(
        "Bytes of no use by receiver and sender", """Bytes that each sender (columns) handed to each receiver (rows) and that told
        it nothing new, over the whole run, for the chosen receivers and kinds.""",
        table(f"""
        SELECT w.receiver, w.sender, SUM(w.bytes) AS bytes
        {WASTE}
        GROUP BY w.receiver, w.sender
        UNION ALL
        SELECT 'no copy of no use', 'none', 0
        FROM (SELECT COUNT(*) AS links {WASTE}) AS stored
        WHERE links = 0
        ORDER BY 1, 2
        LIMIT 10000
        """), 12, 11, columns=[override("receiver\\sender", displayName="Receiver", custom_width=110, custom_cellOptions={"type": "auto"})],
        defaults={"unit": "bytes", "color": {"mode": "continuous-YlRd"}, "min": 0,
                  "custom": {"align": "center", "cellOptions": colored_background(), "inspect": False, "filterable": False}},
        transformations=[matrix("receiver", "sender", "bytes")],
    ),
    HISTOGRAM_OF_COPIES.sized(24, 8),
]

ASSUMPTIONS = """Each payload of a validator is replayed under other ways of handing on. Only messages to receivers that were **seen whole** in the
height count, in *as it was*, too. It is an **estimate**, and it assumes:

- The same payloads are signed. In truth, which votes are sent at all depends on when nodes decide.
- Nodes that sent or got something of the height take part, and are all connected to each other.
- A link takes its median time in that height; one that was not measured takes the median of the others. Where no copy was seen at two
  taps there are no delays.
- A node holds a payload for the median time that was seen in that height, and hands it to all at once. Fewer messages would make it
  faster: that is not modelled.
- *Nothing handed on*: the author sends to all; the delay is that of its own copy.
- *Not to signer and source*: once to all but the author and where it came from, as Besu does.
- *To the square root* and *to D others*: to that many, drawn from the height, the author and the node: the same input gives the same choice.
- All copies of a payload are as long as the mean copy that was seen.

*Not delivered* counts pairs of payload and receiver that the policy would not have reached. `docs/redundancy.md` says how this is checked."""

POLICY = f"CONCAT({POLICIES.sql('w.policy')}, CASE WHEN w.chain_id > 0 THEN CONCAT(' (chain ', w.chain_id, ')') ELSE '' END)"

WHAT_IF = [
    grid(
        "What other policies would cost", """Messages and bytes that each policy sends to the receivers that were seen whole, for
        all nodes and kinds of the whole run; what it would not have delivered, and how long deliveries take. Under *What this rests
        on* stand the assumptions. `degree_4`: to four others.""",
        table(f"""
        SELECT {POLICY} AS policy_name, w.payloads, w.messages, w.bytes,
          ROUND(1.0 * w.messages / NULLIF(s.messages, 0) - 1, 4) AS messages_change,
          ROUND(1.0 * w.bytes / NULLIF(s.bytes, 0) - 1, 4) AS bytes_change, w.not_delivered,
          ROUND(w.delay_p50_ns / 1000000.0, 3) AS p50_ms, ROUND(w.delay_p95_ns / 1000000.0, 3) AS p95_ms
        FROM what_if AS w
        LEFT JOIN what_if AS s ON s.run_id = w.run_id AND s.chain_id = w.chain_id AND s.policy = 'as_seen'
        WHERE w.run_id = $run
        UNION ALL
        SELECT 'nothing replayed: no receiver was seen whole', 0, 0, 0, NULL, NULL, 0, NULL, NULL
        FROM (SELECT COUNT(*) AS policies FROM what_if WHERE run_id = $run) AS stored
        WHERE policies = 0
        ORDER BY 3, 1
        """), 14, 9, columns=[
            column("policy_name", "If handed on"), column("payloads", "Payloads", 85), column("messages", "Messages", 90),
            column("bytes", "Size", 85, "bytes"),
            column("messages_change", "Messages, change", 95, "percentunit", 0, thresholds=thresholds(GREEN, (0.005, RED)),
                   custom_cellOptions=colored_text()),
            column("bytes_change", "Bytes, change", 95, "percentunit", 0, thresholds=thresholds(GREEN, (0.005, RED)),
                   custom_cellOptions=colored_text()),
            column("not_delivered", "Not delivered", 105, thresholds=thresholds("text", (1, RED)), custom_cellOptions=colored_text()),
            column("p50_ms", "Delay, median", 110, "ms"), column("p95_ms", "95 %", 85, "ms"),
        ],
    ),
    bars(
        "Messages by policy", """Messages that each policy would send, over the whole run: an estimate, see *What this rests on*.""",
        table(f"""
        SELECT {POLICY} AS policy_name, w.messages
        FROM what_if AS w
        WHERE w.run_id = $run
        UNION ALL
        SELECT 'nothing replayed', 0 FROM (SELECT COUNT(*) AS policies FROM what_if WHERE run_id = $run) AS stored WHERE policies = 0
        ORDER BY 2, 1
        """), 10, 9, horizontal=True, stacked=False, axis="messages", decimals=0, legend_options=NO_LEGEND,
    ),
    text("What this rests on", ASSUMPTIONS, 24, 9),
]

DASHBOARD = Dashboard(
    REDUNDANCY, "bftap: Redundancy",
    """What consensus messages cost and what of them was of use: expected against received, who delivers first, why copies were of no use,
    and what other ways of handing on would cost. Times are UTC.""",
    rows=[
        (None, AT_A_GLANCE),
        ("Expected against received", EXPECTED),
        ("Who delivers first", FIRST),
        ("Copies of no use, and why", CAUSE_ROW),
        ("What if", WHAT_IF),
    ],
    variables=[RUN_VARIABLE, node_variable("The receiver of messages"), KIND_VARIABLE, *RANGE_VARIABLES],
    links=links(REDUNDANCY), annotations=[EVENTS], time=("now-1h", "now"), refresh="5s",
)
