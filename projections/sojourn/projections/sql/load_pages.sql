-- A partition's pages of last-seen seconds.
SELECT page, seen FROM liveness_page WHERE partition = %(partition)s
