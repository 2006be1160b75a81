-- Find the record that an append wrote, if it was committed; another append's at this offset has another time.
SELECT FROM {table}
WHERE partition = %(partition)s AND "offset" = %(offset)s AND appended_at = %(appended_at)s AND value = %(value)s
