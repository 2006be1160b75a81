-- A page of a tenant's exports, the newest first.
SELECT
    tenant, job_id, requested_at, requested_by, dataset, format, neutralised, filter, destination, schedule_id, state,
    rows_expected, rows_written, started_at, finished_at, expires_at, attempts, error, manifest
FROM export_job
WHERE tenant = %(tenant)s AND (requested_at, job_id) < (%(before)s, %(before_id)s)
ORDER BY requested_at DESC, job_id DESC LIMIT %(rows_max)s
