-- Which rounds count, and which only a liar names.
--
-- Null in rows of earlier versions: it was not recorded then.
ALTER TABLE round
    ADD COLUMN standing VARCHAR(255) COLLATE "C";
