-- Write that a dead letter of heartbeats, which the lifecycle log says nothing of, was discarded.
UPDATE dead_letter SET
    resolution = 'discarded', resolved_offset = %(resolved_offset)s, resolved_appended_at = %(resolved_appended_at)s
WHERE topic = %(topic)s AND partition = %(partition)s AND "offset" = %(offset)s AND appended_at = %(appended_at)s
    AND resolution IS NULL
