-- What each source is bound to and whether it is silent, as far as this partition has read.
SELECT source, partitioner, tenants, silent_id, silent_since FROM broker
WHERE partition = %(partition)s AND (partitioner IS NOT NULL OR silent_id IS NOT NULL)
