-- Title:        What the pipeline leaves behind
-- Purpose:      Results of the stages, the ledger of effects, the relay's leadership, and counters shared by all processes.
-- Phase:        expand
-- Date:         2025-10-03
-- Dependencies: 20251001000000_create_base_schema

CREATE TABLE IF NOT EXISTS public.course_structures (
    course_id uuid NOT NULL REFERENCES public.courses (id) ON DELETE CASCADE,
    run_number integer NOT NULL,
    structure jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (course_id, run_number)
);
COMMENT ON TABLE public.course_structures IS 'The structure that stage 4 found, one per run.';

CREATE TABLE IF NOT EXISTS public.course_results (
    course_id uuid NOT NULL REFERENCES public.courses (id) ON DELETE CASCADE,
    run_number integer NOT NULL,
    result jsonb NOT NULL,
    markdown text NOT NULL,
    draft boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (course_id, run_number)
);
COMMENT ON TABLE public.course_results IS 'The finished course, one per run.';
COMMENT ON COLUMN public.course_results.draft IS 'True for an outline made from a title alone: material is missing.';

CREATE TABLE IF NOT EXISTS public.effect_ledger (
    effect_id uuid PRIMARY KEY,
    course_id uuid NOT NULL REFERENCES public.courses (id) ON DELETE CASCADE,
    job_type text NOT NULL,
    run_number integer NOT NULL,
    outcome text NOT NULL CHECK (outcome IN ('applied', 'skipped', 'failed')),
    detail jsonb NOT NULL DEFAULT '{}'::jsonb,
    applied_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS idx_effect_ledger_course ON public.effect_ledger (course_id, run_number);
COMMENT ON TABLE public.effect_ledger IS 'One row per finished job, written in the transaction of its effect: a second delivery finds it and changes nothing.';
COMMENT ON COLUMN public.effect_ledger.effect_id IS 'The outbox_id of the job. No foreign key: outbox rows are removed by retention, effects are not.';

CREATE TABLE IF NOT EXISTS public.relay_leadership (
    id boolean PRIMARY KEY DEFAULT true CHECK (id),
    epoch bigint NOT NULL DEFAULT 0,
    holder text,
    acquired_at timestamptz,
    heartbeat_at timestamptz,
    last_progress_at timestamptz,
    poll_interval_ms integer
) WITH (fillfactor = 50);
INSERT INTO public.relay_leadership (id) VALUES (true) ON CONFLICT (id) DO NOTHING;
COMMENT ON TABLE public.relay_leadership IS 'One row: who relays, under which epoch, and when it last lived. A transaction of an older epoch changes nothing.';

CREATE TABLE IF NOT EXISTS public.relay_nodes (
    node_id text PRIMARY KEY,
    role text NOT NULL DEFAULT 'standby' CHECK (role IN ('leader', 'standby')),
    started_at timestamptz NOT NULL DEFAULT now(),
    heartbeat_at timestamptz NOT NULL DEFAULT now(),
    detail jsonb NOT NULL DEFAULT '{}'::jsonb
) WITH (fillfactor = 50);
COMMENT ON TABLE public.relay_nodes IS 'Relays that run, leader and standbys, by their heartbeats.';

CREATE TABLE IF NOT EXISTS public.metric_values (
    name text NOT NULL,
    label text NOT NULL DEFAULT '',
    bucket integer NOT NULL DEFAULT 0,
    value double precision NOT NULL DEFAULT 0,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (name, label, bucket)
) WITH (fillfactor = 50);
COMMENT ON TABLE public.metric_values IS 'Counters and histogram buckets that outlive and are shared by the processes.';

DO $$
DECLARE
    v_table text;
BEGIN
    FOREACH v_table IN ARRAY ARRAY['course_structures', 'course_results', 'effect_ledger', 'relay_leadership', 'relay_nodes', 'metric_values'] LOOP
        EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY', v_table);
        EXECUTE format('ALTER TABLE public.%I FORCE ROW LEVEL SECURITY', v_table);
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_policies AS p WHERE p.schemaname = 'public' AND p.policyname = v_table || '_service_role') THEN
            EXECUTE format('CREATE POLICY %I ON public.%I TO service_role USING (true) WITH CHECK (true)', v_table || '_service_role', v_table);
        END IF;
        EXECUTE format('REVOKE ALL ON public.%I FROM PUBLIC, authenticated', v_table);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON public.%I TO service_role', v_table);
    END LOOP;
END
$$;
