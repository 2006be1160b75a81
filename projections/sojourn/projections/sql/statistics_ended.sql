-- The ended revisions that were appended in a span of time.
SELECT
    coalesce(login_at, '-infinity') AS login,
    logout_at AS ends_first,
    coalesce(ended_before, logout_at) AS ends_last,
    coalesce(online_seconds, 0) AS online_seconds,
    coalesce(user_id, '') || E'\x1f' || coalesce(user_name, '') AS person,
    coalesce(desktop_id, '') || E'\x1f' || coalesce(desktop_name, '') AS desktop,
    coalesce(client_ip, '') AS address,
    coalesce(terminal_type, '') || E'\x1f' || coalesce(access, '') || E'\x1f' || outcome || E'\x1f' || reason
        || E'\x1f' || coalesce(broker, '') || E'\x1f' || coalesce(terminal_os, '') AS kind,
    appended_at
FROM session_revision
WHERE logout_at IS NOT NULL AND appended_at >= %(since)s AND appended_at < %(until)s
