-- Where COPY puts what heartbeats said, before it joins the open sessions.
CREATE TEMPORARY TABLE IF NOT EXISTS stage_detail (
    tenant text NOT NULL,
    session_id text NOT NULL,
    client_ip text,
    idle_seconds integer,
    round_trip_ms integer,
    appended_at timestamptz NOT NULL
) ON COMMIT DELETE ROWS
