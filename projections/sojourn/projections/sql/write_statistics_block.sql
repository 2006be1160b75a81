-- Keep columns of a span of the history, with what tells whether they still say what it says.
INSERT INTO sojourn_v1.statistics_block (tenant, starts_at, ends_at, source, late, added, removed)
SELECT
    current_setting('sojourn.tenant'), %(since)s, %(until)s, sojourn_v1.history_source(%(since)s),
    (SELECT count(*) FROM sojourn_v1.late_record WHERE appended_at >= %(since)s AND appended_at < %(until)s),
    %(added)s, %(removed)s
ON CONFLICT (tenant, starts_at) DO UPDATE SET
    ends_at = excluded.ends_at, source = excluded.source, late = excluded.late, added = excluded.added,
    removed = excluded.removed
