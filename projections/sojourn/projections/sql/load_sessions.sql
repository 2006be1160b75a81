-- The state of the sessions that a batch touches: the live row, or else the newest row of history that remembers.
-- The newest is judged by append time first: a log that was replaced uses offsets again.
-- A session that two partitioners put into two partitions is two: each knows what its own log says, and no more.
-- The sum hides the partition from the planner, to whom the primary key would look better than the index by session.
-- Keys come as two joined strings, which psycopg sends twice as fast as lists; ids hold no control characters.
SELECT t.tenant, t.session_id, s.*
FROM unnest(string_to_array(%(tenants)s, E'\x1f'), string_to_array(%(session_ids)s, E'\x1f')) AS t (tenant, session_id)
CROSS JOIN LATERAL (
    SELECT
        l.memory, l.appended_at, l.user_id, l.user_name, l.desktop_id, l.desktop_name, l.desktop_pool,
        l.terminal_type, l.terminal_os, l.terminal_version, l.terminal_name, l.client_ip, l.access, l.protocol,
        l.predecessor, l.login_at, l.clock_flags, NULL::timestamptz AS logout_at, NULL AS reason,
        NULL AS reason_detail, l.command, NULL::timestamptz AS ended_before
    FROM live_session AS l
    WHERE l.tenant = t.tenant AND l.session_id = t.session_id AND l.partition = %(partition)s
    UNION ALL
    (
        SELECT
            h.memory, h.appended_at, h.user_id, h.user_name, h.desktop_id, h.desktop_name, h.desktop_pool,
            h.terminal_type, h.terminal_os, h.terminal_version, h.terminal_name, h.client_ip, h.access, h.protocol,
            h.predecessor, h.login_at, h.clock_flags, h.logout_at, h.reason, h.reason_detail, h.command,
            h.ended_before
        FROM session_history AS h
        WHERE h.tenant = t.tenant AND h.session_id = t.session_id AND h.appended_at > %(since)s
            AND h.memory IS NOT NULL AND h.partition + 0 = %(partition)s
        ORDER BY h.appended_at DESC, h."offset" DESC
        LIMIT 1
    )
    LIMIT 1
) AS s
