-- The next open sessions by login; those that are lost end between two instants, if they have.
SELECT
    login_at AS login,
    coalesce(ended_after, 'infinity') AS ends_first,
    coalesce(ended_before, 'infinity') AS ends_last,
    0::float8 AS online_seconds,
    user_id || E'\x1f' || user_name AS person,
    desktop_id || E'\x1f' || desktop_name AS desktop,
    client_ip AS address,
    terminal_type || E'\x1f' || access || E'\x1f' || E'\x1f' || E'\x1f' || broker || E'\x1f' || terminal_os AS kind,
    appended_at
FROM current_session
WHERE login_at > %(after)s
ORDER BY login_at
FETCH FIRST %(rows)s ROWS WITH TIES
