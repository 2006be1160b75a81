-- The blocks of the history from `start` on, all of what was appended before `until`.
SELECT starts_at, ends_at, added, removed FROM statistics_block
WHERE starts_at >= %(start)s AND ends_at <= %(until)s ORDER BY starts_at
