-- Keep which lost records of this partition somebody went on without, and why.
INSERT INTO accepted_gap (partition, from_offset, to_offset, reason, who, "offset", appended_at)
VALUES (%(partition)s, %(from_offset)s, %(to_offset)s, %(reason)s, %(who)s, %(offset)s, %(appended_at)s)
