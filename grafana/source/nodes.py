"""The dashboard *Nodes*: who took part, how fast, with which client and over which connections, and how each is scored."""

from .navigation import NODES as UID, RANGE_VARIABLES, RUN_VARIABLE, SEQUENCE_LINK, SUSPICIOUS, about_node, links, node_variable
from .panels import (
    BLUE, GREEN, GREY, NO_LEGEND, ORANGE, RED, YELLOW, Dashboard, as_number, bars, colored_background, colored_text, column, grid, legend,
    lines, matrix, override, stat, table, thresholds,
)
from .shared_panels import EVENTS, HEIGHTS, SESSIONS, SESSIONS_BY_STATE
from .sql import NODES, heights, newest
from .words import COVERAGE, colored

# How many rows a list shows at most.
LISTED = 200

IS_RED = {"thresholds": thresholds("text", (1, RED)), "custom_cellOptions": colored_text()}
IS_ORANGE = {"thresholds": thresholds("text", (1, ORANGE)), "custom_cellOptions": colored_text()}


def share(field, title, width=90, low=0.8, good=0.95):
    return column(field, title, width, "percentunit", 1, min=0, max=1, thresholds=thresholds(RED, (low, YELLOW), (good, GREEN)),
                  custom_cellOptions=colored_text())


def total(title, description, sql, width=3, **settings):
    return stat(title, description, table(sql), width, decimals=0, **settings)


AT_A_GLANCE = [
    total("Validators", "Nodes that signed messages of the run, or stand in the validator list of a proposed header.",
          "SELECT COUNT(*) AS validators FROM node WHERE run_id = $run AND validator = 1", steps=(BLUE,)),
    total("Nodes not seen in full", """Nodes whose own port was not captured, or with gaps or unread sessions: of these less is
          told, and nothing is held against them that a loss may hide.""",
          "SELECT COUNT(*) AS nodes FROM node WHERE run_id = $run AND coverage <> 'full'", steps=(GREEN, (1, YELLOW))),
    total("Client versions", "Different client versions that the nodes told in their Hellos.",
          "SELECT COUNT(*) AS versions FROM census WHERE run_id = $run AND list = 'version'", steps=(BLUE,)),
    stat("Commits sent", """Of the commits that the chosen validators should have sent in the decided rounds of the run, the share that
         was sent, or was not needed any more (see docs/rounds.md).""",
         table(f"""
         SELECT ROUND(1.0 - 1.0 * SUM(missing + unknown) / NULLIF(SUM(rounds), 0), 4) AS share
         FROM participation
         WHERE run_id = $run AND validator IN {NODES}
         """), 3, unit="percentunit", steps=(RED, (0.8, YELLOW), (0.95, GREEN)), decimals=1, no_value="no decided round"),
    stat("Proposals made", """Of the rounds that the chosen validators should have proposed in the run, the share that they
         proposed; as far as it is known whose turn it was.""",
         table(f"""
         SELECT ROUND(1.0 * SUM(CASE WHEN proposals < proposals_due THEN proposals ELSE proposals_due END)
           / NULLIF(SUM(proposals_due), 0), 4) AS share
         FROM participation
         WHERE run_id = $run AND validator IN {NODES}
         """), 3, unit="percentunit", steps=(RED, (0.8, YELLOW), (0.95, GREEN)), decimals=1, no_value="turns not known"),
    total("Disconnects", "Disconnect messages in the run, of all nodes.",
          "SELECT COALESCE(SUM(total), 0) AS disconnects FROM census WHERE run_id = $run AND list = 'disconnect'", steps=(BLUE,)),
    stat("Sent again by TCP", "Of the TCP segments with payload between all nodes of the run, the share that was sent again.",
         table("SELECT ROUND(1.0 * SUM(retransmissions) / NULLIF(SUM(segments), 0), 6) AS share FROM tcp_link WHERE run_id = $run"),
         3, unit="percentunit", steps=(GREEN, (0.001, YELLOW), (0.01, RED)), decimals=3, no_value="no segment"),
    stat("Lowest score", """The lowest score of a chosen node: advice whom to look at first, and proof of nothing. Below 0 it has
         done something; see *Scores*.""",
         table(f"SELECT ROUND(MIN(score_milli) / 1000.0, 1) AS score FROM score WHERE run_id = $run AND node IN {NODES}"),
         3, steps=(RED, (0, GREEN)), decimals=1, no_value="no score"),
]

