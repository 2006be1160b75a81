-- Bind a topic's position to the new epoch and read it.
INSERT INTO position AS p (topic, partition, epoch, next_offset, committed_at)
VALUES (%(topic)s, %(partition)s, %(epoch)s, %(start)s, clock_timestamp())
ON CONFLICT (topic, partition) DO UPDATE SET epoch = excluded.epoch
RETURNING next_offset, record_offset, record_crc, record_appended_at
