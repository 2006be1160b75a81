-- Keep since when a broker is silent in this partition, or, with NULL, that it is not.
INSERT INTO broker AS b (source, partition, silent_since, silent_id)
VALUES (%(source)s, %(partition)s, %(silent_since)s, %(silent_id)s)
ON CONFLICT (source, partition) DO UPDATE SET silent_since = excluded.silent_since, silent_id = excluded.silent_id
