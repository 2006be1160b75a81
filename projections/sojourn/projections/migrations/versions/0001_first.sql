-- The first schema: roles, the projection tables of version 1, the tables that outlive a version, stable views.

CREATE SCHEMA sojourn_v1;


-- Projections of one session -------------------------------------------------------------------------------------

CREATE TABLE sojourn_v1.live_session (
    tenant text NOT NULL,
    session_id text NOT NULL,
    partition integer NOT NULL,
    slot integer NOT NULL,
    revision integer NOT NULL,
    "offset" bigint NOT NULL,
    appended_at timestamptz NOT NULL,
    established_appended_at timestamptz NOT NULL,
    state text NOT NULL,
    user_id text NOT NULL,
    user_name text NOT NULL,
    desktop_id text NOT NULL,
    desktop_name text NOT NULL,
    desktop_pool text NOT NULL,
    terminal_type text NOT NULL,
    terminal_os text NOT NULL,
    terminal_version text NOT NULL,
    terminal_name text NOT NULL,
    client_ip text NOT NULL,
    access text NOT NULL,
    protocol text NOT NULL,
    broker text NOT NULL,
    predecessor text,
    login_at timestamptz NOT NULL,
    clock_flags smallint NOT NULL,
    lost_at timestamptz,
    ended_after timestamptz,
    ended_before timestamptz,
    cause text,
    command text,
    memory bytea NOT NULL,
    PRIMARY KEY (tenant, session_id, partition)
);
-- Statistics of a list that was shorter when they were taken must not make another index look as good as the key.
ALTER TABLE sojourn_v1.live_session ALTER tenant SET (n_distinct = 20), ALTER session_id SET (n_distinct = -1);
CREATE INDEX live_session_slot ON sojourn_v1.live_session (partition, slot);
CREATE INDEX live_session_login ON sojourn_v1.live_session (tenant, login_at, session_id);
CREATE INDEX live_session_user ON sojourn_v1.live_session (tenant, user_id);
CREATE INDEX live_session_desktop ON sojourn_v1.live_session (tenant, desktop_id);

CREATE TABLE sojourn_v1.live_detail (
    tenant text NOT NULL,
    session_id text NOT NULL,
    partition integer NOT NULL,
    current_client_ip text,
    idle_seconds integer,
    round_trip_ms integer,
    appended_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, session_id, partition)
) WITH (fillfactor = 70);

CREATE TABLE sojourn_v1.session_history (
    tenant text NOT NULL,
    session_id text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    appended_at timestamptz NOT NULL,
    event_id text NOT NULL,
    source text NOT NULL,
    event_type text NOT NULL,
    event_time timestamptz NOT NULL,
    sequence bigint,
    digest bytea NOT NULL,
    disposition text NOT NULL,
    disposition_detail text,
    revision integer,
    state text,
    user_id text,
    user_name text,
    desktop_id text,
    desktop_name text,
    desktop_pool text,
    terminal_type text,
    terminal_os text,
    terminal_version text,
    terminal_name text,
    client_ip text,
    access text,
    protocol text,
    broker text,
    predecessor text,
    login_at timestamptz,
    logout_at timestamptz,
    online_seconds double precision,
    outcome text,
    reason text,
    reason_detail text,
    ended_after timestamptz,
    ended_before timestamptz,
    cause text,
    command text,
    clock_flags smallint,
    memory bytea,
    PRIMARY KEY (tenant, partition, "offset", appended_at)
) PARTITION BY RANGE (appended_at);
CREATE INDEX session_history_session ON sojourn_v1.session_history (tenant, session_id, "offset");
CREATE INDEX session_history_logout ON sojourn_v1.session_history (tenant, logout_at, session_id)
    WHERE revision IS NOT NULL AND logout_at IS NOT NULL;
CREATE INDEX session_history_user ON sojourn_v1.session_history (tenant, user_id, logout_at)
    WHERE revision IS NOT NULL AND logout_at IS NOT NULL;
