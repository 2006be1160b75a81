-- A tenant's schedules that go on.
SELECT
    schedule_id, name, dataset, format, neutralised, filter, every, time_of_day, destination, created_at, created_by,
    next_day, next_at
FROM export_schedule WHERE tenant = %(tenant)s AND ended_at IS NULL ORDER BY name
