-- What else the newest heartbeats of open sessions said; what one leaves out stays as it was.
INSERT INTO live_detail AS d (
    tenant, session_id, partition, current_client_ip, idle_seconds, round_trip_ms, appended_at)
SELECT l.tenant, l.session_id, l.partition, s.client_ip, s.idle_seconds, s.round_trip_ms, s.appended_at
FROM stage_detail AS s
JOIN live_session AS l ON l.tenant = s.tenant AND l.session_id = s.session_id AND l.partition = %(partition)s
ON CONFLICT (tenant, session_id, partition) DO UPDATE SET
    current_client_ip = coalesce(excluded.current_client_ip, d.current_client_ip),
    idle_seconds = coalesce(excluded.idle_seconds, d.idle_seconds),
    round_trip_ms = coalesce(excluded.round_trip_ms, d.round_trip_ms), appended_at = excluded.appended_at