# Participation (p) of the chosen validators, the chains of a run added up.
PARTICIPATION = f"FROM participation AS p WHERE p.run_id = $run AND p.validator IN {NODES}"

PARTICIPATION_ROW = [
    grid(
        "Participation", """What each validator took part in, over the whole run. Rounds: decided ones in which it was a validator.
        Due: rounds that it should have proposed, as far as the policy is known. Late: votes after all nodes had their quorum.
        Partial: votes that reached some nodes and not others, where no loss can hide that. Missing: commits that were not sent,
        where no loss can hide that; unknown: where one may. Commits behind: after the first commit of the round. Nothing of this is
        blame: a node that was stopped looks the same.""",
        table(f"""
        SELECT p.validator, SUM(p.rounds) AS rounds, SUM(p.proposals_due) AS proposals_due, SUM(p.proposals) AS proposals,
          SUM(p.prepares) AS prepares, SUM(p.commits) AS commits,
          ROUND(1.0 * SUM(p.commits) / NULLIF(SUM(p.rounds), 0), 4) AS commit_share, SUM(p.roundchanges) AS roundchanges,
          SUM(p.late) AS late, SUM(p.partial) AS partial_votes, SUM(p.missing) AS missing, SUM(p.unknown) AS unknown_votes,
          SUM(p.invalid) AS invalid, ROUND(MAX(p.commit_delay_p50_ns) / 1000000.0, 3) AS p50_ms,
          ROUND(MAX(p.commit_delay_p95_ns) / 1000000.0, 3) AS p95_ms
        {PARTICIPATION}
        GROUP BY p.validator
        UNION ALL
        SELECT 'no validator was seen', 0, 0, 0, 0, 0, NULL, 0, 0, 0, 0, 0, 0, NULL, NULL
        FROM (SELECT COUNT(*) AS validators {PARTICIPATION}) AS stored
        WHERE validators = 0
        ORDER BY 11 DESC, 1
        LIMIT {LISTED}
        """), 24, 9, columns=[
            column("validator", "Validator", links=[about_node(SUSPICIOUS, "validator")]), column("rounds", "Rounds", 80), column("proposals_due", "Proposals due", 110),
            column("proposals", "made", 70), column("prepares", "Prepares", 85), column("commits", "Commits", 85),
            share("commit_share", "Commits of rounds", 125), column("roundchanges", "Round changes", 115),
            column("late", "Late", 65, **IS_ORANGE), column("partial_votes", "Partial", 75, **IS_ORANGE),
            column("missing", "Missing", 80, **IS_RED), column("unknown_votes", "Unknown", 85),
            column("invalid", "Invalid", 75, **IS_RED), column("p50_ms", "Commits behind, median", 165, "ms"),
            column("p95_ms", "95 %", 85, "ms"),
        ],
    ),
    bars(
        "Proposals due and made", """Rounds that each validator should have proposed, as far as the policy of the chain is known and
        somebody was in the round, and rounds that it proposed; over the whole run.""",
        table(f"""
        SELECT p.validator, SUM(p.proposals_due) AS proposals_due, SUM(p.proposals) AS proposals
        {PARTICIPATION}
        GROUP BY p.validator
        UNION ALL
        SELECT 'none', 0, 0 FROM (SELECT COUNT(*) AS validators {PARTICIPATION}) AS stored WHERE validators = 0
        ORDER BY 1
        LIMIT {LISTED}
        """), 8, 9, stacked=False, axis="rounds", decimals=0,
        overrides=[colored("proposals_due", GREY, "due"), colored("proposals", GREEN, "made")],
    ),
    bars(
        "What became of the commits", """Decided rounds of the run by what is known of the validator's commit: it was sent; it was
        not needed any more when the node came to it; it was not sent, and no loss can hide that; or nothing can be said.""",
        table(f"""
        SELECT p.validator, SUM(p.commits) AS sent, SUM(p.rounds - p.commits - p.missing - p.unknown) AS not_needed,
          SUM(p.missing) AS missing, SUM(p.unknown) AS not_known
        {PARTICIPATION}
        GROUP BY p.validator
        UNION ALL
        SELECT 'none', 0, 0, 0, 0 FROM (SELECT COUNT(*) AS validators {PARTICIPATION}) AS stored WHERE validators = 0
        ORDER BY 1
        LIMIT {LISTED}
        """), 8, 9, axis="rounds", decimals=0, overrides=[
            colored("sent", GREEN), colored("not_needed", BLUE, "not needed"), colored("missing", RED),
            colored("not_known", GREY, "not known"),
        ],
    ),
    bars(
        "Commits behind the first", """How long after the first commit of the same round each validator's commit was first seen: the
        median and 95 % of the run. With one captured port these are times at that node.""",
        table(f"""
        SELECT p.validator, ROUND(MAX(p.commit_delay_p50_ns) / 1000000.0, 3) AS p50_ms,
          ROUND(MAX(p.commit_delay_p95_ns) / 1000000.0, 3) AS p95_ms
        {PARTICIPATION}
        GROUP BY p.validator
        UNION ALL
        SELECT 'none', 0, 0 FROM (SELECT COUNT(*) AS validators {PARTICIPATION}) AS stored WHERE validators = 0
        ORDER BY 1
        LIMIT {LISTED}
        """), 8, 9, stacked=False, unit="ms", axis="behind the first", decimals=2,
        overrides=[colored("p50_ms", GREEN, "median"), colored("p95_ms", ORANGE, "95 %")],
    ),
]

