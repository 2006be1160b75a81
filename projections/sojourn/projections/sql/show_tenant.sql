-- Show what holds for a tenant now; the first partition that reads it tells.
INSERT INTO tenant_config AS t (
    tenant, first_seen_at, internal_networks, heartbeat_timeout_seconds, time_zone, partition, "offset", appended_at)
VALUES (
    %(tenant)s, %(appended_at)s, %(internal_networks)s, %(heartbeat_timeout_seconds)s, %(time_zone)s, %(partition)s,
    %(offset)s, %(appended_at)s)
ON CONFLICT (tenant) DO UPDATE SET
    internal_networks = excluded.internal_networks, time_zone = excluded.time_zone,
    heartbeat_timeout_seconds = excluded.heartbeat_timeout_seconds
