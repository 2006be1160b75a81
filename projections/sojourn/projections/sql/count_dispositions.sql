-- Count what became of the records of a batch.
INSERT INTO disposition AS d (topic, partition, disposition, records)
VALUES (%(topic)s, %(partition)s, %(disposition)s, %(records)s)
ON CONFLICT (topic, partition, disposition) DO UPDATE SET records = d.records + excluded.records
