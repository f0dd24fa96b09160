-- Why copies were of no use and rounds were left, who signed what and whom it reached, and the network under the messages.
--
-- Null in rows of earlier versions: it was not recorded then, and 0 would be a claim.
ALTER TABLE message_count ADD COLUMN resent INTEGER;
ALTER TABLE message_count ADD COLUMN echo_source INTEGER;
ALTER TABLE message_count ADD COLUMN crossing INTEGER;
ALTER TABLE message_count ADD COLUMN regossip INTEGER;
ALTER TABLE round ADD COLUMN cause TEXT;
ALTER TABLE round ADD COLUMN block_time_ns INTEGER;
ALTER TABLE event ADD COLUMN kind TEXT;
ALTER TABLE event ADD COLUMN node_id TEXT;
ALTER TABLE event ADD COLUMN address TEXT;
ALTER TABLE event ADD COLUMN ip TEXT;
ALTER TABLE event ADD COLUMN numbers TEXT;
ALTER TABLE event ADD COLUMN payloads TEXT;
ALTER TABLE capture ADD COLUMN kernel_drops INTEGER;
ALTER TABLE capture ADD COLUMN interface_drops INTEGER;
ALTER TABLE capture ADD COLUMN times_down INTEGER;

CREATE TABLE node_round (
    run_id          INTEGER NOT NULL,
    chain_id        INTEGER NOT NULL,
    sequence        INTEGER NOT NULL,
    round           INTEGER NOT NULL,
    node_ip         TEXT NOT NULL,
    node            TEXT NOT NULL,
    preprepare_ns   INTEGER,
    prepared_ns     INTEGER,
    committed_ns    INTEGER,
    roundchange_ns  INTEGER,
    lower_bound     INTEGER NOT NULL CHECK (lower_bound IN (0, 1)),
    PRIMARY KEY (run_id, sequence, round, chain_id, node_ip)
) STRICT, WITHOUT ROWID;

