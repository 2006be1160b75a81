-- What a list that can be believed needs: losses, commands, silent brokers, tenants' settings, credentials.

-- The bytes of a command are what its broker gets.
ALTER TABLE sojourn_v1.command ADD COLUMN event bytea NOT NULL;
CREATE INDEX command_pending ON sojourn_v1.command (partition) WHERE concluded_at IS NULL;
CREATE INDEX command_id ON sojourn_v1.command (command_id);
CREATE INDEX command_broker ON sojourn_v1.command (broker) WHERE concluded_at IS NULL;

ALTER TABLE sojourn_v1.broker
    ADD COLUMN tenants text[],
    ADD COLUMN alive_interval_seconds integer,
    ADD COLUMN commands text[],
    ADD COLUMN silent_id text,
    ADD COLUMN misrouted_at timestamptz;

-- What the log told a partition about a tenant; `tenant_config` shows the newest of all partitions.
CREATE TABLE sojourn_v1.tenant_setting (
    tenant text NOT NULL,
    partition integer NOT NULL,
    setting jsonb NOT NULL,
    "offset" bigint NOT NULL,
    appended_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, partition)
);
SELECT sojourn.isolate('sojourn_v1.tenant_setting');
GRANT SELECT, INSERT, UPDATE ON sojourn_v1.tenant_setting TO sojourn_projector;
GRANT SELECT ON sojourn_v1.tenant_setting TO sojourn_reader, sojourn_auditor;

-- Everything that was appended before this instant is applied.
ALTER TABLE sojourn_v1.position ADD COLUMN complete_to timestamptz;

-- What becomes of dead letters: `came_at` is when the log took the record first, `mended` the bytes that take its place;
-- while it `waits` it stands in the queue of its session.
ALTER TABLE sojourn_v1.dead_letter
    ADD COLUMN resolved_appended_at timestamptz,
    ADD COLUMN came_at timestamptz,
    ADD COLUMN mended bytea,
    ADD COLUMN waits boolean;
CREATE INDEX dead_letter_waits ON sojourn_v1.dead_letter (partition, tenant, session_id) WHERE waits;

-- What brokers without Kafka show to the gateway; the secret itself is told once, when it is made.
CREATE TABLE sojourn.broker_token (
    token_id text NOT NULL,
    name text NOT NULL UNIQUE,
    secret_sha256 bytea NOT NULL,
    sources text[] NOT NULL,
    tenants text[],
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz,
    PRIMARY KEY (token_id)
);
GRANT SELECT ON sojourn.broker_token TO sojourn_auditor;

-- The operator acts for one tenant: reads as its reader, and writes what it did with what follows from it.
GRANT USAGE ON SCHEMA sojourn, sojourn_v1 TO sojourn_operator, sojourn_resolver, sojourn_gateway;
GRANT INSERT ON sojourn.admin_action, sojourn.outbox TO sojourn_operator, sojourn_resolver;
GRANT SELECT (tenant, action_id), INSERT ON sojourn.admin_action TO sojourn_projector; -- what the log tells of
ALTER TABLE sojourn.outbox ENABLE ROW LEVEL SECURITY;
ALTER TABLE sojourn.outbox FORCE ROW LEVEL SECURITY;
CREATE POLICY of_owners ON sojourn.outbox TO sojourn_projector USING (true) WITH CHECK (true);
CREATE POLICY of_operators ON sojourn.outbox FOR INSERT TO sojourn_operator WITH CHECK (
    epoch = 0 AND topic = 'sojourn.lifecycle'
    AND convert_from(value, 'UTF8')::jsonb ->> 'type' = 'sojourn.session.disconnect_requested.v1'
    AND convert_from(value, 'UTF8')::jsonb ->> 'tenant' = current_setting('sojourn.tenant', true));
-- Who resolves dead letters puts other bytes in the place of any event: that is no tenant's right.
CREATE POLICY of_resolvers ON sojourn.outbox FOR INSERT TO sojourn_resolver WITH CHECK (
    epoch = 0 AND topic = 'sojourn.lifecycle'
    AND convert_from(value, 'UTF8')::jsonb ->> 'type' = 'sojourn.log.dead_letter_resolved.v1');
CREATE POLICY gateway ON sojourn_v1.command FOR SELECT TO sojourn_gateway USING (true);
GRANT SELECT ON sojourn_v1.command TO sojourn_gateway;
GRANT SELECT, UPDATE (last_used_at) ON sojourn.broker_token TO sojourn_gateway;

CREATE VIEW sojourn.command WITH (security_invoker = true) AS SELECT * FROM sojourn_v1.command;
GRANT SELECT ON sojourn.command TO sojourn_reader, sojourn_auditor, sojourn_gateway;

CREATE OR REPLACE VIEW sojourn.tenant WITH (security_invoker = true) AS SELECT * FROM sojourn_v1.tenant_config;
CREATE OR REPLACE VIEW sojourn.position AS SELECT * FROM sojourn_v1.position;
CREATE OR REPLACE VIEW sojourn.dead_letter WITH (security_invoker = true) AS SELECT * FROM sojourn_v1.dead_letter;

DROP VIEW sojourn.broker;
CREATE VIEW sojourn.broker AS SELECT * FROM sojourn_v1.broker;
GRANT SELECT ON sojourn.broker TO sojourn_auditor;
GRANT SELECT (source, partition, commands) ON sojourn.broker TO sojourn_operator;  -- the rest names other tenants

CREATE OR REPLACE VIEW sojourn.current_session AS
SELECT
    l.tenant, l.session_id, l.user_id, l.user_name, l.desktop_id, l.desktop_name, l.desktop_pool,
    l.terminal_type, l.terminal_os, l.terminal_version, l.terminal_name, l.client_ip, l.access, l.protocol, l.broker,
    l.login_at,
    CASE WHEN l.state = 'active' AND (b.silent_since IS NOT NULL) THEN 'unconfirmed' ELSE l.state END AS state,
    greatest(l.established_appended_at, sojourn_v1.last_seen(p.seen, l.slot)) AS last_seen_at,
    coalesce(d.current_client_ip, l.client_ip) AS current_client_ip,
    d.idle_seconds, d.round_trip_ms,
    l.predecessor, l.revision, l.partition, l."offset", l.appended_at, l.clock_flags,
    l.lost_at, l.ended_after, l.ended_before
FROM sojourn_v1.live_session AS l
LEFT JOIN sojourn_v1.liveness_page AS p ON p.partition = l.partition AND p.page = l.slot >> 8
LEFT JOIN sojourn_v1.live_detail AS d
    ON d.tenant = l.tenant AND d.session_id = l.session_id AND d.partition = l.partition
LEFT JOIN sojourn_v1.broker AS b ON b.source = l.broker AND b.partition = l.partition;
