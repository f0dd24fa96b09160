-- How long payloads of validators took to reach each node.
CREATE TABLE IF NOT EXISTS delivery_delay (
    run_id    BIGINT NOT NULL,
    chain_id  INTEGER NOT NULL,
    node_ip   VARCHAR(45) NOT NULL,
    node      VARCHAR(255) NOT NULL,
    payloads  BIGINT NOT NULL,
    exact     BIGINT NOT NULL,
    p50_ns    BIGINT,
    p95_ns    BIGINT,
    p99_ns    BIGINT,
    max_ns    BIGINT,
    PRIMARY KEY (run_id, chain_id, node_ip)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE COLLATION;
