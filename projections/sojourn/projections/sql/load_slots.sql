-- The slots of a partition's open sessions.
SELECT tenant, session_id, slot FROM live_session WHERE partition = %(partition)s
