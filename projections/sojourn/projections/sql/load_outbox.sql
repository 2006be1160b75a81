-- What waits to be appended for a partition, the oldest first.
SELECT outbox_id, topic, epoch, key, value FROM outbox
WHERE partition = %(partition)s ORDER BY outbox_id LIMIT %(rows)s
