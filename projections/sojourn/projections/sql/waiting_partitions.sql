-- The partitions for which something waits to be appended.
SELECT DISTINCT partition FROM outbox
