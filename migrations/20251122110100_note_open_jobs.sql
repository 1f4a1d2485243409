-- Title:        Jobs beside the pipeline that are not done yet
-- Purpose:      Lets the reconciler find a job that Redis has lost although its course is not running: webhooks, jobs of plugins, jobs
--               that somebody wrote by hand.
-- Phase:        expand
-- Date:         2025-11-22
-- Dependencies: 20251003000000_create_pipeline_tables
-- Amends:       20251118094238_create_transactional_outbox_tables
--
-- A table beside job_outbox and not a ninth index on it: a running course's jobs, by far the most, are found through the course and
-- never stand here. No foreign key to job_outbox, which rollback/002_full.sql drops without CASCADE.

CREATE TABLE IF NOT EXISTS public.open_jobs (
    outbox_id uuid PRIMARY KEY,
    saq_queue text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
-- Rows come and go by the thousand; the table is small only if what is gone is cleaned away.
ALTER TABLE public.open_jobs SET (
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0
);
CREATE INDEX IF NOT EXISTS idx_open_jobs_queue ON public.open_jobs (saq_queue, outbox_id);
COMMENT ON TABLE public.open_jobs IS 'Jobs that the reconciler cannot find through a running course and that have had no effect yet. Kept by triggers.';
COMMENT ON COLUMN public.open_jobs.outbox_id IS 'The row of job_outbox, without a foreign key: a trigger removes what is left behind.';
COMMENT ON COLUMN public.open_jobs.saq_queue IS 'Only queues with a live worker of ours are compared with Redis; a foreign consumer leaves no ledger row.';
COMMENT ON INDEX public.idx_open_jobs_queue IS 'The open jobs of one queue, page by page.';

ALTER TABLE public.open_jobs ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.open_jobs FORCE ROW LEVEL SECURITY;
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_policies AS p WHERE p.schemaname = 'public' AND p.policyname = 'open_jobs_service_role') THEN
        CREATE POLICY open_jobs_service_role ON public.open_jobs TO service_role USING (true) WITH CHECK (true);
    END IF;
END
$$;
REVOKE ALL ON public.open_jobs FROM PUBLIC, authenticated;
GRANT SELECT, INSERT, UPDATE, DELETE ON public.open_jobs TO service_role;

-- ── Opened with the outbox row ──────────────────────────────────────────────────────────────────────────────────────
CREATE OR REPLACE FUNCTION public.note_open_job()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = public, pg_temp
AS $$
BEGIN
    INSERT INTO open_jobs (outbox_id, saq_queue)
    VALUES (NEW.outbox_id, COALESCE(NEW.saq_queue, outbox_route(NEW.queue_name, NEW.job_type)))
    ON CONFLICT (outbox_id) DO NOTHING;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION public.note_open_job() IS 'Writes the job of a new outbox row down as open.';
REVOKE EXECUTE ON FUNCTION public.note_open_job() FROM PUBLIC;

-- The command handler brings bodies, and puts the course to work in the same transaction. Its pipeline jobs cost nothing here.
CREATE OR REPLACE TRIGGER job_outbox_beside
    AFTER INSERT ON public.job_outbox
    FOR EACH ROW
    WHEN (
        NEW.queue_name <> 'course-generation'
        OR NEW.job_type IS NULL
        OR NEW.job_type NOT IN ('DOCUMENT_PROCESSING', 'STRUCTURE_ANALYSIS', 'STRUCTURE_GENERATION')
    )
    EXECUTE FUNCTION public.note_open_job();
COMMENT ON TRIGGER job_outbox_beside ON public.job_outbox IS 'Jobs beside the pipeline: their course need not be running.';

-- By name before job_outbox_fill, after which every row has a body.
CREATE OR REPLACE TRIGGER job_outbox_by_hand
    BEFORE INSERT ON public.job_outbox
    FOR EACH ROW
    WHEN (NEW.job_body IS NULL)
    EXECUTE FUNCTION public.note_open_job();
COMMENT ON TRIGGER job_outbox_by_hand ON public.job_outbox IS 'Jobs written without the command handler: their course may be pending.';

-- ── Closed with the effect, or with the outbox row ──────────────────────────────────────────────────────────────────
CREATE OR REPLACE FUNCTION public.close_open_job()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = public, pg_temp
-- Plans are kept per session. One made while the table was small would read all of it once it is large.
SET enable_seqscan = off
AS $$
BEGIN
    DELETE FROM open_jobs AS o WHERE o.outbox_id = NEW.effect_id;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION public.close_open_job() IS 'Forgets the open job whose effect has just been decided.';
REVOKE EXECUTE ON FUNCTION public.close_open_job() FROM PUBLIC;

CREATE OR REPLACE TRIGGER effect_ledger_close
    AFTER INSERT ON public.effect_ledger
    FOR EACH ROW
    EXECUTE FUNCTION public.close_open_job();
COMMENT ON TRIGGER effect_ledger_close ON public.effect_ledger IS 'A job whose effect is decided is not open.';

CREATE OR REPLACE FUNCTION public.forget_open_jobs()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = public, pg_temp
SET enable_seqscan = off
AS $$
BEGIN
    DELETE FROM open_jobs AS o USING gone AS g WHERE o.outbox_id = g.outbox_id;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION public.forget_open_jobs() IS 'Forgets the open jobs of outbox rows that were removed: by retention, or with their course.';
REVOKE EXECUTE ON FUNCTION public.forget_open_jobs() FROM PUBLIC;

CREATE OR REPLACE TRIGGER job_outbox_forget
    AFTER DELETE ON public.job_outbox
    REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT
    EXECUTE FUNCTION public.forget_open_jobs();
COMMENT ON TRIGGER job_outbox_forget ON public.job_outbox IS 'Stands for the foreign key that open_jobs must not have.';

-- ── What was there before ───────────────────────────────────────────────────────────────────────────────────────────
DELETE FROM public.open_jobs AS o WHERE NOT EXISTS (SELECT FROM public.job_outbox AS j WHERE j.outbox_id = o.outbox_id);
INSERT INTO public.open_jobs (outbox_id, saq_queue)
SELECT j.outbox_id, j.saq_queue
FROM public.job_outbox AS j
WHERE j.processed_at IS NULL
    AND (
        j.queue_name <> 'course-generation'
        OR j.job_type IS NULL
        OR j.job_type NOT IN ('DOCUMENT_PROCESSING', 'STRUCTURE_ANALYSIS', 'STRUCTURE_GENERATION')
    )
ON CONFLICT (outbox_id) DO NOTHING;
