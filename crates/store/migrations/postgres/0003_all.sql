-- Columns, units and example queries: docs/SCHEMA.md. The same tables and columns as in the other databases, at schema 3.
--
-- COLLATE "C": texts are compared byte by byte, whatever the database's locale.

CREATE TABLE run (
    run_id              BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name                VARCHAR(255) COLLATE "C" NOT NULL,
    state               VARCHAR(255) COLLATE "C" NOT NULL,
    problem             TEXT COLLATE "C",
    source              VARCHAR(255) COLLATE "C" NOT NULL,
    program_version     VARCHAR(255) COLLATE "C" NOT NULL,
    started_ns          BIGINT NOT NULL,
    finished_ns         BIGINT,
    batches             BIGINT NOT NULL DEFAULT 0,
    first_seen_ns       BIGINT,
    last_seen_ns        BIGINT,
    packets             BIGINT NOT NULL DEFAULT 0,
    bytes               BIGINT NOT NULL DEFAULT 0,
    tcp_packets         BIGINT NOT NULL DEFAULT 0,
    sessions            BIGINT NOT NULL DEFAULT 0,
    refused             BIGINT NOT NULL DEFAULT 0,
    other_flows         BIGINT NOT NULL DEFAULT 0,
    frames              BIGINT NOT NULL DEFAULT 0,
    consensus_messages  BIGINT NOT NULL DEFAULT 0,
    undecodable         BIGINT NOT NULL DEFAULT 0,
    gaps                BIGINT NOT NULL DEFAULT 0,
    lost_bytes          BIGINT NOT NULL DEFAULT 0,
    incomplete_bytes    BIGINT NOT NULL DEFAULT 0,
    bad_checksums       BIGINT NOT NULL DEFAULT 0,
    selection           TEXT COLLATE "C",
    frames_lost         BIGINT,
    searched_bytes      BIGINT,
    live                SMALLINT NOT NULL DEFAULT 0 CHECK (live IN (0, 1)),
    pace_milli          BIGINT,
    written_ns          BIGINT,
    seen_ns             BIGINT,
    lag_ns              BIGINT,
    thinned_before_ns   BIGINT,
    first_seen_s        BIGINT GENERATED ALWAYS AS (first_seen_ns / 1000000000) STORED,
    CONSTRAINT run_state CHECK (state IN ('running', 'complete', 'failed'))
);

CREATE INDEX run_by_name ON run (name);
-- Whatever a program does wrong, a name never has two complete runs.
CREATE UNIQUE INDEX run_complete_once ON run (name) WHERE state = 'complete';

CREATE TABLE counter (
    run_id  BIGINT NOT NULL,
    list    VARCHAR(255) COLLATE "C" NOT NULL,
    name    VARCHAR(255) COLLATE "C" NOT NULL,
    value   BIGINT NOT NULL,
    PRIMARY KEY (run_id, list, name)
);

CREATE TABLE capture (
    run_id          BIGINT NOT NULL,
    capture_number  BIGINT NOT NULL,
    path            TEXT COLLATE "C" NOT NULL,
    sha256          VARCHAR(255) COLLATE "C" NOT NULL,
    packets         BIGINT NOT NULL,
    bytes           BIGINT NOT NULL,
    problem         TEXT COLLATE "C",
    PRIMARY KEY (run_id, capture_number)
);

CREATE TABLE chain (
    run_id    BIGINT NOT NULL,
    chain_id  INTEGER NOT NULL,
    chain     VARCHAR(255) COLLATE "C" NOT NULL,
    PRIMARY KEY (run_id, chain_id),
    UNIQUE (run_id, chain)
);

CREATE TABLE label (
    run_id    BIGINT NOT NULL,
    label_id  INTEGER NOT NULL,
    label     VARCHAR(255) COLLATE "C" NOT NULL,
    PRIMARY KEY (run_id, label_id),
    UNIQUE (run_id, label)
);

CREATE TABLE node (
    run_id       BIGINT NOT NULL,
    node_number  BIGINT NOT NULL,
    label        VARCHAR(255) COLLATE "C" NOT NULL,
    name         VARCHAR(255) COLLATE "C",
    node_id      VARCHAR(255) COLLATE "C",
    address      VARCHAR(255) COLLATE "C",
    client       TEXT COLLATE "C",
    role         VARCHAR(255) COLLATE "C",
    coverage     VARCHAR(255) COLLATE "C" NOT NULL,
    validator    SMALLINT NOT NULL CHECK (validator IN (0, 1)),
    PRIMARY KEY (run_id, node_number)
);

