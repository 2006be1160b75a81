-- Whose snapshot this is and of when, which tables it reads, how much of their history came late, and up to when nothing
-- can be added to it otherwise.
SELECT
    current_setting('sojourn.tenant'),
    now(),
    (SELECT xmin::text FROM pg_rewrite WHERE ev_class = 'session_revision'::regclass),
    (SELECT count(*) FROM sojourn_v1.late_record),
    (SELECT first_seen_at FROM tenant),
    (SELECT CASE WHEN bool_and(complete_to IS NOT NULL) THEN least(min(complete_to), now()) END
     FROM position WHERE topic = 'sojourn.heartbeats')
