-- The command of this id, if it is for one of these brokers and about one of these tenants.
SELECT tenant, command_id, session_id, broker, state
FROM sojourn.command
WHERE command_id = %(command_id)s AND broker = ANY (%(sources)s)
    AND (%(tenants)s::text[] IS NULL OR tenant = ANY (%(tenants)s));
