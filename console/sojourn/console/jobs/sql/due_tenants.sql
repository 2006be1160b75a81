-- Whose schedules are due.
SELECT DISTINCT tenant FROM export_schedule WHERE ended_at IS NULL AND next_at <= now()
