-- What happened to each of these commands, in the order of the log: its request, its broker's answers, its deadline, its
-- effect. Answers, and an end that another one outranked, are found by the instant at which they moved the command.
SELECT c.command_id, h.event_type, h.appended_at, h.partition, h."offset", h.source, h.disposition, h.disposition_detail
FROM command AS c
JOIN session_event AS h ON h.tenant = c.tenant AND h.session_id = c.session_id AND h.partition = c.partition
WHERE c.tenant = %(tenant)s AND c.command_id = ANY (%(command_ids)s) AND (
    h.event_id IN ('requested/' || c.command_id, 'expired/' || c.command_id) AND h.source = '/sojourn'
    OR h.event_type = 'destroyed' AND h.command = c.command_id AND h.revision IS NOT NULL
    OR h.event_type = 'destroyed' AND c.state = 'confirmed' AND h.appended_at = c.concluded_at
    OR h.event_type IN ('disconnect_delivered', 'disconnect_acknowledged', 'disconnect_failed')
        AND h.source = c.broker AND h.disposition = 'applied'
        AND h.appended_at IN (c.delivered_at, c.acknowledged_at, c.concluded_at))
ORDER BY h.appended_at, h."offset"