# Votes (v) of the newest heights of the range, by the chosen signers.
VOTES = f"""FROM {heights(HEIGHTS)}
        JOIN vote AS v ON v.run_id = $run AND v.sequence = h.sequence AND {newest("v.sequence", HEIGHTS)}
        WHERE v.signer IN {NODES}"""


def votes_in(state):
    return f"SUM(CASE v.state WHEN '{state}' THEN 1 ELSE 0 END)"


VOTE_SUMS = f"""{votes_in("late")} AS late, {votes_in("partial")} AS partial_votes, {votes_in("missing")} AS missing,
          {votes_in("unknown")} AS not_known"""
VOTE_COLORS = [colored("late", YELLOW), colored("partial_votes", ORANGE, "partial"), colored("missing", RED),
               colored("not_known", GREY, "not known")]
STATES = """Late: a vote that was first seen after all nodes had their quorum. Partial: it reached some nodes and not others.
    Missing: it was due and not sent. Not known: loss or missing coverage may hide it."""

# Delays of the decided rounds of the newest heights at the chosen nodes: from the first sight of the proposal anywhere.
DELAYS = f"""FROM {heights(HEIGHTS)}
        JOIN round AS r ON r.run_id = $run AND r.sequence = h.sequence AND {newest("r.sequence", HEIGHTS)} AND r.outcome = 'decided'
          AND r.preprepare_ns IS NOT NULL
        JOIN node_round AS q ON q.run_id = $run AND q.sequence = r.sequence AND q.round = r.round AND q.chain_id = r.chain_id
          AND {newest("q.sequence", HEIGHTS)} AND q.node IN {NODES}"""


def quantile(column_, share_):
    """The lowest value of which at least such a share is not higher, from rows with the shares of their values."""
    return f"MIN(CASE WHEN {column_}_share >= {share_} THEN {column_}_ms END)"