CREATE INDEX session_history_desktop ON sojourn_v1.session_history (tenant, desktop_id, logout_at)
    WHERE revision IS NOT NULL AND logout_at IS NOT NULL;

CREATE TABLE sojourn_v1.superseded (
    tenant text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    appended_at timestamptz NOT NULL,
    by_offset bigint NOT NULL,
    by_appended_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, partition, "offset")
);

CREATE TABLE sojourn_v1.tenant_config (
    tenant text NOT NULL,
    first_seen_at timestamptz NOT NULL,
    internal_networks text[],
    heartbeat_timeout_seconds integer,
    time_zone text,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    appended_at timestamptz NOT NULL,
    PRIMARY KEY (tenant)
);

CREATE TABLE sojourn_v1.command (
    tenant text NOT NULL,
    command_id text NOT NULL,
    session_id text NOT NULL,
    broker text NOT NULL,
    kind text NOT NULL,
    state text NOT NULL,
    reason text NOT NULL,
    message text,
    requested_by text NOT NULL,
    requested_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    delivered_at timestamptz,
    acknowledged_at timestamptz,
    concluded_at timestamptz,
    detail text,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    appended_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, command_id)
);

-- Projections that name no tenant ----------------------------------------------------------------------------------

CREATE TABLE sojourn_v1.broker (
    source text NOT NULL,
    partition integer NOT NULL,
    last_event_at timestamptz,
    last_appended_at timestamptz,
    last_alive_at timestamptz,
    silent_since timestamptz,
    skew_seconds double precision,
    partitioner text,
    bound_at timestamptz,
    PRIMARY KEY (source, partition)
);

CREATE TABLE sojourn_v1.accepted_gap (
    partition integer NOT NULL,
    from_offset bigint NOT NULL,
    to_offset bigint NOT NULL,
    reason text NOT NULL,
    who text NOT NULL,
    "offset" bigint NOT NULL,
    appended_at timestamptz NOT NULL,
    PRIMARY KEY (partition, from_offset, to_offset)
);

CREATE TABLE sojourn_v1.liveness_page (
    partition integer NOT NULL,
    page integer NOT NULL,
    seen bytea NOT NULL,
    PRIMARY KEY (partition, page)
) WITH (fillfactor = 40);
ALTER TABLE sojourn_v1.liveness_page ALTER COLUMN seen SET STORAGE PLAIN;

CREATE TABLE sojourn_v1.position (
    topic text NOT NULL,
    partition integer NOT NULL,
    epoch bigint NOT NULL,
    next_offset bigint NOT NULL,
    record_offset bigint,
    record_crc bigint,
    record_appended_at timestamptz,
    committed_at timestamptz NOT NULL,
    PRIMARY KEY (topic, partition)
) WITH (fillfactor = 50);

CREATE TABLE sojourn_v1.disposition (
    topic text NOT NULL,
    partition integer NOT NULL,
    disposition text NOT NULL,
    records bigint NOT NULL,
    PRIMARY KEY (topic, partition, disposition)
) WITH (fillfactor = 50);

CREATE TABLE sojourn_v1.dead_letter (
    topic text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    appended_at timestamptz NOT NULL,
    reason text NOT NULL,
    detail text NOT NULL,
    tenant text,
    session_id text,
    key bytea,
    headers jsonb NOT NULL,
    value bytea NOT NULL,
    value_bytes bigint NOT NULL,
    resolution text,
    resolved_offset bigint,
    PRIMARY KEY (topic, partition, "offset")
);
CREATE INDEX dead_letter_session ON sojourn_v1.dead_letter (tenant, session_id);

-- What outlives a version of the projections -----------------------------------------------------------------------

CREATE TABLE sojourn.partition_owner (
    partition integer NOT NULL,
    owner text NOT NULL,
    epoch bigint NOT NULL,
    acquired_at timestamptz NOT NULL,
    PRIMARY KEY (partition)
) WITH (fillfactor = 50);

