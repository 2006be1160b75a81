-- Which sessions of a tenant changed: the rows of history from a place of each partition on, at most so many of each.
-- `since` only spares the months before it; it may be earlier than the first of these rows, but not later.
SELECT h.session_id, h.revision, h.logout_at IS NOT NULL
FROM unnest(%(partitions)s::integer[], %(offsets)s::bigint[], %(sinces)s::timestamptz[])
    AS place (partition, "offset", since)
CROSS JOIN LATERAL (
    SELECT session_id, revision, logout_at FROM session_event
    WHERE tenant = %(tenant)s AND partition = place.partition AND "offset" >= place."offset"
        AND appended_at >= place.since
    ORDER BY "offset" LIMIT %(limit)s
) AS h
