-- Export from now on whenever a day, week or month is over; none where an open schedule has this name.
INSERT INTO export_schedule (
    tenant, schedule_id, name, dataset, format, neutralised, filter, every, time_of_day, destination,
    created_at, created_by, next_day, next_at)
VALUES (
    %(tenant)s, %(schedule_id)s, %(name)s, 'history', %(format)s, %(neutralised)s, %(filter)s, %(every)s,
    %(time_of_day)s, %(destination)s, now(), %(created_by)s, %(next_day)s, %(next_at)s)
ON CONFLICT DO NOTHING
