-- Title:    Rollback of the progress function and the system metrics
-- Effect:   Function, table and the two types are gone, with the log of critical events; in this order none of them needs CASCADE.
--           Progress of courses stays as it is; workers write it directly from then on.
-- Before:   1. Back up the database. 2. Stop api, outbox-relay and stage-worker. On Kubernetes suspend every DatabaseMigration first.
-- Run:      psql "$DATABASE_URL" -v ON_ERROR_STOP=1 -f rollback/003_progress.sql
-- Return:   Run `coursegen migrate`.

BEGIN;
SET LOCAL lock_timeout = '4s';

DROP FUNCTION IF EXISTS public.update_course_progress;
DROP TABLE IF EXISTS public.system_metrics;
DROP TYPE IF EXISTS public.metric_severity;
DROP TYPE IF EXISTS public.metric_event_type;

DELETE FROM supabase_migrations.schema_migrations WHERE version IN ('20251020090000', '20251020090100');

COMMIT;
