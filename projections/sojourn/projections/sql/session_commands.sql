-- The commands of a session of the reader's tenant, one row for each event about them; see load_steps.sql.
SELECT c.command_id, c.kind, c.reason, c.message, c.requested_by, c.state, h.partition, h."offset"
FROM command AS c
JOIN session_event AS h ON h.session_id = c.session_id AND h.partition = c.partition
WHERE c.session_id = %(session_id)s AND h.session_id = %(session_id)s AND (
    h.event_id IN ('requested/' || c.command_id, 'expired/' || c.command_id) AND h.source = '/sojourn'
    OR h.event_type = 'destroyed' AND h.command = c.command_id AND h.revision IS NOT NULL
    OR h.event_type = 'destroyed' AND c.state = 'confirmed' AND h.appended_at = c.concluded_at
    OR h.event_type IN ('disconnect_delivered', 'disconnect_acknowledged', 'disconnect_failed')
        AND h.source = c.broker AND h.disposition = 'applied'
        AND h.appended_at IN (c.delivered_at, c.acknowledged_at, c.concluded_at))
