-- A tenant exists from its first event on, whichever partition is the first to write it.
INSERT INTO tenant_config AS t (tenant, first_seen_at, partition, "offset", appended_at)
VALUES (%(tenant)s, %(appended_at)s, %(partition)s, %(offset)s, %(appended_at)s)
ON CONFLICT (tenant) DO UPDATE SET
    first_seen_at = excluded.first_seen_at, partition = excluded.partition, "offset" = excluded."offset",
    appended_at = excluded.appended_at
WHERE excluded.appended_at < t.appended_at
