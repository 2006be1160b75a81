-- Whose snapshot this is and of when, which tables it reads, and up to when nothing can be added to their history.
SELECT
    current_setting('sojourn.tenant'),
    now(),
    (SELECT xmin::text FROM pg_rewrite WHERE ev_class = 'session_revision'::regclass),
    (SELECT first_seen_at FROM tenant),
    (SELECT CASE WHEN bool_and(complete_to IS NOT NULL) THEN min(complete_to) END
     FROM position WHERE topic = 'sojourn.heartbeats')
