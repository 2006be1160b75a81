-- Read which offsets the partitions of some topics hold.
SELECT topic, partition, start_offset, next_offset FROM sojourn_log.log_head WHERE topic = ANY(%(topics)s)
