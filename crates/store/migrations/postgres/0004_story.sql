-- Why copies were of no use and rounds were left, who signed what and whom it reached, and the network under the messages.
--
-- Null in rows of earlier versions: it was not recorded then, and 0 would be a claim.
ALTER TABLE message_count
    ADD COLUMN resent BIGINT,
    ADD COLUMN echo_source BIGINT,
    ADD COLUMN crossing BIGINT,
    ADD COLUMN regossip BIGINT;
ALTER TABLE round
    ADD COLUMN cause VARCHAR(255) COLLATE "C",
    ADD COLUMN block_time_ns BIGINT;
ALTER TABLE event
    ADD COLUMN kind VARCHAR(16) COLLATE "C",
    ADD COLUMN node_id VARCHAR(255) COLLATE "C",
    ADD COLUMN address VARCHAR(255) COLLATE "C",
    ADD COLUMN ip VARCHAR(45) COLLATE "C",
    ADD COLUMN numbers TEXT COLLATE "C",
    ADD COLUMN payloads TEXT COLLATE "C";
ALTER TABLE capture
    ADD COLUMN kernel_drops BIGINT,
    ADD COLUMN interface_drops BIGINT,
    ADD COLUMN times_down BIGINT;

CREATE TABLE node_round (
    run_id          BIGINT NOT NULL,
    chain_id        INTEGER NOT NULL,
    sequence        BIGINT NOT NULL,
    round           BIGINT NOT NULL,
    node_ip         VARCHAR(45) COLLATE "C" NOT NULL,
    node            VARCHAR(255) COLLATE "C" NOT NULL,
    preprepare_ns   BIGINT,
    prepared_ns     BIGINT,
    committed_ns    BIGINT,
    roundchange_ns  BIGINT,
    lower_bound     SMALLINT NOT NULL CHECK (lower_bound IN (0, 1)),
    PRIMARY KEY (run_id, sequence, round, chain_id, node_ip)
);

CREATE TABLE vote (
    run_id        BIGINT NOT NULL,
    chain_id      INTEGER NOT NULL,
    sequence      BIGINT NOT NULL,
    round         BIGINT NOT NULL,
    kind          VARCHAR(16) COLLATE "C" NOT NULL,
    signer        VARCHAR(255) COLLATE "C" NOT NULL,
    position      BIGINT NOT NULL,
    digest        VARCHAR(255) COLLATE "C",
    first_ns      BIGINT,
    first_sender  VARCHAR(255) COLLATE "C",
    reached       BIGINT NOT NULL,
    of_nodes      BIGINT NOT NULL,
    not_reached   TEXT COLLATE "C",
    state         VARCHAR(255) COLLATE "C" NOT NULL,
    PRIMARY KEY (run_id, sequence, round, chain_id, kind, signer, position)
);

CREATE TABLE waste (
    run_id       BIGINT NOT NULL,
    chain_id     INTEGER NOT NULL,
    receiver_ip  VARCHAR(45) COLLATE "C" NOT NULL,
    receiver     VARCHAR(255) COLLATE "C" NOT NULL,
    sender       VARCHAR(255) COLLATE "C" NOT NULL,
    kind         VARCHAR(16) COLLATE "C" NOT NULL,
    cause        VARCHAR(255) COLLATE "C" NOT NULL,
    copies       BIGINT NOT NULL,
    bytes        BIGINT NOT NULL,
    PRIMARY KEY (run_id, chain_id, receiver_ip, sender, kind, cause)
);

CREATE TABLE what_if (
    run_id         BIGINT NOT NULL,
    chain_id       INTEGER NOT NULL,
    policy         VARCHAR(255) COLLATE "C" NOT NULL,
    payloads       BIGINT NOT NULL,
    messages       BIGINT NOT NULL,
    bytes          BIGINT NOT NULL,
    not_delivered  BIGINT NOT NULL,
    delay_p50_ns   BIGINT,
    delay_p95_ns   BIGINT,
    PRIMARY KEY (run_id, chain_id, policy)
);

