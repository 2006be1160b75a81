-- The ended revisions, of those appended from `start` on, that were corrected by a record of a span of time.
SELECT
    coalesce(h.login_at, '-infinity') AS login,
    h.logout_at AS ends_first,
    coalesce(h.ended_before, h.logout_at) AS ends_last,
    coalesce(h.online_seconds, 0) AS online_seconds,
    coalesce(h.user_id, '') || E'\x1f' || coalesce(h.user_name, '') AS person,
    coalesce(h.desktop_id, '') || E'\x1f' || coalesce(h.desktop_name, '') AS desktop,
    coalesce(h.client_ip, '') AS address,
    coalesce(h.terminal_type, '') || E'\x1f' || coalesce(h.access, '') || E'\x1f' || h.outcome || E'\x1f' || h.reason
        || E'\x1f' || coalesce(h.broker, '') || E'\x1f' || coalesce(h.terminal_os, '') AS kind,
    h.appended_at
FROM sojourn_v1.superseded AS s
JOIN session_revision AS h
    ON h.tenant = s.tenant AND h.partition = s.partition AND h."offset" = s."offset" AND h.appended_at = s.appended_at
WHERE h.logout_at IS NOT NULL AND s.appended_at >= %(start)s
    AND s.by_appended_at >= %(since)s AND s.by_appended_at < %(until)s
