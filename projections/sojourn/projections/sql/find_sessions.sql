-- What is known of the sessions that an operator names: where each is open and what its broker takes, or its end.
-- A session that two partitioners put into two partitions is the one that was established last.
SELECT t.session_id, c.broker, c.partition, b.commands, e.logout_at
FROM unnest(%(session_ids)s::text[]) WITH ORDINALITY AS t (session_id, place)
LEFT JOIN LATERAL (
    SELECT broker, partition FROM current_session
    WHERE tenant = %(tenant)s AND session_id = t.session_id ORDER BY login_at DESC LIMIT 1
) AS c ON true
LEFT JOIN broker AS b ON b.source = c.broker AND b.partition = c.partition
LEFT JOIN LATERAL (
    SELECT logout_at FROM ended_session
    WHERE c.broker IS NULL AND tenant = %(tenant)s AND session_id = t.session_id ORDER BY appended_at DESC LIMIT 1
) AS e ON true
ORDER BY t.place