CREATE TABLE vote (
    run_id        INTEGER NOT NULL,
    chain_id      INTEGER NOT NULL,
    sequence      INTEGER NOT NULL,
    round         INTEGER NOT NULL,
    kind          TEXT NOT NULL,
    signer        TEXT NOT NULL,
    position      INTEGER NOT NULL,
    digest        TEXT,
    first_ns      INTEGER,
    first_sender  TEXT,
    reached       INTEGER NOT NULL,
    of_nodes      INTEGER NOT NULL,
    not_reached   TEXT,
    state         TEXT NOT NULL,
    PRIMARY KEY (run_id, sequence, round, chain_id, kind, signer, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE waste (
    run_id       INTEGER NOT NULL,
    chain_id     INTEGER NOT NULL,
    receiver_ip  TEXT NOT NULL,
    receiver     TEXT NOT NULL,
    sender       TEXT NOT NULL,
    kind         TEXT NOT NULL,
    cause        TEXT NOT NULL,
    copies       INTEGER NOT NULL,
    bytes        INTEGER NOT NULL,
    PRIMARY KEY (run_id, chain_id, receiver_ip, sender, kind, cause)
) STRICT, WITHOUT ROWID;

CREATE TABLE what_if (
    run_id         INTEGER NOT NULL,
    chain_id       INTEGER NOT NULL,
    policy         TEXT NOT NULL,
    payloads       INTEGER NOT NULL,
    messages       INTEGER NOT NULL,
    bytes          INTEGER NOT NULL,
    not_delivered  INTEGER NOT NULL,
    delay_p50_ns   INTEGER,
    delay_p95_ns   INTEGER,
    PRIMARY KEY (run_id, chain_id, policy)
) STRICT, WITHOUT ROWID;

CREATE TABLE phase (
    run_id    INTEGER NOT NULL,
    chain_id  INTEGER NOT NULL,
    phase     TEXT NOT NULL,
    rounds    INTEGER NOT NULL,
    p50_ns    INTEGER NOT NULL,
    p95_ns    INTEGER NOT NULL,
    p99_ns    INTEGER NOT NULL,
    max_ns    INTEGER NOT NULL,
    PRIMARY KEY (run_id, chain_id, phase)
) STRICT, WITHOUT ROWID;

CREATE TABLE participation (
    run_id               INTEGER NOT NULL,
    chain_id             INTEGER NOT NULL,
    validator            TEXT NOT NULL,
    address              TEXT,
    rounds               INTEGER NOT NULL,
    proposals_due        INTEGER NOT NULL,
    proposals            INTEGER NOT NULL,
    prepares             INTEGER NOT NULL,
    commits              INTEGER NOT NULL,
    roundchanges         INTEGER NOT NULL,
    late                 INTEGER NOT NULL,
    partial              INTEGER NOT NULL,
    missing              INTEGER NOT NULL,
    unknown              INTEGER NOT NULL,
    invalid              INTEGER NOT NULL,
    commit_delay_p50_ns  INTEGER,
    commit_delay_p95_ns  INTEGER,
    PRIMARY KEY (run_id, chain_id, validator)
) STRICT, WITHOUT ROWID;

CREATE TABLE tcp_link (
    run_id           INTEGER NOT NULL,
    sender_ip        TEXT NOT NULL,
    sender           TEXT NOT NULL,
    receiver_ip      TEXT NOT NULL,
    receiver         TEXT NOT NULL,
    segments         INTEGER NOT NULL,
    bytes            INTEGER NOT NULL,
    retransmissions  INTEGER NOT NULL,
    rtt_samples      INTEGER NOT NULL,
    rtt_min_ns       INTEGER,
    rtt_mean_ns      INTEGER,
    rtt_max_ns       INTEGER,
    rtt_smoothed_ns  INTEGER,
    one_way_samples  INTEGER NOT NULL,
    one_way_min_ns   INTEGER,
    one_way_mean_ns  INTEGER,
    skew_ns          INTEGER,
    PRIMARY KEY (run_id, sender_ip, receiver_ip)
) STRICT, WITHOUT ROWID;

CREATE TABLE peer (
    run_id            INTEGER NOT NULL,
    peer_number       INTEGER NOT NULL,
    node              TEXT NOT NULL,
    node_id           TEXT,
    ips               TEXT,
    client            TEXT,
    software          TEXT,
    version           TEXT,
    offers            TEXT NOT NULL,
    network_id        INTEGER,
    genesis           TEXT,
    head              TEXT,
    total_difficulty  TEXT,
    behind            TEXT,
    role              TEXT,
    dials_out         INTEGER NOT NULL,
    dials_in          INTEGER NOT NULL,
    refused_out       INTEGER NOT NULL,
    refused_in        INTEGER NOT NULL,
    useless           INTEGER NOT NULL,
    sessions          INTEGER NOT NULL,
    session_p50_ns    INTEGER,
    reconnects        INTEGER NOT NULL,
    reconnect_p50_ns  INTEGER,
    PRIMARY KEY (run_id, peer_number)
) STRICT, WITHOUT ROWID;

CREATE TABLE peer_disconnect (
    run_id       INTEGER NOT NULL,
    peer_number  INTEGER NOT NULL,
    node         TEXT NOT NULL,
    direction    TEXT NOT NULL,
    reason       TEXT NOT NULL,
    disconnects  INTEGER NOT NULL,
    PRIMARY KEY (run_id, peer_number, direction, reason)
) STRICT, WITHOUT ROWID;

CREATE TABLE dial (
    run_id         INTEGER NOT NULL,
    initiator_ip   TEXT NOT NULL,
    initiator      TEXT NOT NULL,
    recipient_ip   TEXT NOT NULL,
    recipient      TEXT NOT NULL,
    dials          INTEGER NOT NULL,
    refused        INTEGER NOT NULL,
    useless        INTEGER NOT NULL,
    first_seen_ns  INTEGER NOT NULL,
    last_seen_ns   INTEGER NOT NULL,
    PRIMARY KEY (run_id, initiator_ip, recipient_ip)
) STRICT, WITHOUT ROWID;

CREATE TABLE census (
    run_id  INTEGER NOT NULL,
    list    TEXT NOT NULL,
    value   TEXT NOT NULL,
    total   INTEGER NOT NULL,
    PRIMARY KEY (run_id, list, value)
) STRICT, WITHOUT ROWID;

CREATE TABLE score (
    run_id                  INTEGER NOT NULL,
    score_number            INTEGER NOT NULL,
    node                    TEXT NOT NULL,
    address                 TEXT,
    ip                      TEXT,
    score_milli             INTEGER NOT NULL,
    time_in_mesh_milli      INTEGER NOT NULL,
    first_deliveries_milli  INTEGER NOT NULL,
    delivery_deficit_milli  INTEGER NOT NULL,
    invalid_milli           INTEGER NOT NULL,
    colocation_milli        INTEGER NOT NULL,
    behaviour_milli         INTEGER NOT NULL,
    PRIMARY KEY (run_id, score_number)
) STRICT, WITHOUT ROWID;
