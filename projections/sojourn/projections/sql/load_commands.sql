-- The state of the commands that a batch touches; keys come as two joined strings, ids hold no control characters.
SELECT
    c.tenant, c.command_id, c.session_id, c.broker, c.kind, c.state, c.reason, c.message, c.requested_by,
    c.requested_at, c.expires_at, c.delivered_at, c.acknowledged_at, c.concluded_at, c.detail, c.partition,
    c."offset", c.appended_at, c.event
FROM unnest(string_to_array(%(tenants)s, E'\x1f'), string_to_array(%(command_ids)s, E'\x1f')) AS t (tenant, command_id)
JOIN command AS c ON c.tenant = t.tenant AND c.command_id = t.command_id AND c.partition = %(partition)s
