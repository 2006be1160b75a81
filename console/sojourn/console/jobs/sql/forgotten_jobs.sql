-- Which of these exports need no files any more.
SELECT job_id FROM export_job WHERE job_id = ANY(%(job_ids)s) AND state IN ('failed', 'cancelled', 'expired')
