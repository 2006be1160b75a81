-- Keep records that could not be applied, with their reason.
INSERT INTO dead_letter SELECT * FROM stage_dead_letter