CREATE TABLE node_ip (
    run_id       BIGINT NOT NULL,
    ip           VARCHAR(45) COLLATE "C" NOT NULL,
    node_number  BIGINT NOT NULL,
    PRIMARY KEY (run_id, ip, node_number)
);

CREATE TABLE session (
    run_id                      BIGINT NOT NULL,
    session_number              BIGINT NOT NULL,
    chain_id                    INTEGER NOT NULL,
    initiator                   VARCHAR(255) COLLATE "C" NOT NULL,
    recipient                   VARCHAR(255) COLLATE "C" NOT NULL,
    initiator_ip                VARCHAR(45) COLLATE "C" NOT NULL,
    recipient_ip                VARCHAR(45) COLLATE "C" NOT NULL,
    state                       VARCHAR(255) COLLATE "C" NOT NULL,
    attached                    VARCHAR(255) COLLATE "C",
    mac                         VARCHAR(255) COLLATE "C",
    frames_from_initiator       BIGINT NOT NULL,
    frames_from_recipient       BIGINT NOT NULL,
    gaps                        BIGINT NOT NULL,
    lost_bytes                  BIGINT NOT NULL,
    incomplete_bytes            BIGINT NOT NULL,
    capabilities                TEXT COLLATE "C" NOT NULL,
    bytes_from_initiator        BIGINT NOT NULL,
    bytes_from_recipient        BIGINT NOT NULL,
    initiator_client            TEXT COLLATE "C",
    recipient_client            TEXT COLLATE "C",
    initiator_node_id           VARCHAR(255) COLLATE "C",
    recipient_node_id           VARCHAR(255) COLLATE "C",
    detail                      TEXT COLLATE "C",
    first_seen_ns               BIGINT NOT NULL,
    last_seen_ns                BIGINT NOT NULL,
    frames_lost_from_initiator  BIGINT,
    frames_lost_from_recipient  BIGINT,
    inferred                    TEXT COLLATE "C",
    first_seen_s                BIGINT GENERATED ALWAYS AS (first_seen_ns / 1000000000) STORED,
    PRIMARY KEY (run_id, session_number)
);

CREATE TABLE code (
    run_id      BIGINT NOT NULL,
    capability  VARCHAR(255) COLLATE "C" NOT NULL,
    wire_code   BIGINT NOT NULL,
    name        VARCHAR(255) COLLATE "C" NOT NULL,
    frames      BIGINT NOT NULL,
    bytes       BIGINT NOT NULL,
    PRIMARY KEY (run_id, capability, wire_code, name)
);

CREATE TABLE message_count (
    run_id         BIGINT NOT NULL,
    chain_id       INTEGER NOT NULL,
    receiver_ip    VARCHAR(45) COLLATE "C" NOT NULL,
    receiver       VARCHAR(255) COLLATE "C" NOT NULL,
    sequence       BIGINT NOT NULL,
    round          BIGINT NOT NULL,
    kind           VARCHAR(16) COLLATE "C" NOT NULL,
    messages       BIGINT NOT NULL,
    useful         BIGINT NOT NULL,
    repeats        BIGINT NOT NULL,
    echoes         BIGINT NOT NULL,
    invalid        BIGINT NOT NULL,
    bytes          BIGINT NOT NULL,
    lower_bound    SMALLINT NOT NULL CHECK (lower_bound IN (0, 1)),
    first_seen_ns  BIGINT NOT NULL,
    last_seen_ns   BIGINT NOT NULL,
    first_seen_s   BIGINT GENERATED ALWAYS AS (first_seen_ns / 1000000000) STORED,
    PRIMARY KEY (run_id, sequence, round, chain_id, receiver_ip, kind)
);

CREATE INDEX message_count_by_time ON message_count (run_id, first_seen_s);

-- Text of nodes is kept once, in label.
CREATE TABLE delivery_row (
    run_id         BIGINT NOT NULL,
    chain_id       INTEGER NOT NULL,
    receiver_id    INTEGER NOT NULL,
    sender_id      INTEGER NOT NULL,
    signer_id      INTEGER NOT NULL,
    sequence       BIGINT NOT NULL,
    round          BIGINT NOT NULL,
    kind_id        SMALLINT NOT NULL,
    copies         BIGINT NOT NULL,
    first_seen_ns  BIGINT NOT NULL,
    last_seen_ns   BIGINT NOT NULL,
    PRIMARY KEY (run_id, sequence, round, chain_id, receiver_id, kind_id, sender_id, signer_id)
);

