-- Why copies were of no use and rounds were left, who signed what and whom it reached, and the network under the messages.
--
-- Null in rows of earlier versions: it was not recorded then, and 0 would be a claim.
--
-- Each statement can be repeated, as in the migrations before; MySQL has no ADD COLUMN IF NOT EXISTS, so its catalogue is asked. The columns of
-- a table are added in one statement: all of them are there, or none.

SET @add_columns = (SELECT CASE COUNT(*) WHEN 0 THEN 'ALTER TABLE message_count ADD COLUMN resent BIGINT, ADD COLUMN echo_source BIGINT, ADD COLUMN crossing BIGINT, ADD COLUMN regossip BIGINT' ELSE 'DO 0' END
    FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'message_count' AND column_name = 'resent');
PREPARE add_columns FROM @add_columns;
EXECUTE add_columns;
DEALLOCATE PREPARE add_columns;

SET @add_columns = (SELECT CASE COUNT(*) WHEN 0 THEN 'ALTER TABLE round ADD COLUMN cause VARCHAR(255), ADD COLUMN block_time_ns BIGINT' ELSE 'DO 0' END
    FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'round' AND column_name = 'cause');
PREPARE add_columns FROM @add_columns;
EXECUTE add_columns;
DEALLOCATE PREPARE add_columns;

SET @add_columns = (SELECT CASE COUNT(*) WHEN 0 THEN 'ALTER TABLE event ADD COLUMN kind VARCHAR(16), ADD COLUMN node_id VARCHAR(255), ADD COLUMN address VARCHAR(255), ADD COLUMN ip VARCHAR(45), ADD COLUMN numbers TEXT, ADD COLUMN payloads TEXT' ELSE 'DO 0' END
    FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'event' AND column_name = 'kind');
PREPARE add_columns FROM @add_columns;
EXECUTE add_columns;
DEALLOCATE PREPARE add_columns;

SET @add_columns = (SELECT CASE COUNT(*) WHEN 0 THEN 'ALTER TABLE capture ADD COLUMN kernel_drops BIGINT, ADD COLUMN interface_drops BIGINT, ADD COLUMN times_down BIGINT' ELSE 'DO 0' END
    FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'capture' AND column_name = 'kernel_drops');
PREPARE add_columns FROM @add_columns;
EXECUTE add_columns;
DEALLOCATE PREPARE add_columns;

