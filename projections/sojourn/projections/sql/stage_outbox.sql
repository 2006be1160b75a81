-- Where COPY puts what is to be appended to the log, before the fence.
CREATE TEMPORARY TABLE IF NOT EXISTS stage_outbox (
    topic text NOT NULL,
    key bytea,
    value bytea NOT NULL
) ON COMMIT DELETE ROWS
