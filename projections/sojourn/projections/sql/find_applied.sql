-- Which of these records of a lifecycle partition were applied: a place is an offset with its append time.
SELECT r."offset"
FROM unnest(%(offsets)s::bigint[], %(times)s::timestamptz[], %(tenants)s::text[]) AS r ("offset", appended_at, tenant)
WHERE EXISTS (
    SELECT FROM session_history AS h
    WHERE h.tenant = r.tenant AND h.partition = %(partition)s AND h."offset" = r."offset"
        AND h.appended_at = r.appended_at
) OR EXISTS (
    SELECT FROM dead_letter AS d
    WHERE d.topic = %(topic)s AND d.partition = %(partition)s AND d."offset" = r."offset"
        AND d.appended_at = r.appended_at
)
