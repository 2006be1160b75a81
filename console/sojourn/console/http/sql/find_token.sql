-- What a token may do, whether it still may, and whether its use was noted long ago.
SELECT
    secret_sha256, sources, tenants,
    revoked_at IS NULL AND coalesce(expires_at > now(), true) AS valid,
    coalesce(last_used_at < now() - interval '1 minute', true) AS stale
FROM sojourn.broker_token
WHERE token_id = %(token_id)s;
