-- How many sessions of the reader's tenant each of its brokers serves, and which commands that takes.
SELECT b.source, coalesce(c.sessions, 0), coalesce(b.commands, ARRAY['disconnect'])
FROM (
    SELECT DISTINCT ON (source) source, commands FROM tenant_broker
    ORDER BY source, last_appended_at DESC NULLS LAST) AS b
LEFT JOIN (
    SELECT broker, sum(sessions)::bigint AS sessions FROM current_count GROUP BY broker) AS c ON c.broker = b.source
