-- A session of the reader's tenant: its live row, or else its newest revision.
-- Of a session that two partitioners put into two partitions it is the one that was established last.
(
    SELECT
        tenant, session_id, user_id, user_name, desktop_id, desktop_name, desktop_pool, terminal_type, terminal_os,
        terminal_version, terminal_name, client_ip, access, protocol, broker, login_at, state, last_seen_at,
        greatest(0, extract(epoch FROM now() - login_at))::float8 AS duration_seconds, current_client_ip, idle_seconds,
        round_trip_ms, NULL::timestamptz AS logout_at, NULL::float8 AS online_seconds, NULL AS outcome, NULL AS reason,
        NULL AS reason_detail, ended_after, ended_before, NULL AS command, predecessor, revision, partition, "offset",
        appended_at
    FROM current_session WHERE session_id = %(session_id)s
    ORDER BY login_at DESC LIMIT 1
)
UNION ALL
(
    SELECT
        tenant, session_id, user_id, user_name, desktop_id, desktop_name, desktop_pool, terminal_type, terminal_os,
        terminal_version, terminal_name, client_ip, access, protocol, broker, login_at, state, NULL, NULL, NULL, NULL,
        NULL, logout_at, online_seconds, outcome, reason, reason_detail, ended_after, ended_before, command, predecessor,
        revision, partition, "offset", appended_at
    FROM session_revision WHERE session_id = %(session_id)s
    ORDER BY appended_at DESC, "offset" DESC LIMIT 1
)
LIMIT 1
