-- Cancel an export that has not ended; its worker notices within a second.
UPDATE export_job SET state = 'cancelled', finished_at = now(), lease_until = NULL
WHERE tenant = %(tenant)s AND job_id = %(job_id)s AND finished_at IS NULL
