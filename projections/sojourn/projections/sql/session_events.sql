-- What happened to a session of the reader's tenant, with the state after each event: what made a revision first, which
-- repeats must not crowd out, and the newest of it.
SELECT
    event_type, event_id, source, event_time, appended_at, partition, "offset", disposition, disposition_detail, revision,
    cause, state, user_id, user_name, desktop_id, desktop_name, desktop_pool, terminal_type, terminal_os,
    terminal_version, terminal_name, client_ip, access, protocol, broker, predecessor, login_at, logout_at,
    online_seconds, outcome, reason, reason_detail, ended_after, ended_before, command
FROM session_event WHERE session_id = %(session_id)s
ORDER BY revision IS NULL, appended_at DESC, "offset" DESC LIMIT %(rows_max)s
