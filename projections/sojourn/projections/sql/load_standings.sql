-- How commands stand that somebody waits for.
SELECT command_id, state, concluded_at, detail FROM command
WHERE tenant = %(tenant)s AND command_id = ANY (%(command_ids)s)
