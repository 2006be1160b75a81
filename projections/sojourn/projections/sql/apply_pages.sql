-- Write the pages of last-seen seconds that changed; they fit beside their old version, so no index is touched.
INSERT INTO liveness_page (partition, page, seen)
SELECT partition, page, seen FROM stage_page
ON CONFLICT (partition, page) DO UPDATE SET seen = excluded.seen
