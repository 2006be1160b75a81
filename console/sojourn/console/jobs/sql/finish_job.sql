-- An export has ended; its worker says how.
UPDATE export_job
SET state = %(state)s, finished_at = now(), lease_until = NULL, manifest = %(manifest)s, error = %(error)s,
    rows_written = coalesce(%(rows)s, rows_written), rows_expected = coalesce(%(rows)s, rows_expected),
    expires_at = now() + %(kept)s
WHERE tenant = %(tenant)s AND job_id = %(job_id)s AND state = 'running' AND attempts = %(attempts)s
