-- A tenant exists from its first event on.
INSERT INTO tenant_config (tenant, first_seen_at, partition, "offset", appended_at)
VALUES (%(tenant)s, %(appended_at)s, %(partition)s, %(offset)s, %(appended_at)s)
ON CONFLICT (tenant) DO NOTHING
