-- Title:        System metrics
-- Purpose:      A log of critical events that an operator or a dashboard reads.
-- Phase:        expand
-- Date:         2025-10-20
-- Dependencies: 20251001000000_create_base_schema

-- The two types are used by this table alone: they are dropped without CASCADE after it.
DO $$
BEGIN
    IF to_regtype('public.metric_event_type') IS NULL THEN
        CREATE TYPE public.metric_event_type AS ENUM ('job_rollback', 'orphaned_job_recovery', 'concurrency_limit_hit');
    END IF;
    IF to_regtype('public.metric_severity') IS NULL THEN
        CREATE TYPE public.metric_severity AS ENUM ('info', 'warning', 'error', 'critical');
    END IF;
END
$$;
COMMENT ON TYPE public.metric_event_type IS 'Critical events that are logged.';
COMMENT ON TYPE public.metric_severity IS 'How bad a logged event is.';

-- No foreign keys: an event is kept when its course or user is gone.
CREATE TABLE IF NOT EXISTS public.system_metrics (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_type public.metric_event_type NOT NULL,
    severity public.metric_severity NOT NULL DEFAULT 'info',
    user_id uuid,
    course_id uuid,
    job_id uuid,
    metadata jsonb NOT NULL DEFAULT '{}'::jsonb,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS idx_system_metrics_event_type ON public.system_metrics (event_type, created_at);
CREATE INDEX IF NOT EXISTS idx_system_metrics_severity ON public.system_metrics (severity, created_at);
COMMENT ON TABLE public.system_metrics IS 'Critical events: an initiation given up, an orphaned job recovered, a concurrency limit hit.';

ALTER TABLE public.system_metrics ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.system_metrics FORCE ROW LEVEL SECURITY;
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_policies AS p WHERE p.schemaname = 'public' AND p.policyname = 'system_metrics_service_role') THEN
        CREATE POLICY system_metrics_service_role ON public.system_metrics TO service_role USING (true) WITH CHECK (true);
    END IF;
END
$$;
REVOKE ALL ON public.system_metrics FROM PUBLIC, authenticated;
GRANT SELECT, INSERT, UPDATE, DELETE ON public.system_metrics TO service_role;
