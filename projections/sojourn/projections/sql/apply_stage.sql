-- Spread a staged batch over history, superseded revisions, the live list, its counters, and the names to search in.
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
INSERT INTO late_record (tenant, appended_at, partition, "offset")
SELECT tenant, appended_at, partition, "offset" FROM stage
WHERE appended_at < (
    SELECT complete_to - interval '1 hour' FROM position
    WHERE topic = 'sojourn.heartbeats' AND partition = (SELECT partition FROM stage LIMIT 1));
INSERT INTO session_count AS c (tenant, partition, broker, state, sessions)
SELECT tenant, partition, broker, state, sum(sessions)
FROM (
    SELECT l.tenant, l.partition, l.broker, l.state, -1 AS sessions
    FROM stage AS s
    JOIN live_session AS l ON l.tenant = s.tenant AND l.session_id = s.session_id AND l.partition = s.partition
    WHERE s.ends OR s.slot IS NOT NULL
    UNION ALL
    SELECT tenant, partition, broker, state, 1 FROM stage WHERE slot IS NOT NULL) AS change
GROUP BY tenant, partition, broker, state HAVING sum(sessions) <> 0
ON CONFLICT (tenant, partition, broker, state) DO UPDATE SET sessions = c.sessions + excluded.sessions;
INSERT INTO known_name (tenant, kind, id, name_md5, name)
SELECT DISTINCT s.tenant, n.kind, n.id, md5(n.name)::uuid, n.name
FROM stage AS s
CROSS JOIN LATERAL (
    VALUES ('user', s.user_id, s.user_name), ('desktop', s.desktop_id, s.desktop_name)) AS n (kind, id, name)
WHERE s.event_type = 'established' AND s.revision IS NOT NULL
ORDER BY 1, 2, 3, 4  -- partitions write the same names at once, so all in one order
ON CONFLICT DO NOTHING;
DELETE FROM live_session AS l USING stage AS s
WHERE s.ends AND l.tenant = s.tenant AND l.session_id = s.session_id AND l.partition = s.partition;
DELETE FROM live_detail AS l USING stage AS s
WHERE s.ends AND l.tenant = s.tenant AND l.session_id = s.session_id AND l.partition = s.partition;
INSERT INTO live_session AS l (
    tenant, session_id, partition, slot, revision, "offset", appended_at, established_appended_at, state, user_id,
    user_name, desktop_id, desktop_name, desktop_pool, terminal_type, terminal_os, terminal_version, terminal_name,
    client_ip, access, protocol, broker, predecessor, login_at, clock_flags, lost_at, ended_after, ended_before, cause, command, memory)
SELECT
    tenant, session_id, partition, slot, live_revision, live_offset, live_appended_at, established_appended_at, state, user_id,
    user_name, desktop_id, desktop_name, desktop_pool, terminal_type, terminal_os, terminal_version, terminal_name,
    client_ip, access, protocol, broker, predecessor, login_at, clock_flags, ended_before, ended_after, ended_before,
    cause, command, memory
FROM stage WHERE slot IS NOT NULL
ON CONFLICT (tenant, session_id, partition) DO UPDATE SET
    slot = excluded.slot, revision = excluded.revision, "offset" = excluded."offset",
    appended_at = excluded.appended_at, established_appended_at = excluded.established_appended_at,
    state = excluded.state, user_id = excluded.user_id, user_name = excluded.user_name,
    desktop_id = excluded.desktop_id, desktop_name = excluded.desktop_name, desktop_pool = excluded.desktop_pool,
    terminal_type = excluded.terminal_type, terminal_os = excluded.terminal_os,
    terminal_version = excluded.terminal_version, terminal_name = excluded.terminal_name,
    client_ip = excluded.client_ip, access = excluded.access, protocol = excluded.protocol, broker = excluded.broker,
    predecessor = excluded.predecessor, login_at = excluded.login_at, clock_flags = excluded.clock_flags,
    lost_at = excluded.lost_at, ended_after = excluded.ended_after, ended_before = excluded.ended_before,
    cause = coalesce(excluded.cause, l.cause), command = excluded.command, memory = excluded.memory
