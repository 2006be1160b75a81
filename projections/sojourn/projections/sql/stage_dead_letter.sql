-- Where COPY puts dead letters, which may have a megabyte each.
CREATE TEMPORARY TABLE IF NOT EXISTS stage_dead_letter (LIKE dead_letter) ON COMMIT DELETE ROWS
