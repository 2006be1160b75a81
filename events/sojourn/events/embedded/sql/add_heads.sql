-- Make the partitions of a topic.
INSERT INTO sojourn_log.log_head (topic, partition)
SELECT %(topic)s, generate_series(0, %(partitions)s::integer - 1)
