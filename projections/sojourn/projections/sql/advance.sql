-- The fence: move a position on, if this epoch still owns it and nobody moved it since.
UPDATE position
SET next_offset = %(next_offset)s, committed_at = clock_timestamp(),
    record_offset = coalesce(%(record_offset)s, record_offset),
    record_crc = coalesce(%(record_crc)s, record_crc),
    record_appended_at = coalesce(%(record_appended_at)s, record_appended_at)
WHERE topic = %(topic)s AND partition = %(partition)s AND epoch = %(epoch)s AND next_offset = %(from_offset)s