TIMES = [
    lines(
        "Votes that were late, partial or missing by sequence", f"""Votes of the chosen validators at the newest {HEIGHTS} heights
        up to the end of the range, of all rounds and kinds. {STATES}""",
        table(f"""
        SELECT v.sequence, {VOTE_SUMS}
        {VOTES}
        GROUP BY v.sequence
        ORDER BY v.sequence
        """), 16, 9, x_field="sequence", axis="votes", decimals=0, draw="bars", fill=60, stacked=True, legend_options=legend(("max",)),
        data_links=[SEQUENCE_LINK], overrides=[*VOTE_COLORS, override("sequence", decimals=0)],
    ),
    bars(
        "Votes that were late, partial or missing by signer", f"""The same by validator, at the newest {HEIGHTS} heights. {STATES}""",
        table(f"""
        SELECT v.signer, {VOTE_SUMS}
        {VOTES}
        GROUP BY v.signer
        ORDER BY v.signer
        """), 8, 9, axis="votes", decimals=0, overrides=VOTE_COLORS,
    ),
    lines(
        "Delay to quorum by sequence", f"""From the first sight of the proposal anywhere until each chosen node had the quorum of
        commits, at each decided round of the newest {HEIGHTS} heights. Of nodes of which only some sessions were seen it is later
        than it was, or absent.""",
        table(f"""
        SELECT r.sequence, q.node, ROUND(MAX(q.committed_ns - r.preprepare_ns) / 1000000.0, 3) AS ms
        {DELAYS}
        WHERE q.committed_ns IS NOT NULL
        GROUP BY r.sequence, q.node
        ORDER BY r.sequence, q.node
        """), 12, 10, x_field="sequence\\node", unit="ms", axis="after the proposal", legend_options=legend(("mean", "max"), "right"),
        transformations=[matrix("sequence", "node", "ms"), as_number("sequence\\node")],
        overrides=[override("sequence\\node", displayName="sequence", decimals=0, unit="none")],
        data_links=[{"title": SEQUENCE_LINK["title"],
                     "url": SEQUENCE_LINK["url"].replace("${__data.fields.sequence.numeric}", "${__data.fields[0].numeric}")}],
    ),
    grid(
        "Delay to quorum by node", f"""The same in numbers, over the decided rounds of the newest {HEIGHTS} heights: when the
        proposal reached the node, when it was prepared, and when it was committed. A node far behind the others is slow, or its
        links are.""",
        table(f"""
        SELECT node, COUNT(*) AS rounds, {quantile("proposal", 0.5)} AS proposal_p50, {quantile("prepared", 0.5)} AS prepared_p50,
          {quantile("committed", 0.5)} AS committed_p50, {quantile("committed", 0.95)} AS committed_p95, MAX(committed_ms) AS committed_max
        FROM (
          SELECT node, proposal_ms, prepared_ms, committed_ms,
            CUME_DIST() OVER (PARTITION BY node ORDER BY proposal_ms) AS proposal_share,
            CUME_DIST() OVER (PARTITION BY node ORDER BY prepared_ms) AS prepared_share,
            CUME_DIST() OVER (PARTITION BY node ORDER BY committed_ms) AS committed_share
          FROM (
            SELECT q.node, ROUND((q.preprepare_ns - r.preprepare_ns) / 1000000.0, 3) AS proposal_ms,
              ROUND((q.prepared_ns - r.preprepare_ns) / 1000000.0, 3) AS prepared_ms,
              ROUND((q.committed_ns - r.preprepare_ns) / 1000000.0, 3) AS committed_ms
            {DELAYS}
            WHERE q.preprepare_ns IS NOT NULL AND q.prepared_ns IS NOT NULL AND q.committed_ns IS NOT NULL
          ) AS delays
        ) AS shares
        GROUP BY node
        UNION ALL
        SELECT 'no node was seen from proposal to commit', 0, NULL, NULL, NULL, NULL, NULL
        FROM (
          SELECT COUNT(*) AS found
          {DELAYS}
          WHERE q.preprepare_ns IS NOT NULL AND q.prepared_ns IS NOT NULL AND q.committed_ns IS NOT NULL
        ) AS stored
        WHERE found = 0
        ORDER BY 5 DESC, 1
        """), 12, 10, columns=[
            column("node", "Node"), column("rounds", "Rounds", 80), column("proposal_p50", "Proposal there, median", 160, "ms"),
            column("prepared_p50", "Prepared, median", 130, "ms"), column("committed_p50", "Committed, median", 140, "ms"),
            column("committed_p95", "95 %", 85, "ms"), column("committed_max", "Longest", 90, "ms"),
        ],
    ),
]

