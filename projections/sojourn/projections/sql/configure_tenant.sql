-- Keep what holds for a tenant in this partition.
INSERT INTO tenant_setting (tenant, partition, setting, "offset", appended_at)
VALUES (%(tenant)s, %(partition)s, %(setting)s, %(offset)s, %(appended_at)s)
ON CONFLICT (tenant, partition) DO UPDATE SET
    setting = excluded.setting, "offset" = excluded."offset", appended_at = excluded.appended_at
