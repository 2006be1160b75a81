-- The slots of a partition's open sessions, their brokers, and what is remembered of those that are or were lost:
-- one that recovered has three revisions.
SELECT tenant, session_id, slot, broker, established_appended_at, CASE WHEN lost_at IS NOT NULL OR revision > 2 THEN memory END
FROM live_session WHERE partition = %(partition)s