CLIENTS = [
    bars(
        "Clients and versions", "Nodes by the client version that they told in their latest Hello, over the whole run.",
        table("""
        SELECT value AS client, total AS nodes
        FROM census
        WHERE run_id = $run AND list = 'version'
        UNION ALL
        SELECT 'no Hello was read', 0 FROM (SELECT COUNT(*) AS versions FROM census WHERE run_id = $run AND list = 'version') AS stored
        WHERE versions = 0
        ORDER BY 2 DESC, 1
        LIMIT 50
        """), 8, 8, horizontal=True, stacked=False, axis="nodes", decimals=0, legend_options=NO_LEGEND,
    ),
    grid(
        "Census", """How many nodes have each software, version, capability and role, and how many Disconnects were sent for each
        reason, over the whole run.""",
        table("""
        SELECT list AS what, value, total
        FROM census
        WHERE run_id = $run
        UNION ALL
        SELECT 'nothing', 'no Hello, Status or Disconnect was read', 0
        FROM (SELECT COUNT(*) AS found FROM census WHERE run_id = $run) AS stored
        WHERE found = 0
        ORDER BY 1, 3 DESC, 2
        LIMIT 500
        """), 8, 8, columns=[column("what", "What", 100), column("value", "Value"), column("total", "How many", 95)],
    ),
    bars(
        "Disconnects by reason", "Disconnect messages of the run by the reason they give, in the words of devp2p's specification.",
        table("""
        SELECT value AS reason, total AS disconnects
        FROM census
        WHERE run_id = $run AND list = 'disconnect'
        UNION ALL
        SELECT 'none', 0 FROM (SELECT COUNT(*) AS reasons FROM census WHERE run_id = $run AND list = 'disconnect') AS stored
        WHERE reasons = 0
        ORDER BY 2 DESC, 1
        """), 8, 8, horizontal=True, stacked=False, axis="Disconnects", decimals=0, legend_options=NO_LEGEND,
    ),
    grid(
        "Peers", f"""The nodes as a crawler would list them, from what passed by in the whole run; at most {LISTED}. Behind: how far
        its head was behind the highest of its chain in a Status, in total difficulty, which is about the height in Klaytn and Kaia.
        Useless: sessions that carried nothing but Hello, Disconnect, Ping and Pong. Reconnects: from the end of a session to the
        next one with the same peer.""",
        table(f"""
        SELECT p.node, n.coverage, p.client, p.version, p.role, p.offers, p.ips, p.network_id, p.behind, p.dials_out, p.dials_in,
          p.refused_out, p.refused_in, p.sessions, p.useless, ROUND(p.session_p50_ns / 1000000000.0, 3) AS session_s, p.reconnects,
          ROUND(p.reconnect_p50_ns / 1000000000.0, 3) AS reconnect_s
        FROM peer AS p
        LEFT JOIN node AS n ON n.run_id = p.run_id AND n.label = p.node
        WHERE p.run_id = $run AND (p.node IN {NODES} OR n.label IS NULL)
        ORDER BY p.peer_number
        LIMIT {LISTED}
        """), 24, 9, columns=[
            column("node", "Node", 110), column("coverage", "Coverage", 90, mappings=[COVERAGE], custom_cellOptions=colored_text()),
            column("client", "Client"), column("version", "Version", 95), column("role", "Role", 60), column("offers", "Offers", 150),
            column("ips", "Seen at", 130), column("network_id", "Network", 85), column("behind", "Behind", 75),
            column("dials_out", "Dialled", 80), column("dials_in", "was dialled", 100), column("refused_out", "Refused", 80),
            column("refused_in", "of others", 85), column("sessions", "Sessions", 85), column("useless", "Useless", 80),
            column("session_s", "Median length", 115, "s"), column("reconnects", "Reconnects", 100),
            column("reconnect_s", "Median time to", 115, "s"),
        ],
    ),
]

