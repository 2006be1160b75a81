-- Exports whose files were kept long enough.
UPDATE export_job SET state = 'expired' WHERE state = 'done' AND expires_at < now()
