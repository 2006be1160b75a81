-- Who uses the console, by which sign-in or token, and what it does for them.

-- People; who belongs to the platform and to no tenant has the tenant ~platform, a name that no tenant can have. A
-- password that was made up for them is good for one sign-in until `password_until`; theirs has no end.
CREATE TABLE sojourn.account (
    tenant text NOT NULL,
    account_id uuid NOT NULL,
    name text NOT NULL,
    display_name text NOT NULL,
    password_hash text,
    password_until timestamptz,
    issuer text,
    subject text,
    roles text[] NOT NULL,
    locale text,
    created_at timestamptz NOT NULL,
    created_by text NOT NULL,
    disabled_at timestamptz,
    last_sign_in_at timestamptz,
    PRIMARY KEY (tenant, account_id)
);
CREATE UNIQUE INDEX account_name ON sojourn.account (lower(name));
CREATE UNIQUE INDEX account_subject ON sojourn.account (issuer, subject);

-- A browser that somebody signed in with; the id is the hash of its cookie.
CREATE TABLE sojourn.sign_in (
    tenant text NOT NULL,
    sign_in_id bytea NOT NULL,
    account_id uuid NOT NULL,
    created_at timestamptz NOT NULL,
    last_seen_at timestamptz NOT NULL,
    confirmed_at timestamptz NOT NULL,
    ended_at timestamptz,
    origin text NOT NULL,
    agent text,
    PRIMARY KEY (tenant, sign_in_id)
);
CREATE UNIQUE INDEX sign_in_id ON sojourn.sign_in (sign_in_id);
CREATE INDEX sign_in_account ON sojourn.sign_in (tenant, account_id) WHERE ended_at IS NULL;

-- What programs show; the secret itself is told once, when it is made.
CREATE TABLE sojourn.api_token (
    tenant text NOT NULL,
    token_id text NOT NULL,
    name text NOT NULL,
    secret_sha256 bytea NOT NULL,
    scopes text[] NOT NULL,
    account_id uuid,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    last_used_at timestamptz,
    PRIMARY KEY (tenant, token_id)
);
CREATE UNIQUE INDEX api_token_id ON sojourn.api_token (token_id);
CREATE UNIQUE INDEX api_token_name ON sojourn.api_token (tenant, name);

CREATE TABLE sojourn.saved_view (
    tenant text NOT NULL,
    account_id uuid NOT NULL,
    page text NOT NULL,
    name text NOT NULL,
    query text NOT NULL,
    saved_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, account_id, page, name)
);

-- The trail is read from its end.
CREATE INDEX admin_action_at ON sojourn.admin_action (tenant, at, action_id);

-- Keys that all consoles of one database share: what signs cursors.
CREATE TABLE sojourn.console_key (
    name text NOT NULL,
    value bytea NOT NULL,
    made_at timestamptz NOT NULL,
    PRIMARY KEY (name)
);

-- An export that somebody asked for, and how far it is; who works on it renews `lease_until`.
ALTER TABLE sojourn.export_job
    ADD COLUMN dataset text NOT NULL,
    ADD COLUMN neutralised boolean NOT NULL,
    ADD COLUMN destination text,
    ADD COLUMN schedule_id uuid,
    ADD COLUMN rows_expected bigint,
    ADD COLUMN rows_written bigint NOT NULL,
    ADD COLUMN started_at timestamptz,
    ADD COLUMN lease_until timestamptz,
    ADD COLUMN worker text,
    ADD COLUMN attempts integer NOT NULL,
    ADD COLUMN error text,
    ADD COLUMN expires_at timestamptz;
CREATE INDEX export_job_open ON sojourn.export_job (requested_at) WHERE finished_at IS NULL;
CREATE INDEX export_job_newest ON sojourn.export_job (tenant, requested_at, job_id);

-- Exports of the day, week or month before; `next_day` is the tenant's day on which the next begins, at `next_at`.
CREATE TABLE sojourn.export_schedule (
    tenant text NOT NULL,
    schedule_id uuid NOT NULL,
    name text NOT NULL,
    dataset text NOT NULL,
    format text NOT NULL,
    neutralised boolean NOT NULL,
    filter jsonb NOT NULL,
    every text NOT NULL,
    time_of_day text NOT NULL,
    destination text,
    created_at timestamptz NOT NULL,
    created_by text NOT NULL,
    next_day date NOT NULL,
    next_at timestamptz NOT NULL,
    ended_at timestamptz,
    PRIMARY KEY (tenant, schedule_id)
);
CREATE UNIQUE INDEX export_schedule_name ON sojourn.export_schedule (tenant, name) WHERE ended_at IS NULL;

SELECT sojourn.isolate(relation) FROM unnest(ARRAY[
    'sojourn.account', 'sojourn.sign_in', 'sojourn.api_token', 'sojourn.saved_view',
    'sojourn.export_schedule']::regclass[]) AS relation;

GRANT USAGE ON SCHEMA sojourn, sojourn_v1 TO sojourn_console, sojourn_gatekeeper, sojourn_exporter;

-- The console acts for one tenant: it reads as its reader.
GRANT SELECT, INSERT, UPDATE ON
    sojourn.account, sojourn.sign_in, sojourn.api_token, sojourn.export_job, sojourn.export_schedule TO sojourn_console;
GRANT SELECT, INSERT, UPDATE, DELETE ON sojourn.saved_view TO sojourn_console;
GRANT INSERT ON sojourn.admin_action TO sojourn_console;
GRANT SELECT ON sojourn_v1.dead_letter, sojourn.dead_letter TO sojourn_console;

-- The gatekeeper finds out who asks, before it is known for which tenant.
CREATE POLICY gatekeeper ON sojourn.account FOR SELECT TO sojourn_gatekeeper USING (true);
CREATE POLICY gatekeeper ON sojourn.sign_in FOR SELECT TO sojourn_gatekeeper USING (true);
CREATE POLICY gatekeeper ON sojourn.api_token FOR SELECT TO sojourn_gatekeeper USING (true);
CREATE POLICY seen ON sojourn.sign_in FOR UPDATE TO sojourn_gatekeeper USING (true) WITH CHECK (true);
CREATE POLICY seen ON sojourn.api_token FOR UPDATE TO sojourn_gatekeeper USING (true) WITH CHECK (true);
GRANT SELECT ON sojourn.account, sojourn.sign_in, sojourn.api_token TO sojourn_gatekeeper;
GRANT UPDATE (last_seen_at) ON sojourn.sign_in TO sojourn_gatekeeper;
GRANT UPDATE (last_used_at) ON sojourn.api_token TO sojourn_gatekeeper;
GRANT SELECT, INSERT ON sojourn.console_key TO sojourn_gatekeeper;

-- The exporter takes what all tenants asked for, one after the other.
CREATE POLICY exporter ON sojourn.export_job TO sojourn_exporter USING (true) WITH CHECK (true);
CREATE POLICY exporter ON sojourn.export_schedule TO sojourn_exporter USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE ON sojourn.export_job, sojourn.export_schedule TO sojourn_exporter;
