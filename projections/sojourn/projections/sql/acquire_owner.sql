-- Take a partition over: its epoch rises, so that what an earlier owner still writes matches nothing.
INSERT INTO sojourn.partition_owner AS o (partition, owner, epoch, acquired_at)
VALUES (%(partition)s, %(owner)s, 1, clock_timestamp())
ON CONFLICT (partition) DO UPDATE SET
    owner = excluded.owner, epoch = o.epoch + 1, acquired_at = excluded.acquired_at
RETURNING epoch
