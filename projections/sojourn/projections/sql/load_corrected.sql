-- How these sessions were taken to have ended, the last time before what the list shows.
SELECT DISTINCT ON (h.session_id) h.session_id, h.logout_at, h.reason, h.ended_after, h.ended_before
FROM session_revision AS h
JOIN sojourn_v1.superseded AS s ON s.tenant = h.tenant AND s.partition = h.partition AND s."offset" = h."offset"
    AND s.appended_at = h.appended_at
WHERE h.session_id = ANY(%(session_ids)s) AND h.logout_at IS NOT NULL
ORDER BY h.session_id, h.revision DESC
