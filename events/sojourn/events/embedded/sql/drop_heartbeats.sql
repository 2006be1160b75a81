-- Drop the segments that end before an instant.
SELECT sojourn_log.drop_heartbeats_before(%(instant)s)
