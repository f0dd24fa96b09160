-- Which rounds count, and which only a liar names.
--
-- Null in rows of earlier versions: it was not recorded then.
ALTER TABLE round
    ADD COLUMN standing VARCHAR(255) COLLATE "C";

-- How long payloads of validators took to reach each node.
CREATE TABLE delivery_delay (
    run_id    BIGINT NOT NULL,
    chain_id  INTEGER NOT NULL,
    node_ip   VARCHAR(45) COLLATE "C" NOT NULL,
    node      VARCHAR(255) COLLATE "C" NOT NULL,
    payloads  BIGINT NOT NULL,
    exact     BIGINT NOT NULL,
    p50_ns    BIGINT,
    p95_ns    BIGINT,
    p99_ns    BIGINT,
    max_ns    BIGINT,
    PRIMARY KEY (run_id, chain_id, node_ip)
);
