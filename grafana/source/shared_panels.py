"""Panels that stand on several dashboards, and the marks that events make on those over time."""

from .navigation import SEQUENCE_LINK
from .panels import (
    BLUE, GREEN, NO_LEGEND, ORANGE, RED, YELLOW, annotation, bars, colored_text, column, grid, lines, matrix, override, table,
)
from .sql import BEST_COVERAGE, KINDS, NODES, expected_and_received, heights, newest
from .words import COVERAGE, SESSION_STATES, cause_colors

# How far panels that show single heights look back from the end of the range.
HEIGHTS, EXPECTED_HEIGHTS = 100, 50

OF_BEST_COVERAGE = f"WHERE n.coverage = {BEST_COVERAGE}"

EXPECTED_BY_SEQUENCE = lines(
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
)

GOT_OF_NEEDED = grid(
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
)

HISTOGRAM_OF_COPIES = bars(
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
)

SESSIONS_BY_STATE = bars(
    "Sessions by state", """Sessions of the whole run. `no_secret`: no key log has its secret; `lost`: the place in the key stream
    was lost; `failed`: a secret fits, but nothing sensible comes out; `no_handshake`: a dial that was not completed.""",
    table("SELECT state, COUNT(*) AS sessions FROM session WHERE run_id = $run GROUP BY state ORDER BY state"),
    6, 9, stacked=False, axis="sessions", legend_options=NO_LEGEND, decimals=0,
)

SESSIONS = grid(
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
)

CAUSES_BY_SEQUENCE = lines(
    "Copies of no use by sequence and cause", f"""Copies that brought their receiver nothing new, at each of the newest {HEIGHTS}
    heights up to the end of the range, for the chosen receivers and kinds. Echo to the signer: the receiver signed it itself. Sent
    again: by the same sender. Echo to the source: the receiver had handed it to the sender. Crossing: the two were handing it to
    each other at the same time. Had it already: from somebody else. A run of an earlier version has no causes.""",
    table(f"""
    SELECT c.sequence, SUM(c.echoes) AS echo_signer, SUM(c.resent) AS resent, SUM(c.echo_source) AS echo_source,
      SUM(c.crossing) AS crossing, SUM(c.regossip) AS regossip
    FROM {heights(HEIGHTS)}
    JOIN message_count AS c ON c.run_id = $run AND c.sequence = h.sequence AND {newest("c.sequence", HEIGHTS)}
    WHERE c.receiver IN {NODES} AND c.kind IN {KINDS}
    GROUP BY c.sequence
    ORDER BY c.sequence
    """), 12, 9, x_field="sequence", axis="copies", decimals=0, stacked=True, fill=40, data_links=[SEQUENCE_LINK],
    overrides=[*cause_colors(), override("sequence", decimals=0)],
)

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
