-- Export no more by a schedule.
UPDATE export_schedule SET ended_at = now()
WHERE tenant = %(tenant)s AND schedule_id = %(schedule_id)s AND ended_at IS NULL
RETURNING name
