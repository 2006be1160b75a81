-- Ask for an export, unless it was asked for before: the same key makes the same id.
INSERT INTO export_job (
    tenant, job_id, requested_at, requested_by, dataset, format, neutralised, filter, destination, schedule_id,
    state, rows_written, attempts)
VALUES (
    %(tenant)s, %(job_id)s, now(), %(requested_by)s, %(dataset)s, %(format)s, %(neutralised)s, %(filter)s,
    %(destination)s, %(schedule_id)s, 'queued', 0, 0)
ON CONFLICT (tenant, job_id) DO NOTHING
