-- Say how far an export is, and that its worker lives; no row where it is not this worker's any more.
UPDATE export_job
SET rows_written = %(rows_written)s, rows_expected = %(rows_expected)s, lease_until = now() + %(lease)s
WHERE tenant = %(tenant)s AND job_id = %(job_id)s AND state = 'running' AND attempts = %(attempts)s
