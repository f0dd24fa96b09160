-- Which rounds count, and which only a liar names.
--
-- Null in rows of earlier versions: it was not recorded then.
--
-- Can be repeated, as the migrations before.

SET @add_columns = (SELECT CASE COUNT(*) WHEN 0 THEN 'ALTER TABLE round ADD COLUMN standing VARCHAR(255)' ELSE 'DO 0' END
    FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'round' AND column_name = 'standing');
PREPARE add_columns FROM @add_columns;
EXECUTE add_columns;
DEALLOCATE PREPARE add_columns;

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
