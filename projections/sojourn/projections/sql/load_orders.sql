-- Who asked for these commands, and why.
SELECT command_id, requested_by, reason FROM command WHERE command_id = ANY(%(command_ids)s)
