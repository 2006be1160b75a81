-- When a schedule is due next.
UPDATE export_schedule SET next_day = %(next_day)s, next_at = %(next_at)s
WHERE tenant = %(tenant)s AND schedule_id = %(schedule_id)s