CREATE TABLE sojourn.outbox (
    outbox_id bigint GENERATED ALWAYS AS IDENTITY,
    topic text NOT NULL,
    partition integer NOT NULL,
    epoch bigint NOT NULL,
    key bytea,
    value bytea NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (outbox_id)
);
CREATE INDEX outbox_partition ON sojourn.outbox (partition, outbox_id);

CREATE TABLE sojourn.admin_action (
    tenant text NOT NULL,
    action_id uuid NOT NULL,
    at timestamptz NOT NULL,
    actor text NOT NULL,
    action text NOT NULL,
    subject text NOT NULL,
    reason text,
    origin text,
    result text NOT NULL,
    PRIMARY KEY (tenant, action_id)
);

CREATE TABLE sojourn.export_job (
    tenant text NOT NULL,
    job_id uuid NOT NULL,
    requested_at timestamptz NOT NULL,
    requested_by text NOT NULL,
    filter jsonb NOT NULL,
    format text NOT NULL,
    state text NOT NULL,
    finished_at timestamptz,
    manifest jsonb,
    PRIMARY KEY (tenant, job_id)
);

-- Row-level security: the reader and the owner see the tenant of the transaction, the others all -------------------

CREATE FUNCTION sojourn.isolate(relation regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', relation);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', relation);
    EXECUTE format(
        'CREATE POLICY of_tenant ON %s TO sojourn_reader, sojourn_owner '
        'USING (tenant = current_setting(''sojourn.tenant'', true)) '
        'WITH CHECK (tenant = current_setting(''sojourn.tenant'', true))', relation);
    EXECUTE format('CREATE POLICY all_tenants ON %s TO sojourn_projector USING (true) WITH CHECK (true)', relation);
    EXECUTE format(
        'CREATE POLICY audit ON %s FOR SELECT TO sojourn_auditor USING (true)', relation);
END $$;

SELECT sojourn.isolate(relation) FROM unnest(ARRAY[
    'sojourn_v1.live_session', 'sojourn_v1.live_detail', 'sojourn_v1.session_history', 'sojourn_v1.superseded',
    'sojourn_v1.tenant_config', 'sojourn_v1.command', 'sojourn_v1.dead_letter',
    'sojourn.admin_action', 'sojourn.export_job']::regclass[]) AS relation;

-- A month of history, made by the projector when the first record of the month comes -------------------------------

CREATE FUNCTION sojourn_v1.ensure_history_month(month date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    first date := date_trunc('month', month)::date;
    name text := format('session_history_%s', to_char(first, 'YYYY_MM'));
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('sojourn_v1.session_history'));
    IF to_regclass(format('sojourn_v1.%I', name)) IS NULL THEN
        -- Attaching waits for no reader, where PARTITION OF would wait for the longest export.
        EXECUTE format(
            'CREATE TABLE sojourn_v1.%I (LIKE sojourn_v1.session_history INCLUDING DEFAULTS INCLUDING CONSTRAINTS)',
            name);
        EXECUTE format(
            'ALTER TABLE sojourn_v1.%I ALTER tenant SET (n_distinct = 20), ALTER session_id SET (n_distinct = -0.4)',
            name);
        EXECUTE format(
            'ALTER TABLE sojourn_v1.session_history ATTACH PARTITION sojourn_v1.%I FOR VALUES FROM (%L) TO (%L)',
            name, first::text || ' 00:00+00', (first + interval '1 month')::date::text || ' 00:00+00');
        EXECUTE format('ALTER TABLE sojourn_v1.%I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE sojourn_v1.%I FORCE ROW LEVEL SECURITY', name);
    END IF;
END $$;

-- Stable views: what readers name, whatever version serves them ----------------------------------------------------

CREATE FUNCTION sojourn_v1.last_seen(seen bytea, slot integer) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN to_timestamp(
    (get_byte(seen, (slot & 255) * 4)::bigint << 24) + (get_byte(seen, (slot & 255) * 4 + 1) << 16)
    + (get_byte(seen, (slot & 255) * 4 + 2) << 8) + get_byte(seen, (slot & 255) * 4 + 3));

