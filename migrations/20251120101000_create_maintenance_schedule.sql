-- Title:        Retention and its schedule
-- Purpose:      The three cleanup functions, and schema cron: what runs when, and how it went last.
-- Phase:        expand
-- Date:         2025-11-20
-- Dependencies: 20251118094238_create_transactional_outbox_tables
--
-- pg_cron is not needed: the clock is the operator's CronJobs on Kubernetes and one scheduler process elsewhere, never both.

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_extension AS e WHERE e.extname = 'pg_cron') THEN
        RAISE EXCEPTION 'extension pg_cron is installed in this database and owns schema cron'
            USING HINT = 'coursegen brings its own schedule: DROP EXTENSION pg_cron here (it can live in another database), then run "coursegen migrate" again.';
    END IF;
END
$$;

-- ── Retention. Each removes at most p_batch rows, or all when p_batch is NULL, and says how many ───────────────────
CREATE OR REPLACE FUNCTION public.cleanup_processed_outbox_entries(p_keep interval DEFAULT interval '30 days', p_batch integer DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql
VOLATILE
SET search_path = public, pg_temp
AS $$
DECLARE
    v_deleted bigint;
BEGIN
    -- A job whose course still waits for its effect is no history yet: the reconciler needs the row.
    WITH expired AS (
        SELECT o.ctid AS place
        FROM job_outbox AS o
        WHERE o.processed_at < now() - p_keep
            AND NOT (
                EXISTS (
                    SELECT FROM courses AS c
                    WHERE c.id = o.entity_id AND c.run_number = o.run_number
                        AND c.generation_status BETWEEN 'stage_2_init' AND 'stage_5_complete'
                )
                AND o.job_type IN ('DOCUMENT_PROCESSING', 'STRUCTURE_ANALYSIS', 'STRUCTURE_GENERATION')
                AND NOT EXISTS (SELECT FROM effect_ledger AS l WHERE l.effect_id = o.outbox_id)
            )
        LIMIT p_batch
    )
    DELETE FROM job_outbox AS o USING expired AS e WHERE o.ctid = e.place;
    GET DIAGNOSTICS v_deleted = ROW_COUNT;
    RETURN v_deleted;
END
$$;
COMMENT ON FUNCTION public.cleanup_processed_outbox_entries(interval, integer) IS 'Removes outbox rows processed more than 30 days ago.';

CREATE OR REPLACE FUNCTION public.cleanup_old_outbox_entries(p_keep interval DEFAULT interval '30 days', p_batch integer DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql
VOLATILE
SET search_path = public, pg_temp
AS $$
BEGIN
    RETURN cleanup_processed_outbox_entries(p_keep, p_batch);
END
$$;
COMMENT ON FUNCTION public.cleanup_old_outbox_entries(interval, integer) IS 'Other name of cleanup_processed_outbox_entries.';

CREATE OR REPLACE FUNCTION public.cleanup_expired_idempotency_keys(p_keep interval DEFAULT interval '7 days', p_batch integer DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql
VOLATILE
SET search_path = public, pg_temp
AS $$
DECLARE
    v_deleted bigint;
BEGIN
    WITH expired AS (
        SELECT k.idempotency_key
        FROM idempotency_keys AS k
        WHERE k.created_at < now() - p_keep AND k.expires_at < now()
        ORDER BY k.created_at
        LIMIT p_batch
    )
    DELETE FROM idempotency_keys AS k USING expired AS e WHERE k.idempotency_key = e.idempotency_key;
    GET DIAGNOSTICS v_deleted = ROW_COUNT;
    RETURN v_deleted;
END
$$;
COMMENT ON FUNCTION public.cleanup_expired_idempotency_keys(interval, integer) IS
    'Removes keys written more than 7 days ago that are no longer valid.';

CREATE OR REPLACE FUNCTION public.cleanup_old_fsm_events(p_keep interval DEFAULT interval '90 days', p_batch integer DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql
VOLATILE
SET search_path = public, pg_temp
AS $$
DECLARE
    v_deleted bigint;
BEGIN
    WITH expired AS (
        SELECT e.event_id
        FROM fsm_events AS e
        WHERE e.created_at < now() - p_keep
        ORDER BY e.created_at
        LIMIT p_batch
    )
    DELETE FROM fsm_events AS e USING expired AS x WHERE e.event_id = x.event_id;
    GET DIAGNOSTICS v_deleted = ROW_COUNT;
    RETURN v_deleted;
END
$$;
COMMENT ON FUNCTION public.cleanup_old_fsm_events(interval, integer) IS 'Removes events older than 90 days.';

DO $$
DECLARE
    v_name text;
BEGIN
    FOREACH v_name IN ARRAY ARRAY[
        'cleanup_processed_outbox_entries', 'cleanup_old_outbox_entries', 'cleanup_expired_idempotency_keys', 'cleanup_old_fsm_events'
    ] LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION public.%I(interval, integer) FROM PUBLIC', v_name);
        EXECUTE format('GRANT EXECUTE ON FUNCTION public.%I(interval, integer) TO service_role', v_name);
    END LOOP;
END
$$;

-- ── The schedule ────────────────────────────────────────────────────────────────────────────────────────────────────
CREATE SCHEMA IF NOT EXISTS cron;
COMMENT ON SCHEMA cron IS 'What is cleaned up when. The names are those of pg_cron; the clock is ours.';
GRANT USAGE ON SCHEMA cron TO service_role;

CREATE TABLE IF NOT EXISTS cron.job (
    jobid bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    jobname text NOT NULL UNIQUE,
    schedule text NOT NULL,
    command text NOT NULL,
    active boolean NOT NULL DEFAULT true,
    last_run timestamptz,
    last_run_status text CHECK (last_run_status IN ('succeeded', 'failed')),
    last_run_message text,
    scheduled_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE cron.job IS 'The scheduled jobs. A job that is not here, or not active, does not run. Times are UTC.';
COMMENT ON COLUMN cron.job.last_run IS 'When it last ran, whoever ran it.';
COMMENT ON COLUMN cron.job.last_run_message IS 'What it removed, or why it failed.';
COMMENT ON COLUMN cron.job.scheduled_at IS 'When it was put on the schedule: what was due before that is not made up for.';

ALTER TABLE cron.job ENABLE ROW LEVEL SECURITY;
ALTER TABLE cron.job FORCE ROW LEVEL SECURITY;
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_policies AS p WHERE p.schemaname = 'cron' AND p.policyname = 'job_service_role') THEN
        CREATE POLICY job_service_role ON cron.job TO service_role USING (true) WITH CHECK (true);
    END IF;
END
$$;
REVOKE ALL ON cron.job FROM PUBLIC, authenticated;
GRANT SELECT, INSERT, UPDATE, DELETE ON cron.job TO service_role;

CREATE OR REPLACE FUNCTION cron.schedule(job_name text, schedule text, command text)
RETURNS bigint
LANGUAGE plpgsql
VOLATILE
SET search_path = public, pg_temp
AS $$
DECLARE
    v_jobid bigint;
BEGIN
    INSERT INTO cron.job AS j (jobname, schedule, command)
    VALUES ($1, $2, $3) -- by number: two of the arguments are named as columns are
    ON CONFLICT (jobname) DO UPDATE
    SET schedule = excluded.schedule, command = excluded.command, active = true, scheduled_at = now()
    RETURNING j.jobid INTO v_jobid;
    RETURN v_jobid;
END
$$;
COMMENT ON FUNCTION cron.schedule(text, text, text) IS 'Puts a job on the schedule, or changes it. Five fields, UTC.';

CREATE OR REPLACE FUNCTION cron.unschedule(job_name text)
RETURNS boolean
LANGUAGE plpgsql
VOLATILE
SET search_path = public, pg_temp
AS $$
BEGIN
    DELETE FROM cron.job AS j
    WHERE j.jobname = CASE job_name WHEN 'cleanup_old_outbox_entries' THEN 'cleanup_processed_outbox_entries' ELSE job_name END;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'could not find valid entry for job ''%''', job_name USING ERRCODE = 'no_data_found';
    END IF;
    RETURN true;
END
$$;
COMMENT ON FUNCTION cron.unschedule(text) IS 'Takes a job off the schedule; it does not run until cron.schedule or cron.schedule_defaults puts it back.';

CREATE OR REPLACE FUNCTION cron.schedule_defaults()
RETURNS integer
LANGUAGE plpgsql
VOLATILE
SET search_path = public, pg_temp
AS $$
DECLARE
    v_added integer;
BEGIN
    INSERT INTO cron.job (jobname, schedule, command)
    VALUES
        ('cleanup_processed_outbox_entries', '0 2 * * *', 'SELECT public.cleanup_processed_outbox_entries(p_batch => 10000)'),
        ('cleanup_expired_idempotency_keys', '0 3 * * *', 'SELECT public.cleanup_expired_idempotency_keys(p_batch => 10000)'),
        ('cleanup_old_fsm_events', '0 4 * * 0', 'SELECT public.cleanup_old_fsm_events(p_batch => 10000)')
    ON CONFLICT (jobname) DO NOTHING;
    GET DIAGNOSTICS v_added = ROW_COUNT;
    RETURN v_added;
END
$$;
COMMENT ON FUNCTION cron.schedule_defaults() IS 'Puts those of the three jobs on the schedule that are not there; says how many.';

CREATE OR REPLACE FUNCTION cron.record_run(job_name text, status text, message text)
RETURNS void
LANGUAGE plpgsql
VOLATILE
SET search_path = public, pg_temp
AS $$
BEGIN
    UPDATE cron.job AS j SET last_run = clock_timestamp(), last_run_status = status, last_run_message = message WHERE j.jobname = job_name;
END
$$;
COMMENT ON FUNCTION cron.record_run(text, text, text) IS 'Writes down how a run went.';

DO $$
DECLARE
    v_signature text;
BEGIN
    FOREACH v_signature IN ARRAY ARRAY[
        'schedule(text, text, text)', 'unschedule(text)', 'schedule_defaults()', 'record_run(text, text, text)'
    ] LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION cron.%s FROM PUBLIC', v_signature);
        EXECUTE format('GRANT EXECUTE ON FUNCTION cron.%s TO service_role', v_signature);
    END LOOP;
END
$$;

-- Only the first time: a job that an operator took off the schedule stays off when this file is applied again.
DO $$
BEGIN
    IF (SELECT s.last_value FROM pg_catalog.pg_sequences AS s WHERE s.schemaname = 'cron' AND s.sequencename = 'job_jobid_seq') IS NULL THEN
        PERFORM cron.schedule_defaults();
    END IF;
END
$$;
