-- Columns, units and example queries: docs/SCHEMA.md. The same tables and columns as in the other databases, at schema 3.
--
-- Each statement can be repeated: MySQL commits each by itself, so a crash may leave some of the tables.
-- COLLATION stands for the server's binary collation that does not ignore spaces at the end: MySQL and MariaDB name it
-- differently.

CREATE TABLE IF NOT EXISTS run (
    run_id              BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    name                VARCHAR(255) NOT NULL,
    state               VARCHAR(255) NOT NULL,
    problem             TEXT,
    source              VARCHAR(255) NOT NULL,
    program_version     VARCHAR(255) NOT NULL,
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
    selection           TEXT,
    frames_lost         BIGINT,
    searched_bytes      BIGINT,
    live                SMALLINT NOT NULL DEFAULT 0 CHECK (live IN (0, 1)),
    pace_milli          BIGINT,
    written_ns          BIGINT,
    seen_ns             BIGINT,
    lag_ns              BIGINT,
    thinned_before_ns   BIGINT,
    first_seen_s        BIGINT GENERATED ALWAYS AS (first_seen_ns DIV 1000000000) STORED,
    complete_name       VARCHAR(255) GENERATED ALWAYS AS (CASE WHEN state = 'complete' THEN name END) STORED,
    CONSTRAINT run_state CHECK (state IN ('running', 'complete', 'failed')),
    INDEX run_by_name (name),
    -- Whatever a program does wrong, a name never has two complete runs.
    UNIQUE INDEX run_complete_once (complete_name)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE COLLATION;

CREATE TABLE IF NOT EXISTS counter (
    run_id  BIGINT NOT NULL,
    list    VARCHAR(255) NOT NULL,
    name    VARCHAR(255) NOT NULL,
    value   BIGINT NOT NULL,
    PRIMARY KEY (run_id, list, name)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE COLLATION;

CREATE TABLE IF NOT EXISTS capture (
    run_id          BIGINT NOT NULL,
    capture_number  BIGINT NOT NULL,
    path            TEXT NOT NULL,
    sha256          VARCHAR(255) NOT NULL,
    packets         BIGINT NOT NULL,
    bytes           BIGINT NOT NULL,
    problem         TEXT,
    PRIMARY KEY (run_id, capture_number)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE COLLATION;

CREATE TABLE IF NOT EXISTS chain (
    run_id    BIGINT NOT NULL,
    chain_id  INTEGER NOT NULL,
    chain     VARCHAR(255) NOT NULL,
    PRIMARY KEY (run_id, chain_id),
    UNIQUE (run_id, chain)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE COLLATION;

CREATE TABLE IF NOT EXISTS label (
    run_id    BIGINT NOT NULL,
    label_id  INTEGER NOT NULL,
    label     VARCHAR(255) NOT NULL,
    PRIMARY KEY (run_id, label_id),
    UNIQUE (run_id, label)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE COLLATION;

CREATE TABLE IF NOT EXISTS node (
    run_id       BIGINT NOT NULL,
    node_number  BIGINT NOT NULL,
    label        VARCHAR(255) NOT NULL,
    name         VARCHAR(255),
    node_id      VARCHAR(255),
    address      VARCHAR(255),
    client       TEXT,
    role         VARCHAR(255),
    coverage     VARCHAR(255) NOT NULL,
    validator    SMALLINT NOT NULL CHECK (validator IN (0, 1)),
    PRIMARY KEY (run_id, node_number)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE COLLATION;

CREATE TABLE IF NOT EXISTS node_ip (
    run_id       BIGINT NOT NULL,
    ip           VARCHAR(45) NOT NULL,
    node_number  BIGINT NOT NULL,
    PRIMARY KEY (run_id, ip, node_number)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE COLLATION;

CREATE TABLE IF NOT EXISTS session (
    run_id                      BIGINT NOT NULL,
    session_number              BIGINT NOT NULL,
    chain_id                    INTEGER NOT NULL,
    initiator                   VARCHAR(255) NOT NULL,
    recipient                   VARCHAR(255) NOT NULL,
    initiator_ip                VARCHAR(45) NOT NULL,
    recipient_ip                VARCHAR(45) NOT NULL,
    state                       VARCHAR(255) NOT NULL,
    attached                    VARCHAR(255),
    mac                         VARCHAR(255),
    frames_from_initiator       BIGINT NOT NULL,
    frames_from_recipient       BIGINT NOT NULL,
    gaps                        BIGINT NOT NULL,
    lost_bytes                  BIGINT NOT NULL,
    incomplete_bytes            BIGINT NOT NULL,
    capabilities                TEXT NOT NULL,
    bytes_from_initiator        BIGINT NOT NULL,
    bytes_from_recipient        BIGINT NOT NULL,
    initiator_client            TEXT,
    recipient_client            TEXT,
    initiator_node_id           VARCHAR(255),
    recipient_node_id           VARCHAR(255),
    detail                      TEXT,
    first_seen_ns               BIGINT NOT NULL,
    last_seen_ns                BIGINT NOT NULL,
    frames_lost_from_initiator  BIGINT,
    frames_lost_from_recipient  BIGINT,
    inferred                    TEXT,
    first_seen_s                BIGINT GENERATED ALWAYS AS (first_seen_ns DIV 1000000000) STORED,
    PRIMARY KEY (run_id, session_number)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE COLLATION;

CREATE TABLE IF NOT EXISTS code (
    run_id      BIGINT NOT NULL,
    capability  VARCHAR(255) NOT NULL,
    wire_code   BIGINT NOT NULL,
    name        VARCHAR(255) NOT NULL,
    frames      BIGINT NOT NULL,
    bytes       BIGINT NOT NULL,
    PRIMARY KEY (run_id, capability, wire_code, name)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE COLLATION;

CREATE TABLE IF NOT EXISTS message_count (
    run_id         BIGINT NOT NULL,
    chain_id       INTEGER NOT NULL,
    receiver_ip    VARCHAR(45) NOT NULL,
    receiver       VARCHAR(255) NOT NULL,
    sequence       BIGINT NOT NULL,
    round          BIGINT NOT NULL,
    kind           VARCHAR(16) NOT NULL,
    messages       BIGINT NOT NULL,
    useful         BIGINT NOT NULL,
    repeats        BIGINT NOT NULL,
    echoes         BIGINT NOT NULL,
    invalid        BIGINT NOT NULL,
    bytes          BIGINT NOT NULL,
    lower_bound    SMALLINT NOT NULL CHECK (lower_bound IN (0, 1)),
    first_seen_ns  BIGINT NOT NULL,
    last_seen_ns   BIGINT NOT NULL,
    first_seen_s   BIGINT GENERATED ALWAYS AS (first_seen_ns DIV 1000000000) STORED,
    PRIMARY KEY (run_id, sequence, round, chain_id, receiver_ip, kind),
    INDEX message_count_by_time (run_id, first_seen_s)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE COLLATION;

-- Text of nodes is kept once, in label.
CREATE TABLE IF NOT EXISTS delivery_row (
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
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE COLLATION;

CREATE TABLE IF NOT EXISTS link_count (
    run_id       BIGINT NOT NULL,
    chain_id     INTEGER NOT NULL,
    minute_ns    BIGINT NOT NULL,
    receiver_ip  VARCHAR(45) NOT NULL,
    receiver     VARCHAR(255) NOT NULL,
    sender       VARCHAR(255) NOT NULL,
    kind         VARCHAR(16) NOT NULL,
    messages     BIGINT NOT NULL,
    bytes        BIGINT NOT NULL,
    minute_s     BIGINT GENERATED ALWAYS AS (minute_ns DIV 1000000000) STORED,
    PRIMARY KEY (run_id, minute_ns, chain_id, receiver_ip, sender, kind),
    INDEX link_count_by_time (run_id, minute_s)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE COLLATION;

CREATE TABLE IF NOT EXISTS minute_count (
    run_id            BIGINT NOT NULL,
    minute_ns         BIGINT NOT NULL,
    chain_id          INTEGER NOT NULL,
    receiver_ip       VARCHAR(45) NOT NULL,
    kind              VARCHAR(16) NOT NULL,
    receiver          VARCHAR(255) NOT NULL,
    messages          BIGINT NOT NULL,
    useful            BIGINT NOT NULL,
    repeats           BIGINT NOT NULL,
    echoes            BIGINT NOT NULL,
    invalid           BIGINT NOT NULL,
    bytes             BIGINT NOT NULL,
    rows_lower_bound  BIGINT NOT NULL,
    heights           BIGINT NOT NULL,
    minute_s          BIGINT GENERATED ALWAYS AS (minute_ns DIV 1000000000) STORED,
    PRIMARY KEY (run_id, minute_ns, chain_id, receiver_ip, kind),
    INDEX minute_count_by_time (run_id, minute_s)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE COLLATION;

CREATE TABLE IF NOT EXISTS copies (
    run_id       BIGINT NOT NULL,
    receiver_ip  VARCHAR(45) NOT NULL,
    copies       BIGINT NOT NULL,
    payloads     BIGINT NOT NULL,
    PRIMARY KEY (run_id, receiver_ip, copies)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE COLLATION;

CREATE TABLE IF NOT EXISTS round (
    run_id         BIGINT NOT NULL,
    chain_id       INTEGER NOT NULL,
    sequence       BIGINT NOT NULL,
    round          BIGINT NOT NULL,
    proposer       VARCHAR(255),
    validators     BIGINT,
    quorum         BIGINT,
    preprepare_ns  BIGINT,
    prepared_ns    BIGINT,
    committed_ns   BIGINT,
    messages       BIGINT NOT NULL,
    outcome        VARCHAR(255) NOT NULL,
    preprepare_s   BIGINT GENERATED ALWAYS AS (preprepare_ns DIV 1000000000) STORED,
    PRIMARY KEY (run_id, sequence, round, chain_id),
    INDEX round_by_time (run_id, preprepare_s)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE COLLATION;

CREATE TABLE IF NOT EXISTS event (
    run_id        BIGINT NOT NULL,
    event_number  BIGINT NOT NULL,
    time_ns       BIGINT NOT NULL,
    rule          VARCHAR(255) NOT NULL,
    severity      VARCHAR(255) NOT NULL,
    signer        VARCHAR(255),
    sender        VARCHAR(255),
    chain_id      INTEGER NOT NULL,
    sequence      BIGINT,
    round         BIGINT,
    detail        TEXT NOT NULL,
    suspicious    SMALLINT NOT NULL CHECK (suspicious IN (0, 1)),
    time_s        BIGINT GENERATED ALWAYS AS (time_ns DIV 1000000000) STORED,
    PRIMARY KEY (run_id, event_number),
    INDEX event_by_time (run_id, time_s)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE COLLATION;

CREATE TABLE IF NOT EXISTS progress (
    run_id           BIGINT NOT NULL,
    batch            BIGINT NOT NULL,
    written_ns       BIGINT NOT NULL,
    seen_ns          BIGINT,
    lag_ns           BIGINT NOT NULL,
    rows_written     BIGINT NOT NULL,
    spooled_batches  BIGINT NOT NULL,
    spooled_bytes    BIGINT NOT NULL,
    written_s        BIGINT GENERATED ALWAYS AS (written_ns DIV 1000000000) STORED,
    PRIMARY KEY (run_id, batch),
    INDEX progress_by_time (run_id, written_s)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE COLLATION;

-- Runs whose rows are still to be removed.
CREATE TABLE IF NOT EXISTS leftover (
    run_id  BIGINT NOT NULL,
    PRIMARY KEY (run_id)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE COLLATION;

-- Subqueries instead of joins: a query that does not ask for a column does not pay for it, also when it aggregates.
CREATE OR REPLACE VIEW delivery AS
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

CREATE OR REPLACE VIEW consensus_round_counts AS
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
