-- Keep others from taking or ending an export while its worker finishes it; no row where it is not this worker's.
SELECT FROM export_job
WHERE tenant = %(tenant)s AND job_id = %(job_id)s AND state = 'running' AND attempts = %(attempts)s FOR UPDATE