CREATE TABLE IF NOT EXISTS node_round (
    run_id          BIGINT NOT NULL,
    chain_id        INTEGER NOT NULL,
    sequence        BIGINT NOT NULL,
    round           BIGINT NOT NULL,
    node_ip         VARCHAR(45) NOT NULL,
    node            VARCHAR(255) NOT NULL,
    preprepare_ns   BIGINT,
    prepared_ns     BIGINT,
    committed_ns    BIGINT,
    roundchange_ns  BIGINT,
    lower_bound     SMALLINT NOT NULL CHECK (lower_bound IN (0, 1)),
    PRIMARY KEY (run_id, sequence, round, chain_id, node_ip)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE COLLATION;

CREATE TABLE IF NOT EXISTS vote (
    run_id        BIGINT NOT NULL,
    chain_id      INTEGER NOT NULL,
    sequence      BIGINT NOT NULL,
    round         BIGINT NOT NULL,
    kind          VARCHAR(16) NOT NULL,
    signer        VARCHAR(255) NOT NULL,
    position      BIGINT NOT NULL,
    digest        VARCHAR(255),
    first_ns      BIGINT,
    first_sender  VARCHAR(255),
    reached       BIGINT NOT NULL,
    of_nodes      BIGINT NOT NULL,
    not_reached   TEXT,
    state         VARCHAR(255) NOT NULL,
    PRIMARY KEY (run_id, sequence, round, chain_id, kind, signer, position)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE COLLATION;

CREATE TABLE IF NOT EXISTS waste (
    run_id       BIGINT NOT NULL,
    chain_id     INTEGER NOT NULL,
    receiver_ip  VARCHAR(45) NOT NULL,
    receiver     VARCHAR(255) NOT NULL,
    sender       VARCHAR(255) NOT NULL,
    kind         VARCHAR(16) NOT NULL,
    cause        VARCHAR(255) NOT NULL,
    copies       BIGINT NOT NULL,
    bytes        BIGINT NOT NULL,
    PRIMARY KEY (run_id, chain_id, receiver_ip, sender, kind, cause)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE COLLATION;

CREATE TABLE IF NOT EXISTS what_if (
    run_id         BIGINT NOT NULL,
    chain_id       INTEGER NOT NULL,
    policy         VARCHAR(255) NOT NULL,
    payloads       BIGINT NOT NULL,
    messages       BIGINT NOT NULL,
    bytes          BIGINT NOT NULL,
    not_delivered  BIGINT NOT NULL,
    delay_p50_ns   BIGINT,
    delay_p95_ns   BIGINT,
    PRIMARY KEY (run_id, chain_id, policy)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE COLLATION;

CREATE TABLE IF NOT EXISTS phase (
    run_id    BIGINT NOT NULL,
    chain_id  INTEGER NOT NULL,
    phase     VARCHAR(255) NOT NULL,
    rounds    BIGINT NOT NULL,
    p50_ns    BIGINT NOT NULL,
    p95_ns    BIGINT NOT NULL,
    p99_ns    BIGINT NOT NULL,
    max_ns    BIGINT NOT NULL,
    PRIMARY KEY (run_id, chain_id, phase)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE COLLATION;

CREATE TABLE IF NOT EXISTS participation (
    run_id               BIGINT NOT NULL,
    chain_id             INTEGER NOT NULL,
    validator            VARCHAR(255) NOT NULL,
    address              VARCHAR(255),
    rounds               BIGINT NOT NULL,
    proposals_due        BIGINT NOT NULL,
    proposals            BIGINT NOT NULL,
    prepares             BIGINT NOT NULL,
    commits              BIGINT NOT NULL,
    roundchanges         BIGINT NOT NULL,
    late                 BIGINT NOT NULL,
    partial              BIGINT NOT NULL,
    missing              BIGINT NOT NULL,
    unknown              BIGINT NOT NULL,
    invalid              BIGINT NOT NULL,
    commit_delay_p50_ns  BIGINT,
    commit_delay_p95_ns  BIGINT,
    PRIMARY KEY (run_id, chain_id, validator)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE COLLATION;

CREATE TABLE IF NOT EXISTS tcp_link (
    run_id           BIGINT NOT NULL,
    sender_ip        VARCHAR(45) NOT NULL,
    sender           VARCHAR(255) NOT NULL,
    receiver_ip      VARCHAR(45) NOT NULL,
    receiver         VARCHAR(255) NOT NULL,
    segments         BIGINT NOT NULL,
    bytes            BIGINT NOT NULL,
    retransmissions  BIGINT NOT NULL,
    rtt_samples      BIGINT NOT NULL,
    rtt_min_ns       BIGINT,
    rtt_mean_ns      BIGINT,
    rtt_max_ns       BIGINT,
    rtt_smoothed_ns  BIGINT,
    one_way_samples  BIGINT NOT NULL,
    one_way_min_ns   BIGINT,
    one_way_mean_ns  BIGINT,
    skew_ns          BIGINT,
    PRIMARY KEY (run_id, sender_ip, receiver_ip)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE COLLATION;

CREATE TABLE IF NOT EXISTS peer (
    run_id            BIGINT NOT NULL,
    peer_number       BIGINT NOT NULL,
    node              VARCHAR(255) NOT NULL,
    node_id           VARCHAR(255),
    ips               TEXT,
    client            TEXT,
    software          TEXT,
    version           TEXT,
    offers            TEXT NOT NULL,
    network_id        BIGINT,
    genesis           VARCHAR(255),
    head              VARCHAR(255),
    total_difficulty  VARCHAR(255),
    behind            VARCHAR(255),
    role              VARCHAR(255),
    dials_out         BIGINT NOT NULL,
    dials_in          BIGINT NOT NULL,
    refused_out       BIGINT NOT NULL,
    refused_in        BIGINT NOT NULL,
    useless           BIGINT NOT NULL,
    sessions          BIGINT NOT NULL,
    session_p50_ns    BIGINT,
    reconnects        BIGINT NOT NULL,
    reconnect_p50_ns  BIGINT,
    PRIMARY KEY (run_id, peer_number)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE COLLATION;

CREATE TABLE IF NOT EXISTS peer_disconnect (
    run_id       BIGINT NOT NULL,
    peer_number  BIGINT NOT NULL,
    node         VARCHAR(255) NOT NULL,
    direction    VARCHAR(255) NOT NULL,
    reason       VARCHAR(255) NOT NULL,
    disconnects  BIGINT NOT NULL,
    PRIMARY KEY (run_id, peer_number, direction, reason)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE COLLATION;

CREATE TABLE IF NOT EXISTS dial (
    run_id         BIGINT NOT NULL,
    initiator_ip   VARCHAR(45) NOT NULL,
    initiator      VARCHAR(255) NOT NULL,
    recipient_ip   VARCHAR(45) NOT NULL,
    recipient      VARCHAR(255) NOT NULL,
    dials          BIGINT NOT NULL,
    refused        BIGINT NOT NULL,
    useless        BIGINT NOT NULL,
    first_seen_ns  BIGINT NOT NULL,
    last_seen_ns   BIGINT NOT NULL,
    PRIMARY KEY (run_id, initiator_ip, recipient_ip)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE COLLATION;

CREATE TABLE IF NOT EXISTS census (
    run_id  BIGINT NOT NULL,
    list    VARCHAR(255) NOT NULL,
    value   VARCHAR(255) NOT NULL,
    total   BIGINT NOT NULL,
    PRIMARY KEY (run_id, list, value)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE COLLATION;

CREATE TABLE IF NOT EXISTS score (
    run_id                  BIGINT NOT NULL,
    score_number            BIGINT NOT NULL,
    node                    VARCHAR(255) NOT NULL,
    address                 VARCHAR(255),
    ip                      VARCHAR(45),
    score_milli             BIGINT NOT NULL,
    time_in_mesh_milli      BIGINT NOT NULL,
    first_deliveries_milli  BIGINT NOT NULL,
    delivery_deficit_milli  BIGINT NOT NULL,
    invalid_milli           BIGINT NOT NULL,
    colocation_milli        BIGINT NOT NULL,
    behaviour_milli         BIGINT NOT NULL,
    PRIMARY KEY (run_id, score_number)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE COLLATION;
