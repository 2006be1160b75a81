-- Take the oldest export that waits, or whose worker has not been heard of; one of a tenant runs at a time.
UPDATE export_job AS job
SET state = 'running', worker = %(worker)s, attempts = job.attempts + 1, started_at = coalesce(job.started_at, now()),
    lease_until = now() + %(lease)s, rows_written = 0, rows_expected = NULL
FROM (
    SELECT tenant, job_id FROM export_job AS waiting
    WHERE finished_at IS NULL AND (state = 'queued' OR lease_until < now()) AND NOT EXISTS (
        SELECT FROM export_job AS running
        WHERE running.tenant = waiting.tenant AND running.finished_at IS NULL AND running.lease_until >= now())
    ORDER BY requested_at LIMIT 1 FOR UPDATE SKIP LOCKED) AS next
WHERE job.tenant = next.tenant AND job.job_id = next.job_id
RETURNING
    job.tenant, job.job_id, requested_at, requested_by, dataset, format, neutralised, filter, destination, schedule_id,
    state, rows_expected, rows_written, started_at, finished_at, expires_at, attempts, error, manifest