CREATE TABLE phase (
    run_id    BIGINT NOT NULL,
    chain_id  INTEGER NOT NULL,
    phase     VARCHAR(255) COLLATE "C" NOT NULL,
    rounds    BIGINT NOT NULL,
    p50_ns    BIGINT NOT NULL,
    p95_ns    BIGINT NOT NULL,
    p99_ns    BIGINT NOT NULL,
    max_ns    BIGINT NOT NULL,
    PRIMARY KEY (run_id, chain_id, phase)
);

CREATE TABLE participation (
    run_id               BIGINT NOT NULL,
    chain_id             INTEGER NOT NULL,
    validator            VARCHAR(255) COLLATE "C" NOT NULL,
    address              VARCHAR(255) COLLATE "C",
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
);

CREATE TABLE tcp_link (
    run_id           BIGINT NOT NULL,
    sender_ip        VARCHAR(45) COLLATE "C" NOT NULL,
    sender           VARCHAR(255) COLLATE "C" NOT NULL,
    receiver_ip      VARCHAR(45) COLLATE "C" NOT NULL,
    receiver         VARCHAR(255) COLLATE "C" NOT NULL,
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
);

CREATE TABLE peer (
    run_id            BIGINT NOT NULL,
    peer_number       BIGINT NOT NULL,
    node              VARCHAR(255) COLLATE "C" NOT NULL,
    node_id           VARCHAR(255) COLLATE "C",
    ips               TEXT COLLATE "C",
    client            TEXT COLLATE "C",
    software          TEXT COLLATE "C",
    version           TEXT COLLATE "C",
    offers            TEXT COLLATE "C" NOT NULL,
    network_id        BIGINT,
    genesis           VARCHAR(255) COLLATE "C",
    head              VARCHAR(255) COLLATE "C",
    total_difficulty  VARCHAR(255) COLLATE "C",
    behind            VARCHAR(255) COLLATE "C",
    role              VARCHAR(255) COLLATE "C",
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
);

CREATE TABLE peer_disconnect (
    run_id       BIGINT NOT NULL,
    peer_number  BIGINT NOT NULL,
    node         VARCHAR(255) COLLATE "C" NOT NULL,
    direction    VARCHAR(255) COLLATE "C" NOT NULL,
    reason       VARCHAR(255) COLLATE "C" NOT NULL,
    disconnects  BIGINT NOT NULL,
    PRIMARY KEY (run_id, peer_number, direction, reason)
);

CREATE TABLE dial (
    run_id         BIGINT NOT NULL,
    initiator_ip   VARCHAR(45) COLLATE "C" NOT NULL,
    initiator      VARCHAR(255) COLLATE "C" NOT NULL,
    recipient_ip   VARCHAR(45) COLLATE "C" NOT NULL,
    recipient      VARCHAR(255) COLLATE "C" NOT NULL,
    dials          BIGINT NOT NULL,
    refused        BIGINT NOT NULL,
    useless        BIGINT NOT NULL,
    first_seen_ns  BIGINT NOT NULL,
    last_seen_ns   BIGINT NOT NULL,
    PRIMARY KEY (run_id, initiator_ip, recipient_ip)
);

CREATE TABLE census (
    run_id  BIGINT NOT NULL,
    list    VARCHAR(255) COLLATE "C" NOT NULL,
    value   VARCHAR(255) COLLATE "C" NOT NULL,
    total   BIGINT NOT NULL,
    PRIMARY KEY (run_id, list, value)
);

CREATE TABLE score (
    run_id                  BIGINT NOT NULL,
    score_number            BIGINT NOT NULL,
    node                    VARCHAR(255) COLLATE "C" NOT NULL,
    address                 VARCHAR(255) COLLATE "C",
    ip                      VARCHAR(45) COLLATE "C",
    score_milli             BIGINT NOT NULL,
    time_in_mesh_milli      BIGINT NOT NULL,
    first_deliveries_milli  BIGINT NOT NULL,
    delivery_deficit_milli  BIGINT NOT NULL,
    invalid_milli           BIGINT NOT NULL,
    colocation_milli        BIGINT NOT NULL,
    behaviour_milli         BIGINT NOT NULL,
    PRIMARY KEY (run_id, score_number)
);
