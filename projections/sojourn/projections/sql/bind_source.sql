-- Bind a source to a partitioner and to tenants, for what this partition reads from here on.
INSERT INTO broker AS b (source, partition, partitioner, tenants, bound_at)
VALUES (%(source)s, %(partition)s, %(partitioner)s, %(tenants)s, %(appended_at)s)
ON CONFLICT (source, partition) DO UPDATE SET
    partitioner = excluded.partitioner, tenants = excluded.tenants, bound_at = excluded.bound_at
