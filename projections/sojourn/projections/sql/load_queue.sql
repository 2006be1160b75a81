-- The letters that wait in the queue of a session.
SELECT
    "offset", appended_at, reason, tenant, session_id, key, headers, value, value_bytes, came_at, waits, resolution,
    resolved_offset, resolved_appended_at, mended
FROM dead_letter
WHERE partition = %(partition)s AND waits AND tenant = %(tenant)s AND session_id = %(session_id)s
