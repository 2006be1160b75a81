-- Write what became of a letter; one that waits for its turn names the session in whose queue it stands.
UPDATE dead_letter SET
    resolution = %(resolution)s, resolved_offset = %(resolved_offset)s, resolved_appended_at = %(resolved_appended_at)s,
    mended = %(mended)s, waits = %(waits)s, tenant = %(tenant)s, session_id = %(session_id)s, came_at = %(came_at)s
WHERE topic = 'sojourn.lifecycle' AND partition = %(partition)s AND "offset" = %(offset)s
    AND appended_at = %(appended_at)s
