-- One export of a tenant.
SELECT
    tenant, job_id, requested_at, requested_by, dataset, format, neutralised, filter, destination, schedule_id, state,
    rows_expected, rows_written, started_at, finished_at, expires_at, attempts, error, manifest
FROM export_job WHERE tenant = %(tenant)s AND job_id = %(job_id)s
