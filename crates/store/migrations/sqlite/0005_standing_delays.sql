-- Which rounds count, and which only a liar names.
--
-- Null in rows of earlier versions: it was not recorded then.
ALTER TABLE round ADD COLUMN standing TEXT;

-- How long payloads of validators took to reach each node.
CREATE TABLE delivery_delay (
    run_id    INTEGER NOT NULL,
    chain_id  INTEGER NOT NULL,
    node_ip   TEXT NOT NULL,
    node      TEXT NOT NULL,
    payloads  INTEGER NOT NULL,
    exact     INTEGER NOT NULL,
    p50_ns    INTEGER,
    p95_ns    INTEGER,
    p99_ns    INTEGER,
    max_ns    INTEGER,
    PRIMARY KEY (run_id, chain_id, node_ip)
) STRICT, WITHOUT ROWID;
