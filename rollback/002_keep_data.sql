-- Title:    Partial rollback of the outbox: keep the data
-- Effect:   Nothing is dropped and no row is touched. The cleanup jobs are off the schedule, so that nothing expires meanwhile, and the
--           relay that leads now is fenced off: what it has in hand changes nothing any more. Requests are still accepted, and the
--           depth of the outbox grows.
-- Before:   Stop outbox-relay (replicas 0), or another leader goes on where this one stopped.
-- Run:      psql "$DATABASE_URL" -v ON_ERROR_STOP=1 -f rollback/002_keep_data.sql
-- Return:   SELECT cron.schedule_defaults(); then start outbox-relay: it begins with what is pending.

BEGIN;
SET LOCAL lock_timeout = '4s';

DO $$
DECLARE
    v_job text;
BEGIN
    FOR v_job IN
        SELECT j.jobname FROM cron.job AS j
        WHERE j.jobname IN ('cleanup_processed_outbox_entries', 'cleanup_expired_idempotency_keys', 'cleanup_old_fsm_events')
    LOOP
        PERFORM cron.unschedule(v_job);
    END LOOP;
END
$$;

UPDATE public.relay_leadership SET epoch = epoch + 1, holder = NULL;

COMMIT;

SELECT
    (SELECT count(*) FROM public.job_outbox WHERE processed_at IS NULL) AS pending_rows,
    (SELECT count(*) FROM public.idempotency_keys) AS kept_keys,
    (SELECT count(*) FROM public.fsm_events) AS kept_events;
