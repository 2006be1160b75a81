-- Put letters that were just written into the queue of their session.
UPDATE dead_letter AS d SET waits = true, came_at = w.came_at
FROM unnest(%(offsets)s::bigint[], %(times)s::timestamptz[], %(came)s::timestamptz[]) AS w ("offset", appended_at, came_at)
WHERE d.topic = 'sojourn.lifecycle' AND d.partition = %(partition)s AND d."offset" = w."offset"
    AND d.appended_at = w.appended_at
