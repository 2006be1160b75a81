-- What waits for the brokers of these tokens, by token: what nobody has yet comes first.
SELECT t.token_id, c.tenant, c.command_id, c.session_id, c.broker, c.state, c.expires_at, c.event
FROM sojourn.broker_token AS t
CROSS JOIN LATERAL (
    SELECT * FROM sojourn.command
    WHERE broker = ANY (t.sources) AND (t.tenants IS NULL OR tenant = ANY (t.tenants))
        AND concluded_at IS NULL AND acknowledged_at IS NULL AND expires_at > now()
    ORDER BY delivered_at IS NOT NULL, requested_at, tenant, command_id
    LIMIT %(commands_max)s
) AS c
WHERE t.token_id = ANY (%(token_ids)s)
    AND t.revoked_at IS NULL AND coalesce(t.expires_at > now(), true)
ORDER BY c.delivered_at IS NOT NULL, c.requested_at, c.tenant, c.command_id;
