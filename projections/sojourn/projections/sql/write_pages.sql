-- Write the pages of last-seen seconds that changed; they fit beside their old version, so no index is touched.
INSERT INTO liveness_page (partition, page, seen)
VALUES (%(partition)s, %(page)s, %(seen)s)
ON CONFLICT (partition, page) DO UPDATE SET seen = excluded.seen
