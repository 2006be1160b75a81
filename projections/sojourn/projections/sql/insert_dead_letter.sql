-- Keep a record that could not be applied, with its reason.
INSERT INTO dead_letter (
    topic, partition, "offset", appended_at, reason, detail, tenant, session_id, key, headers, value, value_bytes)
VALUES (
    %(topic)s, %(partition)s, %(offset)s, %(appended_at)s, %(reason)s, %(detail)s, %(tenant)s, %(session_id)s,
    %(key)s, %(headers)s, %(value)s, %(value_bytes)s)
