-- Wait for whoever appends to a partition to commit or to roll back.
SELECT FROM sojourn_log.log_head WHERE topic = %(topic)s AND partition = %(partition)s FOR UPDATE