CREATE TABLE link_count (
    run_id       BIGINT NOT NULL,
    chain_id     INTEGER NOT NULL,
    minute_ns    BIGINT NOT NULL,
    receiver_ip  VARCHAR(45) COLLATE "C" NOT NULL,
    receiver     VARCHAR(255) COLLATE "C" NOT NULL,
    sender       VARCHAR(255) COLLATE "C" NOT NULL,
    kind         VARCHAR(16) COLLATE "C" NOT NULL,
    messages     BIGINT NOT NULL,
    bytes        BIGINT NOT NULL,
    minute_s     BIGINT GENERATED ALWAYS AS (minute_ns / 1000000000) STORED,
    PRIMARY KEY (run_id, minute_ns, chain_id, receiver_ip, sender, kind)
);

CREATE INDEX link_count_by_time ON link_count (run_id, minute_s);

CREATE TABLE minute_count (
    run_id            BIGINT NOT NULL,
    minute_ns         BIGINT NOT NULL,
    chain_id          INTEGER NOT NULL,
    receiver_ip       VARCHAR(45) COLLATE "C" NOT NULL,
    kind              VARCHAR(16) COLLATE "C" NOT NULL,
    receiver          VARCHAR(255) COLLATE "C" NOT NULL,
    messages          BIGINT NOT NULL,
    useful            BIGINT NOT NULL,
    repeats           BIGINT NOT NULL,
    echoes            BIGINT NOT NULL,
    invalid           BIGINT NOT NULL,
    bytes             BIGINT NOT NULL,
    rows_lower_bound  BIGINT NOT NULL,
    heights           BIGINT NOT NULL,
    minute_s          BIGINT GENERATED ALWAYS AS (minute_ns / 1000000000) STORED,
    PRIMARY KEY (run_id, minute_ns, chain_id, receiver_ip, kind)
);

CREATE INDEX minute_count_by_time ON minute_count (run_id, minute_s);

CREATE TABLE copies (
    run_id       BIGINT NOT NULL,
    receiver_ip  VARCHAR(45) COLLATE "C" NOT NULL,
    copies       BIGINT NOT NULL,
    payloads     BIGINT NOT NULL,
    PRIMARY KEY (run_id, receiver_ip, copies)
);

CREATE TABLE round (
    run_id         BIGINT NOT NULL,
    chain_id       INTEGER NOT NULL,
    sequence       BIGINT NOT NULL,
    round          BIGINT NOT NULL,
    proposer       VARCHAR(255) COLLATE "C",
    validators     BIGINT,
    quorum         BIGINT,
    preprepare_ns  BIGINT,
    prepared_ns    BIGINT,
    committed_ns   BIGINT,
    messages       BIGINT NOT NULL,
    outcome        VARCHAR(255) COLLATE "C" NOT NULL,
    preprepare_s   BIGINT GENERATED ALWAYS AS (preprepare_ns / 1000000000) STORED,
    PRIMARY KEY (run_id, sequence, round, chain_id)
);

CREATE INDEX round_by_time ON round (run_id, preprepare_s);

CREATE TABLE event (
    run_id        BIGINT NOT NULL,
    event_number  BIGINT NOT NULL,
    time_ns       BIGINT NOT NULL,
    rule          VARCHAR(255) COLLATE "C" NOT NULL,
    severity      VARCHAR(255) COLLATE "C" NOT NULL,
    signer        VARCHAR(255) COLLATE "C",
    sender        VARCHAR(255) COLLATE "C",
    chain_id      INTEGER NOT NULL,
    sequence      BIGINT,
    round         BIGINT,
    detail        TEXT COLLATE "C" NOT NULL,
    suspicious    SMALLINT NOT NULL CHECK (suspicious IN (0, 1)),
    time_s        BIGINT GENERATED ALWAYS AS (time_ns / 1000000000) STORED,
    PRIMARY KEY (run_id, event_number)
);

CREATE INDEX event_by_time ON event (run_id, time_s);

CREATE TABLE progress (
    run_id           BIGINT NOT NULL,
    batch            BIGINT NOT NULL,
    written_ns       BIGINT NOT NULL,
    seen_ns          BIGINT,
    lag_ns           BIGINT NOT NULL,
    rows_written     BIGINT NOT NULL,
    spooled_batches  BIGINT NOT NULL,
    spooled_bytes    BIGINT NOT NULL,
    written_s        BIGINT GENERATED ALWAYS AS (written_ns / 1000000000) STORED,
    PRIMARY KEY (run_id, batch)
);

CREATE INDEX progress_by_time ON progress (run_id, written_s);

-- Runs whose rows are still to be removed.
CREATE TABLE leftover (
    run_id  BIGINT NOT NULL,
    PRIMARY KEY (run_id)
);

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
JOIN run ON run.run_id = c.run_id AND (run.state = 'complete' OR (run.state = 'running' AND run.live = 1))
GROUP BY c.run_id, c.receiver, c.sequence;
