-- How many letters wait in the queue of each session of a partition.
SELECT tenant, session_id, count(*)::integer FROM dead_letter
WHERE partition = %(partition)s AND waits GROUP BY tenant, session_id
