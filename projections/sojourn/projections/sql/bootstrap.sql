-- Make the roles, which belong to the whole server, and the schema that Alembic keeps its version in.
DO $$
DECLARE
    role text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('sojourn.bootstrap'));
    FOREACH role IN ARRAY ARRAY['sojourn_owner', 'sojourn_projector', 'sojourn_reader', 'sojourn_auditor', 'sojourn_operator',
        'sojourn_resolver', 'sojourn_gateway', 'sojourn_console', 'sojourn_gatekeeper', 'sojourn_exporter',
        'sojourn_searcher'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role);
        END IF;
        IF NOT pg_has_role(current_user, role, 'SET') THEN
            EXECUTE format('GRANT %I TO CURRENT_USER WITH SET TRUE', role);
        END IF;
    END LOOP;
    FOREACH role IN ARRAY ARRAY['sojourn_operator', 'sojourn_resolver', 'sojourn_console'] LOOP
        IF NOT pg_has_role(role, 'sojourn_reader', 'MEMBER') THEN
            EXECUTE format('GRANT sojourn_reader TO %I', role);
        END IF;
    END LOOP;
    -- The owner may give a function to the searcher, and sees no more for it.
    IF NOT pg_has_role('sojourn_owner', 'sojourn_searcher', 'SET') THEN
        GRANT sojourn_searcher TO sojourn_owner WITH INHERIT FALSE, SET TRUE;
    END IF;
    EXECUTE format('GRANT CREATE, TEMPORARY ON DATABASE %I TO sojourn_owner', current_database());
    EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO sojourn_projector', current_database());
    CREATE SCHEMA IF NOT EXISTS sojourn AUTHORIZATION sojourn_owner;
END $$
