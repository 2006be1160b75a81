-- Let another worker have an export; one that only stopped has made no attempt.
UPDATE export_job SET state = 'queued', lease_until = NULL, worker = NULL, attempts = attempts - %(uncounted)s
WHERE tenant = %(tenant)s AND job_id = %(job_id)s AND state = 'running' AND attempts = %(attempts)s
