-- The newest span of the history before `until` that has no block, or one that ends a day before it could.
SELECT starts_at, ends_at
FROM (
    SELECT to_date(right(c.relname, 7), 'YYYY_MM')::timestamptz AS month
    FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'sojourn_v1.session_history'::regclass) AS months
CROSS JOIN (VALUES
    (interval '0 days', interval '7 days'), ('7 days', '14 days'), ('14 days', '21 days'), ('21 days', '1 month')
) AS quarters (since, before)
CROSS JOIN LATERAL (SELECT month + since AS starts_at, least(month + before, %(until)s) AS ends_at) AS span
WHERE starts_at < ends_at AND NOT EXISTS (
    SELECT FROM statistics_block AS b
    WHERE b.starts_at = span.starts_at AND (b.ends_at = span.ends_at OR b.ends_at > %(until)s - interval '1 day'))
ORDER BY starts_at DESC LIMIT 1
