-- Title:        Queues that are paused
-- Purpose:      The truth about what an administrator has paused; Redis, which workers ask, may forget it.
-- Phase:        expand
-- Date:         2025-11-22
-- Dependencies: 20251001000000_create_base_schema

CREATE TABLE IF NOT EXISTS public.queue_controls (
    saq_queue text PRIMARY KEY CHECK (length(saq_queue) BETWEEN 1 AND 200),
    paused boolean NOT NULL,
    reason text CHECK (length(reason) <= 500),
    changed_by uuid,
    changed_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE public.queue_controls IS 'Queues that were ever paused. A queue without a row is not. The relay''s leader applies it to Redis every few seconds.';
COMMENT ON COLUMN public.queue_controls.saq_queue IS 'The queue as job_outbox.saq_queue names it.';
COMMENT ON COLUMN public.queue_controls.paused IS 'While true, workers take nothing from the queue. What runs goes on, what waits stays.';
COMMENT ON COLUMN public.queue_controls.reason IS 'What the administrator said about it.';
COMMENT ON COLUMN public.queue_controls.changed_by IS 'The user who paused or resumed it last. No foreign key: the record outlives the user.';

ALTER TABLE public.queue_controls ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.queue_controls FORCE ROW LEVEL SECURITY;
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_policies AS p WHERE p.schemaname = 'public' AND p.policyname = 'queue_controls_service_role') THEN
        CREATE POLICY queue_controls_service_role ON public.queue_controls TO service_role USING (true) WITH CHECK (true);
    END IF;
END
$$;
REVOKE ALL ON public.queue_controls FROM PUBLIC, authenticated;
GRANT SELECT, INSERT, UPDATE, DELETE ON public.queue_controls TO service_role;