CREATE VIEW sojourn.current_session AS
SELECT
    l.tenant, l.session_id, l.user_id, l.user_name, l.desktop_id, l.desktop_name, l.desktop_pool,
    l.terminal_type, l.terminal_os, l.terminal_version, l.terminal_name, l.client_ip, l.access, l.protocol, l.broker,
    l.login_at, l.state,
    greatest(l.established_appended_at, sojourn_v1.last_seen(p.seen, l.slot)) AS last_seen_at,
    coalesce(d.current_client_ip, l.client_ip) AS current_client_ip,
    d.idle_seconds, d.round_trip_ms,
    l.predecessor, l.revision, l.partition, l."offset", l.appended_at, l.clock_flags
FROM sojourn_v1.live_session AS l
LEFT JOIN sojourn_v1.liveness_page AS p ON p.partition = l.partition AND p.page = l.slot >> 8
LEFT JOIN sojourn_v1.live_detail AS d
    ON d.tenant = l.tenant AND d.session_id = l.session_id AND d.partition = l.partition;

CREATE VIEW sojourn.session_event WITH (security_invoker = true) AS SELECT * FROM sojourn_v1.session_history;

CREATE VIEW sojourn.session_revision WITH (security_invoker = true) AS
SELECT * FROM sojourn_v1.session_history WHERE revision IS NOT NULL;

CREATE VIEW sojourn.ended_session WITH (security_invoker = true) AS
SELECT h.* FROM sojourn_v1.session_history AS h
WHERE h.revision IS NOT NULL AND h.logout_at IS NOT NULL AND NOT EXISTS (
    SELECT FROM sojourn_v1.superseded AS s
    WHERE s.tenant = h.tenant AND s.partition = h.partition AND s."offset" = h."offset");

CREATE VIEW sojourn.tenant WITH (security_invoker = true) AS SELECT * FROM sojourn_v1.tenant_config;
CREATE VIEW sojourn.broker AS SELECT * FROM sojourn_v1.broker;
CREATE VIEW sojourn.position AS SELECT * FROM sojourn_v1.position;
CREATE VIEW sojourn.disposition AS SELECT * FROM sojourn_v1.disposition;
CREATE VIEW sojourn.dead_letter WITH (security_invoker = true) AS SELECT * FROM sojourn_v1.dead_letter;

-- Grants -------------------------------------------------------------------------------------------------------------

REVOKE ALL ON FUNCTION sojourn_v1.ensure_history_month, sojourn.isolate FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sojourn_v1.ensure_history_month TO sojourn_projector;
GRANT USAGE ON SCHEMA sojourn, sojourn_v1 TO sojourn_projector, sojourn_reader, sojourn_auditor;

GRANT SELECT, INSERT, UPDATE, DELETE ON
    sojourn_v1.live_session, sojourn_v1.live_detail, sojourn.outbox TO sojourn_projector;
GRANT SELECT, INSERT, UPDATE ON
    sojourn_v1.liveness_page, sojourn_v1.tenant_config, sojourn_v1.command, sojourn_v1.broker, sojourn_v1.position,
    sojourn_v1.disposition, sojourn_v1.dead_letter, sojourn.partition_owner TO sojourn_projector;
GRANT SELECT, INSERT ON
    sojourn_v1.session_history, sojourn_v1.superseded, sojourn_v1.accepted_gap TO sojourn_projector;

GRANT SELECT ON
    sojourn_v1.live_session, sojourn_v1.live_detail, sojourn_v1.session_history, sojourn_v1.superseded,
    sojourn_v1.tenant_config, sojourn_v1.command, sojourn.admin_action, sojourn.export_job,
    sojourn.current_session, sojourn.session_event, sojourn.session_revision, sojourn.ended_session, sojourn.tenant,
    sojourn.position TO sojourn_reader, sojourn_auditor;
GRANT SELECT ON
    sojourn_v1.broker, sojourn_v1.accepted_gap, sojourn_v1.dead_letter, sojourn.broker, sojourn.dead_letter,
    sojourn.disposition, sojourn.partition_owner
    TO sojourn_auditor;