CONNECTIONS = [
    grid(
        "Disconnects by node", f"""Disconnects of the whole run by node, direction and reason, the most frequent {LISTED}. Each
        stands with both of its ends.""",
        table(f"""
        SELECT node, direction, reason, disconnects
        FROM peer_disconnect
        WHERE run_id = $run AND node IN {NODES}
        UNION ALL
        SELECT 'no Disconnect was read', '', '', 0
        FROM (SELECT COUNT(*) AS found FROM peer_disconnect WHERE run_id = $run AND node IN {NODES}) AS stored
        WHERE found = 0
        ORDER BY 4 DESC, 1, 2, 3
        LIMIT {LISTED}
        """), 9, 10, columns=[
            column("node", "Node"), column("direction", "Direction", 95), column("reason", "Reason", 180),
            column("disconnects", "How many", 95),
        ],
    ),
    grid(
        "Dials", f"""Who dialled whom in the whole run, the {LISTED} busiest pairs: connections, those that were refused or carried
        nothing, those that carried nothing but Hello, Disconnect, Ping and Pong, and when.""",
        table(f"""
        SELECT initiator, recipient, dials, refused, useless, FLOOR(first_seen_ns / 1000000) AS first_ms,
          FLOOR(last_seen_ns / 1000000) AS last_ms
        FROM dial
        WHERE run_id = $run AND (initiator IN {NODES} OR recipient IN {NODES})
        ORDER BY dials DESC, initiator, recipient, initiator_ip, recipient_ip
        LIMIT {LISTED}
        """), 15, 10, columns=[
            column("initiator", "Dials"), column("recipient", "Is dialled"), column("dials", "Connections", 105),
            column("refused", "Refused", 80), column("useless", "Useless", 80), column("first_ms", "First packet", 190, "dateTimeAsIso"),
            column("last_ms", "Last packet", 190, "dateTimeAsIso"),
        ],
    ),
    SESSIONS_BY_STATE.sized(6, 9),
    SESSIONS.sized(18, 9),
]

LINKS = [
    grid(
        "Round trip from sender to receiver and back", """The shortest round trip that TCP showed for what each node (columns) sent
        to each other one (rows), over the whole run. It is measured from the tap: at the sender's port it is all of the way, at the
        receiver's only what its TCP takes to answer.""",
        table(f"""
        SELECT receiver, sender, ROUND(MIN(rtt_min_ns) / 1000000.0, 3) AS ms
        FROM tcp_link
        WHERE run_id = $run AND sender IN {NODES} AND receiver IN {NODES}
        GROUP BY receiver, sender
        ORDER BY receiver, sender
        LIMIT 10000
        """), 9, 11, columns=[override("receiver\\sender", displayName="Receiver", custom_width=110, custom_cellOptions={"type": "auto"})],
        defaults={"unit": "ms", "decimals": 2, "color": {"mode": "continuous-GrYlRd"}, "min": 0,
                  "custom": {"align": "center", "cellOptions": colored_background(), "inspect": False, "filterable": False}},
        transformations=[matrix("receiver", "sender", "ms")],
    ),
    grid(
        "Links", f"""One direction between two nodes as TCP tells it, over the whole run: the {LISTED} that sent most again. Round
        trips are measured from the tap to the receiver and back: the shortest is the path, the mean has delayed acknowledgements in
        it. One way: between two taps, the skew of their clocks taken off.""",
        table(f"""
        SELECT sender, receiver, segments, bytes, retransmissions, ROUND(1.0 * retransmissions / NULLIF(segments, 0), 6) AS again,
          rtt_samples, ROUND(rtt_min_ns / 1000000.0, 3) AS rtt_min, ROUND(rtt_mean_ns / 1000000.0, 3) AS rtt_mean,
          ROUND(rtt_max_ns / 1000000.0, 3) AS rtt_max, ROUND(rtt_smoothed_ns / 1000000.0, 3) AS rtt_smoothed,
          ROUND(one_way_min_ns / 1000000.0, 3) AS one_way_min, ROUND(one_way_mean_ns / 1000000.0, 3) AS one_way_mean,
          ROUND(skew_ns / 1000000.0, 3) AS skew
        FROM tcp_link
        WHERE run_id = $run AND sender IN {NODES} AND receiver IN {NODES}
        ORDER BY retransmissions DESC, sender, receiver, sender_ip, receiver_ip
        LIMIT {LISTED}
        """), 15, 11, columns=[
            column("sender", "Sender"), column("receiver", "Receiver"), column("segments", "Segments", 90),
            column("bytes", "Size", 85, "bytes"), column("retransmissions", "Sent again", 95, **IS_ORANGE),
            column("again", "Share", 80, "percentunit", 3),
            column("rtt_samples", "Samples", 85), column("rtt_min", "Shortest", 85, "ms"), column("rtt_mean", "Mean", 80, "ms"),
            column("rtt_max", "Longest", 85, "ms"), column("rtt_smoothed", "At the end", 90, "ms"),
            column("one_way_min", "One way", 85, "ms"), column("one_way_mean", "Mean one way", 110, "ms"),
            column("skew", "Clocks apart", 105, "ms"),
        ],
    ),
    bars(
        "Segments sent again by sender", """TCP segments with payload that each chosen node sent again, over the whole run: its own losses, or
        those of the ways from it.""",
        table(f"""
        SELECT sender, SUM(retransmissions) AS segments
        FROM tcp_link
        WHERE run_id = $run AND sender IN {NODES}
        GROUP BY sender
        ORDER BY sender
        LIMIT {LISTED}
        """), 24, 7, stacked=False, axis="segments", decimals=0, legend_options=NO_LEGEND,
    ),
]

