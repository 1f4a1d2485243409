-- Title:    Rollback level 4: remove the outbox
-- Effect:   The function, the three tables and both migration records are gone, with all their rows. Courses and documents stay.
--           No service starts afterwards: each names the missing relations.
-- Before:   1. Back up the database. 2. Stop api, outbox-relay, stage-worker and persistence-worker. On Kubernetes suspend every
--           DatabaseMigration first, or the operator applies the migrations again.
-- Run:      psql "$DATABASE_URL" -v ON_ERROR_STOP=1 -f rollback/000_level_4.sql
-- Return:   Restore the backup, or run `coursegen migrate`, which creates the tables again, empty,
--           and then SELECT cron.schedule_defaults() for the cleanup jobs.

BEGIN;
SET LOCAL lock_timeout = '4s';

DROP FUNCTION IF EXISTS public.initialize_fsm_with_outbox CASCADE;
DROP TABLE IF EXISTS public.fsm_events;
DROP TABLE IF EXISTS public.idempotency_keys;
DROP TABLE IF EXISTS public.job_outbox;

DO $$
DECLARE
    v_job text;
BEGIN
    -- Nothing is left for them to clean; `SELECT cron.schedule_defaults()` brings them back.
    IF to_regclass('cron.job') IS NOT NULL THEN
        FOR v_job IN
            SELECT j.jobname FROM cron.job AS j
            WHERE j.jobname IN ('cleanup_processed_outbox_entries', 'cleanup_expired_idempotency_keys', 'cleanup_old_fsm_events')
        LOOP
            PERFORM cron.unschedule(v_job);
        END LOOP;
    END IF;
END
$$;

DELETE FROM supabase_migrations.schema_migrations WHERE version IN ('20251118094238', '20251118095804');

COMMIT;
