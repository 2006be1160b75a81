-- A log that was replaced or truncated uses offsets again, so a record's place is its offset with its append time.

ALTER TABLE sojourn_v1.superseded
    DROP CONSTRAINT superseded_pkey,
    ADD PRIMARY KEY (tenant, partition, "offset", appended_at);
ALTER TABLE sojourn_v1.dead_letter
    DROP CONSTRAINT dead_letter_pkey,
    ADD PRIMARY KEY (topic, partition, "offset", appended_at);

CREATE OR REPLACE VIEW sojourn.ended_session WITH (security_invoker = true) AS
SELECT h.* FROM sojourn_v1.session_history AS h
WHERE h.revision IS NOT NULL AND h.logout_at IS NOT NULL AND NOT EXISTS (
    SELECT FROM sojourn_v1.superseded AS s
    WHERE s.tenant = h.tenant AND s.partition = h.partition AND s."offset" = h."offset"
        AND s.appended_at = h.appended_at);
