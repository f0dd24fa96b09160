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
