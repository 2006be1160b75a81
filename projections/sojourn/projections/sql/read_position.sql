-- How far a partition is applied, for one who does not own it.
SELECT next_offset, record_offset, record_crc, record_appended_at FROM position
WHERE topic = %(topic)s AND partition = %(partition)s
