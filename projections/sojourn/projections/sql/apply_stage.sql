-- Spread a staged batch over history, superseded revisions and the live list.
INSERT INTO session_history
SELECT
    tenant, session_id, partition, "offset", appended_at, event_id, source, event_type, event_time, sequence, digest,
    disposition, disposition_detail, revision, state, user_id, user_name, desktop_id, desktop_name, desktop_pool,
    terminal_type, terminal_os, terminal_version, terminal_name, client_ip, access, protocol, broker, predecessor,
    login_at, logout_at, online_seconds, outcome, reason, reason_detail, ended_after, ended_before, cause, command,
    clock_flags, memory
FROM stage;
INSERT INTO superseded (tenant, partition, "offset", appended_at, by_offset, by_appended_at)
SELECT tenant, partition, supersedes_offset, supersedes_appended_at, "offset", appended_at
FROM stage WHERE supersedes_offset IS NOT NULL;
DELETE FROM live_session AS l USING stage AS s
WHERE s.ends AND l.tenant = s.tenant AND l.session_id = s.session_id;
DELETE FROM live_detail AS l USING stage AS s
WHERE s.ends AND l.tenant = s.tenant AND l.session_id = s.session_id;
INSERT INTO live_session AS l (
    tenant, session_id, partition, slot, revision, "offset", appended_at, established_appended_at, state, user_id,
    user_name, desktop_id, desktop_name, desktop_pool, terminal_type, terminal_os, terminal_version, terminal_name,
    client_ip, access, protocol, broker, predecessor, login_at, clock_flags, command, memory)
SELECT
    tenant, session_id, partition, slot, live_revision, live_offset, live_appended_at, established_appended_at, state, user_id,
    user_name, desktop_id, desktop_name, desktop_pool, terminal_type, terminal_os, terminal_version, terminal_name,
    client_ip, access, protocol, broker, predecessor, login_at, clock_flags, command, memory
FROM stage WHERE slot IS NOT NULL
ON CONFLICT (tenant, session_id) DO UPDATE SET
    slot = excluded.slot, revision = excluded.revision, "offset" = excluded."offset",
    appended_at = excluded.appended_at, established_appended_at = excluded.established_appended_at,
    state = excluded.state, user_id = excluded.user_id, user_name = excluded.user_name,
    desktop_id = excluded.desktop_id, desktop_name = excluded.desktop_name, desktop_pool = excluded.desktop_pool,
    terminal_type = excluded.terminal_type, terminal_os = excluded.terminal_os,
    terminal_version = excluded.terminal_version, terminal_name = excluded.terminal_name,
    client_ip = excluded.client_ip, access = excluded.access, protocol = excluded.protocol, broker = excluded.broker,
    predecessor = excluded.predecessor, login_at = excluded.login_at, clock_flags = excluded.clock_flags,
    command = excluded.command, memory = excluded.memory
