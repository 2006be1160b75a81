-- A tenant's schedules that are due and that no other process is running now.
SELECT
    schedule_id, name, dataset, format, neutralised, filter, every, time_of_day, destination, created_at, created_by,
    next_day, next_at
FROM export_schedule
WHERE tenant = %(tenant)s AND ended_at IS NULL AND next_at <= now() ORDER BY next_at FOR UPDATE SKIP LOCKED
