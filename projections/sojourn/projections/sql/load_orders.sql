-- Who asked for the commands that the ends of these sessions name, and why; a broker may name one of another session.
SELECT c.session_id, c.requested_by, c.reason
FROM unnest(%(session_ids)s::text[], %(command_ids)s::text[]) AS t (session_id, command_id)
JOIN command AS c ON c.session_id = t.session_id AND c.command_id = t.command_id
WHERE c.kind <> 'send_message'
