-- Move a position over a gap, if it still stands where the gap was found; the record that was applied last is forgotten.
UPDATE position
SET next_offset = %(next_offset)s, record_offset = NULL, record_crc = NULL, record_appended_at = NULL,
    committed_at = clock_timestamp()
WHERE topic = %(topic)s AND partition = %(partition)s AND next_offset = %(found_offset)s
    AND record_offset IS NOT DISTINCT FROM %(record_offset)s
    AND record_appended_at IS NOT DISTINCT FROM %(record_appended_at)s
