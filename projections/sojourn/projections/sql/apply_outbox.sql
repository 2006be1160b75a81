-- Put what was staged into the outbox, bound to this owner's epoch.
INSERT INTO outbox (topic, partition, epoch, key, value, created_at)
SELECT topic, %(partition)s, %(epoch)s, key, value, clock_timestamp() FROM stage_outbox
