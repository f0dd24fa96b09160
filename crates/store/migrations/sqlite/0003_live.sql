-- Runs that are written as they are seen, sums that stay when detail is thinned out, and times that Grafana can filter.
ALTER TABLE run ADD COLUMN live INTEGER NOT NULL DEFAULT 0 CHECK (live IN (0, 1));
ALTER TABLE run ADD COLUMN pace_milli INTEGER;
ALTER TABLE run ADD COLUMN written_ns INTEGER;
ALTER TABLE run ADD COLUMN seen_ns INTEGER;
ALTER TABLE run ADD COLUMN lag_ns INTEGER;
ALTER TABLE run ADD COLUMN thinned_before_ns INTEGER;

-- Whole seconds: what Grafana's $__unixEpochFilter compares with. No time zone of any session has a part in them.
ALTER TABLE run ADD COLUMN first_seen_s INTEGER GENERATED ALWAYS AS (first_seen_ns / 1000000000) VIRTUAL;
ALTER TABLE session ADD COLUMN first_seen_s INTEGER GENERATED ALWAYS AS (first_seen_ns / 1000000000) VIRTUAL;
ALTER TABLE message_count ADD COLUMN first_seen_s INTEGER GENERATED ALWAYS AS (first_seen_ns / 1000000000) VIRTUAL;
ALTER TABLE link_count ADD COLUMN minute_s INTEGER GENERATED ALWAYS AS (minute_ns / 1000000000) VIRTUAL;
ALTER TABLE round ADD COLUMN preprepare_s INTEGER GENERATED ALWAYS AS (preprepare_ns / 1000000000) VIRTUAL;
ALTER TABLE event ADD COLUMN time_s INTEGER GENERATED ALWAYS AS (time_ns / 1000000000) VIRTUAL;

DROP INDEX message_count_by_time;
DROP INDEX round_by_time;
DROP INDEX event_by_time;
CREATE INDEX message_count_by_time ON message_count (run_id, first_seen_s);
CREATE INDEX round_by_time ON round (run_id, preprepare_s);
CREATE INDEX event_by_time ON event (run_id, time_s);
CREATE INDEX link_count_by_time ON link_count (run_id, minute_s);

CREATE TABLE minute_count (
    run_id            INTEGER NOT NULL,
    minute_ns         INTEGER NOT NULL,
    chain_id          INTEGER NOT NULL,
    receiver_ip       TEXT NOT NULL,
    kind              TEXT NOT NULL,
    receiver          TEXT NOT NULL,
    messages          INTEGER NOT NULL,
    useful            INTEGER NOT NULL,
    repeats           INTEGER NOT NULL,
    echoes            INTEGER NOT NULL,
    invalid           INTEGER NOT NULL,
    bytes             INTEGER NOT NULL,
    rows_lower_bound  INTEGER NOT NULL,
    heights           INTEGER NOT NULL,
    minute_s          INTEGER GENERATED ALWAYS AS (minute_ns / 1000000000) VIRTUAL,
    PRIMARY KEY (run_id, minute_ns, chain_id, receiver_ip, kind)
) STRICT, WITHOUT ROWID;

CREATE INDEX minute_count_by_time ON minute_count (run_id, minute_s);

INSERT INTO minute_count (run_id, minute_ns, chain_id, receiver_ip, kind, receiver, messages, useful, repeats, echoes,
                          invalid, bytes, rows_lower_bound, heights)
SELECT run_id, first_seen_ns - first_seen_ns % 60000000000 AS minute, chain_id, receiver_ip, kind, MAX(receiver),
       SUM(messages), SUM(useful), SUM(repeats), SUM(echoes), SUM(invalid), SUM(bytes), SUM(lower_bound), COUNT(*)
FROM message_count
GROUP BY run_id, minute, chain_id, receiver_ip, kind;

CREATE TABLE progress (
    run_id           INTEGER NOT NULL,
    batch            INTEGER NOT NULL,
    written_ns       INTEGER NOT NULL,
    seen_ns          INTEGER,
    lag_ns           INTEGER NOT NULL,
    rows_written     INTEGER NOT NULL,
    spooled_batches  INTEGER NOT NULL,
    spooled_bytes    INTEGER NOT NULL,
    written_s        INTEGER GENERATED ALWAYS AS (written_ns / 1000000000) VIRTUAL,
    PRIMARY KEY (run_id, batch)
) STRICT, WITHOUT ROWID;

CREATE INDEX progress_by_time ON progress (run_id, written_s);

-- Runs that are gone from run, and whose rows are still to be removed.
CREATE TABLE leftover (
    run_id  INTEGER PRIMARY KEY
) STRICT;

DROP VIEW consensus_round_counts;

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
