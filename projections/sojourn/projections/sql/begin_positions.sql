-- Give every partition of a topic its first position at once, so that the number of partitions is known from then on.
INSERT INTO position (topic, partition, epoch, next_offset, committed_at)
SELECT %(topic)s, p.partition, 0, p.next_offset, clock_timestamp()
FROM unnest(%(partitions)s::integer[], %(offsets)s::bigint[]) AS p (partition, next_offset)
ON CONFLICT (topic, partition) DO NOTHING
