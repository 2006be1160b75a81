-- Which of these answers, counted from 1, are about a command that their broker got for this session.
SELECT a.number
FROM unnest(%(tenants)s::text[], %(commands)s::text[], %(sessions)s::text[], %(sources)s::text[])
    WITH ORDINALITY AS a (tenant, command_id, session_id, broker, number)
JOIN sojourn.command AS c USING (tenant, command_id, session_id, broker);
