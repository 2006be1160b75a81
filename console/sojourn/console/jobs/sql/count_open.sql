-- How many exports of a tenant wait or run.
SELECT count(*) FROM export_job WHERE tenant = %(tenant)s AND finished_at IS NULL
