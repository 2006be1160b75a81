-- The dead letter at a place of the lifecycle log.
SELECT
    "offset", appended_at, reason, tenant, session_id, key, headers, value, value_bytes, came_at, waits, resolution,
    resolved_offset, resolved_appended_at, mended
FROM dead_letter
WHERE topic = 'sojourn.lifecycle' AND partition = %(partition)s AND "offset" = %(offset)s
    AND appended_at = %(appended_at)s