BELOW_ZERO = {"thresholds": thresholds(RED, (0, "text")), "custom_cellOptions": colored_text()}
SCORES = [
    grid(
        "Scores", f"""Advice on each node in the manner of GossipSub's peer score, the lowest {LISTED} first. Nothing acts on it,
        and it proves nothing: look at the parts, and at the events behind them (*Suspicious*). For it: the time of its sessions,
        and payloads that it was the first to hand over. Against it: handing over less than is due, invalid messages, sharing an IP
        address, and what rules blamed on it. What is long past counts less.""",
        table(f"""
        SELECT node, address, ip, ROUND(score_milli / 1000.0, 3) AS score, ROUND(time_in_mesh_milli / 1000.0, 3) AS time_in_mesh,
          ROUND(first_deliveries_milli / 1000.0, 3) AS first_deliveries, ROUND(delivery_deficit_milli / 1000.0, 3) AS delivery_deficit,
          ROUND(invalid_milli / 1000.0, 3) AS invalid, ROUND(colocation_milli / 1000.0, 3) AS colocation,
          ROUND(behaviour_milli / 1000.0, 3) AS behaviour
        FROM score
        WHERE run_id = $run AND node IN {NODES}
        UNION ALL
        SELECT 'no node was scored', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
        FROM (SELECT COUNT(*) AS scores FROM score WHERE run_id = $run AND node IN {NODES}) AS stored
        WHERE scores = 0
        ORDER BY 4, 1
        LIMIT {LISTED}
        """), 24, 9, columns=[
            column("node", "Node", links=[about_node(SUSPICIOUS, "node")]), column("address", "Address", 330), column("ip", "IP address", 130),
            column("score", "Score", 90, decimals=1, **BELOW_ZERO), column("time_in_mesh", "Time", 80, decimals=1),
            column("first_deliveries", "First deliveries", 120, decimals=1),
            column("delivery_deficit", "Deliveries lacking", 135, decimals=1, **BELOW_ZERO),
            column("invalid", "Invalid messages", 130, decimals=1, **BELOW_ZERO),
            column("colocation", "Shared address", 120, decimals=1, **BELOW_ZERO),
            column("behaviour", "Behaviour", 100, decimals=1, **BELOW_ZERO),
        ],
    ),
]

DASHBOARD = Dashboard(
    UID, "bftap: Nodes",
    """The nodes of a run: what each validator took part in, how fast it was, which client it runs, how its connections fare, and how it is
    scored. Times are UTC.""",
    rows=[
        (None, AT_A_GLANCE),
        ("Participation", PARTICIPATION_ROW),
        ("Votes and quorums of the newest heights", TIMES),
        ("Clients and peers", CLIENTS),
        ("Connections", CONNECTIONS),
        ("Links", LINKS),
        ("Scores", SCORES),
    ],
    variables=[RUN_VARIABLE, node_variable("Validator, peer, or end of a connection"), *RANGE_VARIABLES],
    links=links(UID), annotations=[EVENTS], time=("now-1h", "now"), refresh="5s",
)
