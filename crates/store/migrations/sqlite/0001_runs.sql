-- Columns, units and example queries: docs/SCHEMA.md. Other databases get the same tables and columns.
--
-- No FOREIGN KEY clauses: a check per row would halve the speed of the big tables, and every row of a run is
-- written, replaced and deleted by one program that knows all tables of a run.
-- WITHOUT ROWID where the key is what dashboards filter by: the table is its own index, rows of a run lie together,
-- and removing a run removes a range.

-- Tells this file from other programs' databases: "bftp".
PRAGMA application_id = 1650881648;

CREATE TABLE run (
    run_id              INTEGER PRIMARY KEY AUTOINCREMENT,
    name                TEXT NOT NULL,
    state               TEXT NOT NULL CHECK (state IN ('running', 'complete', 'failed')),
    problem             TEXT,
    source              TEXT NOT NULL,
    program_version     TEXT NOT NULL,
    started_ns          INTEGER NOT NULL,
    finished_ns         INTEGER,
    batches             INTEGER NOT NULL DEFAULT 0,
    first_seen_ns       INTEGER,
    last_seen_ns        INTEGER,
    packets             INTEGER NOT NULL DEFAULT 0,
    bytes               INTEGER NOT NULL DEFAULT 0,
    tcp_packets         INTEGER NOT NULL DEFAULT 0,
    sessions            INTEGER NOT NULL DEFAULT 0,
    refused             INTEGER NOT NULL DEFAULT 0,
    other_flows         INTEGER NOT NULL DEFAULT 0,
    frames              INTEGER NOT NULL DEFAULT 0,
    consensus_messages  INTEGER NOT NULL DEFAULT 0,
    undecodable         INTEGER NOT NULL DEFAULT 0,
    gaps                INTEGER NOT NULL DEFAULT 0,
    lost_bytes          INTEGER NOT NULL DEFAULT 0,
    incomplete_bytes    INTEGER NOT NULL DEFAULT 0,
    bad_checksums       INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX run_by_name ON run (name);
-- Whatever a program does wrong, a name never has two complete runs.
CREATE UNIQUE INDEX run_complete_once ON run (name) WHERE state = 'complete';

CREATE TABLE counter (
    run_id  INTEGER NOT NULL,
    list    TEXT NOT NULL,
    name    TEXT NOT NULL,
    value   INTEGER NOT NULL,
    PRIMARY KEY (run_id, list, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE capture (
    run_id          INTEGER NOT NULL,
    capture_number  INTEGER NOT NULL,
    path            TEXT NOT NULL,
    sha256          TEXT NOT NULL,
    packets         INTEGER NOT NULL,
    bytes           INTEGER NOT NULL,
    problem         TEXT,
    PRIMARY KEY (run_id, capture_number)
) STRICT, WITHOUT ROWID;

CREATE TABLE chain (
    run_id    INTEGER NOT NULL,
    chain_id  INTEGER NOT NULL,
    chain     TEXT NOT NULL,
    PRIMARY KEY (run_id, chain_id),
    UNIQUE (run_id, chain)
) STRICT, WITHOUT ROWID;

CREATE TABLE label (
    run_id    INTEGER NOT NULL,
    label_id  INTEGER NOT NULL,
    label     TEXT NOT NULL,
    PRIMARY KEY (run_id, label_id),
    UNIQUE (run_id, label)
) STRICT, WITHOUT ROWID;

CREATE TABLE node (
    run_id       INTEGER NOT NULL,
    node_number  INTEGER NOT NULL,
    label        TEXT NOT NULL,
    name         TEXT,
    node_id      TEXT,
    address      TEXT,
    client       TEXT,
    role         TEXT,
    coverage     TEXT NOT NULL,
    validator    INTEGER NOT NULL CHECK (validator IN (0, 1)),
    PRIMARY KEY (run_id, node_number)
) STRICT, WITHOUT ROWID;

CREATE TABLE node_ip (
    run_id       INTEGER NOT NULL,
    ip           TEXT NOT NULL,
    node_number  INTEGER NOT NULL,
    PRIMARY KEY (run_id, ip, node_number)
) STRICT, WITHOUT ROWID;

CREATE TABLE session (
    run_id                  INTEGER NOT NULL,
    session_number          INTEGER NOT NULL,
    chain_id                INTEGER NOT NULL,
    initiator               TEXT NOT NULL,
    recipient               TEXT NOT NULL,
    initiator_ip            TEXT NOT NULL,
    recipient_ip            TEXT NOT NULL,
    state                   TEXT NOT NULL,
    attached                TEXT,
    mac                     TEXT,
    frames_from_initiator   INTEGER NOT NULL,
    frames_from_recipient   INTEGER NOT NULL,
    gaps                    INTEGER NOT NULL,
    lost_bytes              INTEGER NOT NULL,
    incomplete_bytes        INTEGER NOT NULL,
    capabilities            TEXT NOT NULL,
    bytes_from_initiator    INTEGER NOT NULL,
    bytes_from_recipient    INTEGER NOT NULL,
    initiator_client        TEXT,
    recipient_client        TEXT,
    initiator_node_id       TEXT,
    recipient_node_id       TEXT,
    detail                  TEXT,
    first_seen_ns           INTEGER NOT NULL,
    last_seen_ns            INTEGER NOT NULL,
    PRIMARY KEY (run_id, session_number)
) STRICT, WITHOUT ROWID;

CREATE TABLE code (
    run_id      INTEGER NOT NULL,
    capability  TEXT NOT NULL,
    wire_code   INTEGER NOT NULL,
    name        TEXT NOT NULL,
    frames      INTEGER NOT NULL,
    bytes       INTEGER NOT NULL,
    PRIMARY KEY (run_id, capability, wire_code, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE message_count (
    run_id         INTEGER NOT NULL,
    chain_id       INTEGER NOT NULL,
    receiver_ip    TEXT NOT NULL,
    receiver       TEXT NOT NULL,
    sequence       INTEGER NOT NULL,
    round          INTEGER NOT NULL,
    kind           TEXT NOT NULL,
    messages       INTEGER NOT NULL,
    useful         INTEGER NOT NULL,
    repeats        INTEGER NOT NULL,
    echoes         INTEGER NOT NULL,
    invalid        INTEGER NOT NULL,
    bytes          INTEGER NOT NULL,
    lower_bound    INTEGER NOT NULL CHECK (lower_bound IN (0, 1)),
    first_seen_ns  INTEGER NOT NULL,
    last_seen_ns   INTEGER NOT NULL,
    PRIMARY KEY (run_id, sequence, round, chain_id, receiver_ip, kind)
) STRICT, WITHOUT ROWID;

-- From a time range to heights; the big delivery table has no time index of its own (docs/SCHEMA.md says why).
CREATE INDEX message_count_by_time ON message_count (run_id, first_seen_ns);

-- Text of nodes is kept once, in label: ten million rows take 0.45 GB instead of more than 1 GB.
CREATE TABLE delivery_row (
    run_id         INTEGER NOT NULL,
    chain_id       INTEGER NOT NULL,
    receiver_id    INTEGER NOT NULL,
    sender_id      INTEGER NOT NULL,
    signer_id      INTEGER NOT NULL,
    sequence       INTEGER NOT NULL,
    round          INTEGER NOT NULL,
    kind_id        INTEGER NOT NULL,
    copies         INTEGER NOT NULL,
    first_seen_ns  INTEGER NOT NULL,
    last_seen_ns   INTEGER NOT NULL,
    PRIMARY KEY (run_id, sequence, round, chain_id, receiver_id, kind_id, sender_id, signer_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE link_count (
    run_id       INTEGER NOT NULL,
    chain_id     INTEGER NOT NULL,
    minute_ns    INTEGER NOT NULL,
    receiver_ip  TEXT NOT NULL,
    receiver     TEXT NOT NULL,
    sender       TEXT NOT NULL,
    kind         TEXT NOT NULL,
    messages     INTEGER NOT NULL,
    bytes        INTEGER NOT NULL,
    PRIMARY KEY (run_id, minute_ns, chain_id, receiver_ip, sender, kind)
) STRICT, WITHOUT ROWID;

CREATE TABLE copies (
    run_id       INTEGER NOT NULL,
    receiver_ip  TEXT NOT NULL,
    copies       INTEGER NOT NULL,
    payloads     INTEGER NOT NULL,
    PRIMARY KEY (run_id, receiver_ip, copies)
) STRICT, WITHOUT ROWID;

CREATE TABLE round (
    run_id         INTEGER NOT NULL,
    chain_id       INTEGER NOT NULL,
    sequence       INTEGER NOT NULL,
    round          INTEGER NOT NULL,
    proposer       TEXT,
    validators     INTEGER,
    quorum         INTEGER,
    preprepare_ns  INTEGER,
    prepared_ns    INTEGER,
    committed_ns   INTEGER,
    messages       INTEGER NOT NULL,
    outcome        TEXT NOT NULL,
    PRIMARY KEY (run_id, sequence, round, chain_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX round_by_time ON round (run_id, preprepare_ns);

CREATE TABLE event (
    run_id        INTEGER NOT NULL,
    event_number  INTEGER NOT NULL,
    time_ns       INTEGER NOT NULL,
    rule          TEXT NOT NULL,
    severity      TEXT NOT NULL,
    signer        TEXT,
    sender        TEXT,
    chain_id      INTEGER NOT NULL,
    sequence      INTEGER,
    round         INTEGER,
    detail        TEXT NOT NULL,
    suspicious    INTEGER NOT NULL CHECK (suspicious IN (0, 1)),
    PRIMARY KEY (run_id, event_number)
) STRICT, WITHOUT ROWID;

CREATE INDEX event_by_time ON event (run_id, time_ns);

-- Subqueries instead of joins: a query that does not ask for a column does not pay for it, also when it aggregates.
CREATE VIEW delivery AS
SELECT d.run_id,
       d.chain_id,
       (SELECT c.chain FROM chain AS c WHERE c.run_id = d.run_id AND c.chain_id = d.chain_id) AS chain,
       (SELECT l.label FROM label AS l WHERE l.run_id = d.run_id AND l.label_id = d.receiver_id) AS receiver_ip,
       (SELECT l.label FROM label AS l WHERE l.run_id = d.run_id AND l.label_id = d.sender_id) AS sender,
       (SELECT l.label FROM label AS l WHERE l.run_id = d.run_id AND l.label_id = d.signer_id) AS signer,
       d.sequence,
       d.round,
       CASE d.kind_id WHEN 0 THEN 'preprepare' WHEN 1 THEN 'prepare' WHEN 2 THEN 'commit' WHEN 3 THEN 'roundchange' END
           AS kind,
       d.copies,
       d.first_seen_ns,
       d.last_seen_ns
FROM delivery_row AS d;

CREATE VIEW consensus_round_counts AS
SELECT c.run_id,
       c.receiver AS node,
       c.sequence AS round_number,
       SUM(CASE c.kind WHEN 'preprepare' THEN c.messages ELSE 0 END) AS preprepare,
       SUM(CASE c.kind WHEN 'prepare' THEN c.messages ELSE 0 END) AS prepare,
       SUM(CASE c.kind WHEN 'commit' THEN c.messages ELSE 0 END) AS "commit",
       SUM(CASE c.kind WHEN 'roundchange' THEN c.messages ELSE 0 END) AS roundchange
FROM message_count AS c
JOIN run ON run.run_id = c.run_id AND run.state = 'complete'
GROUP BY c.run_id, c.receiver, c.sequence;
