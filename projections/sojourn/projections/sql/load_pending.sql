-- The commands of a partition that nothing has concluded yet.
SELECT tenant, command_id, session_id, expires_at FROM command WHERE partition = %(partition)s AND concluded_at IS NULL
