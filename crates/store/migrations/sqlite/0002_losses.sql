-- What was lost, how sessions without Hello were understood, and which part of the captures a run is about.
--
-- Null in rows of earlier versions: it was not recorded then, and 0 would be a claim.
ALTER TABLE run ADD COLUMN selection TEXT;
ALTER TABLE run ADD COLUMN frames_lost INTEGER;
ALTER TABLE run ADD COLUMN searched_bytes INTEGER;
ALTER TABLE session ADD COLUMN frames_lost_from_initiator INTEGER;
ALTER TABLE session ADD COLUMN frames_lost_from_recipient INTEGER;
ALTER TABLE session ADD COLUMN inferred TEXT;
