-- Keep a command as its newest event left it.
INSERT INTO command AS c (
    tenant, command_id, session_id, broker, kind, state, reason, message, requested_by, requested_at, expires_at,
    delivered_at, acknowledged_at, concluded_at, detail, partition, "offset", appended_at, event)
VALUES (
    %(tenant)s, %(command_id)s, %(session_id)s, %(broker)s, %(kind)s, %(state)s, %(reason)s, %(message)s,
    %(requested_by)s, %(requested_at)s, %(expires_at)s, %(delivered_at)s, %(acknowledged_at)s, %(concluded_at)s,
    %(detail)s, %(partition)s, %(offset)s, %(appended_at)s, %(event)s)
ON CONFLICT (tenant, command_id) DO UPDATE SET
    state = excluded.state, delivered_at = excluded.delivered_at, acknowledged_at = excluded.acknowledged_at,
    concluded_at = excluded.concluded_at, detail = excluded.detail, "offset" = excluded."offset",
    appended_at = excluded.appended_at
