-- The state of the sessions that a batch touches: the live row, or else the newest row of history that remembers.
-- No condition on the partition: it would make the primary key look better than the index by session.
-- Keys come as two joined strings, which psycopg sends twice as fast as lists; ids hold no control characters.
SELECT t.tenant, t.session_id, s.*
FROM unnest(string_to_array(%(tenants)s, E'\x1f'), string_to_array(%(session_ids)s, E'\x1f')) AS t (tenant, session_id)
CROSS JOIN LATERAL (
    SELECT
        l.memory, l.appended_at, l.user_id, l.user_name, l.desktop_id, l.desktop_name, l.desktop_pool,
        l.terminal_type, l.terminal_os, l.terminal_version, l.terminal_name, l.client_ip, l.access, l.protocol,
        l.predecessor, l.login_at, l.clock_flags, NULL::timestamptz AS logout_at, NULL AS reason,
        NULL AS reason_detail, l.command
    FROM live_session AS l
    WHERE l.tenant = t.tenant AND l.session_id = t.session_id
    UNION ALL
    (
        SELECT
            h.memory, h.appended_at, h.user_id, h.user_name, h.desktop_id, h.desktop_name, h.desktop_pool,
            h.terminal_type, h.terminal_os, h.terminal_version, h.terminal_name, h.client_ip, h.access, h.protocol,
            h.predecessor, h.login_at, h.clock_flags, h.logout_at, h.reason, h.reason_detail, h.command
        FROM session_history AS h
        WHERE h.tenant = t.tenant AND h.session_id = t.session_id AND h.appended_at > %(since)s
            AND h.memory IS NOT NULL
        ORDER BY h."offset" DESC
        LIMIT 1
    )
    LIMIT 1
) AS s
