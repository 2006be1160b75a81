-- Put what an operator asks of a session's broker into the outbox, for whoever owns its partition.
INSERT INTO outbox (topic, partition, epoch, key, value, created_at)
VALUES (%(topic)s, %(partition)s, %(epoch)s, %(key)s, %(value)s, %(at)s)
