-- Make the segments that are missing.
SELECT sojourn_log.create_heartbeat_segments()
