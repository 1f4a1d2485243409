-- Title:        Transactional outbox
-- Purpose:      job_outbox, idempotency_keys and fsm_events: what an initiation writes in one transaction.
-- Phase:        expand
-- Date:         2025-11-18
-- Dependencies: 20251001000000_create_base_schema
--
-- The three tables are dropped without CASCADE by rollback/002_full.sql: no view, no SQL-body function, no foreign key may hang on them.
-- The tables are empty when their indexes are made, so these need no CONCURRENTLY.

-- ── Where a job goes, and the bytes that go there ───────────────────────────────────────────────────────────────────
CREATE OR REPLACE FUNCTION public.outbox_route(p_queue_name text, p_job_type text)
RETURNS text
LANGUAGE plpgsql
IMMUTABLE
PARALLEL SAFE
SET search_path = public, pg_temp
AS $$
BEGIN
    IF p_queue_name <> 'course-generation' THEN
        RETURN p_queue_name;
    END IF;
    RETURN CASE p_job_type
        WHEN 'DOCUMENT_PROCESSING' THEN 'course-generation:documents'
        WHEN 'STRUCTURE_ANALYSIS' THEN 'course-generation:analysis'
        WHEN 'STRUCTURE_GENERATION' THEN 'course-generation:generation'
        ELSE p_queue_name
    END;
END
$$;
COMMENT ON FUNCTION public.outbox_route(text, text) IS 'The saq queue of a job: the pipeline queue is split by job type, any other queue keeps its name.';
REVOKE EXECUTE ON FUNCTION public.outbox_route(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.outbox_route(text, text) TO service_role;

CREATE OR REPLACE FUNCTION public.outbox_job_body(
    p_outbox_id uuid,
    p_entity_id uuid,
    p_saq_queue text,
    p_job_type text,
    p_job_data jsonb,
    p_job_options jsonb,
    p_metadata jsonb,
    p_priority integer,
    p_run_number integer,
    p_queued_at timestamptz
)
RETURNS text
LANGUAGE plpgsql
STABLE
PARALLEL SAFE
SET search_path = public, pg_temp
AS $$
DECLARE
    v_payload jsonb := p_job_data || jsonb_build_object(
        'outboxId', p_outbox_id,
        'courseId', p_entity_id,
        'jobType', p_job_type,
        'runNumber', p_run_number,
        'priority', p_priority
    );
    -- Seconds a job of this stage may run. The worker's heartbeat is what notices a dead one.
    v_timeout text := CASE p_job_type
        WHEN 'DOCUMENT_PROCESSING' THEN '600' WHEN 'STRUCTURE_ANALYSIS' THEN '900' WHEN 'STRUCTURE_GENERATION' THEN '1800' ELSE '600'
    END;
    v_heartbeat text := '20';
    v_retries text := '5';
    v_ttl text := '3600';
    v_retry_delay text := '1';
    v_retry_backoff text := '30';
BEGIN
    IF p_metadata ->> 'requestId' IS NOT NULL THEN
        v_payload := v_payload || jsonb_build_object('requestId', p_metadata -> 'requestId');
    END IF;
    IF p_job_options <> '{}'::jsonb THEN
        v_timeout := CASE WHEN jsonb_typeof(p_job_options -> 'timeout') = 'number' THEN p_job_options ->> 'timeout' ELSE v_timeout END;
        v_heartbeat := CASE WHEN jsonb_typeof(p_job_options -> 'heartbeat') = 'number' THEN p_job_options ->> 'heartbeat' ELSE v_heartbeat END;
        v_retries := CASE WHEN jsonb_typeof(p_job_options -> 'retries') = 'number' THEN p_job_options ->> 'retries' ELSE v_retries END;
        v_ttl := CASE WHEN jsonb_typeof(p_job_options -> 'ttl') = 'number' THEN p_job_options ->> 'ttl' ELSE v_ttl END;
        v_retry_delay := CASE WHEN jsonb_typeof(p_job_options -> 'retry_delay') = 'number'
            THEN p_job_options ->> 'retry_delay' ELSE v_retry_delay END;
        v_retry_backoff := CASE WHEN jsonb_typeof(p_job_options -> 'retry_backoff') IN ('number', 'boolean')
            THEN p_job_options ->> 'retry_backoff' ELSE v_retry_backoff END;
    END IF;

    RETURN '{"function":' || COALESCE(to_json(p_job_type)::text, '"unknown"')
        || ',"kwargs":{"payload":' || v_payload::text
        || '},"queue":' || to_json(p_saq_queue)::text
        || ',"key":"' || p_outbox_id::text
        || '","timeout":' || v_timeout
        || ',"heartbeat":' || v_heartbeat
        || ',"retries":' || v_retries
        || ',"ttl":' || v_ttl
        || ',"retry_delay":' || v_retry_delay
        || ',"retry_backoff":' || v_retry_backoff
        || ',"queued":' || (extract(epoch FROM p_queued_at) * 1000)::bigint
        || ',"status":"queued","priority":' || p_priority
        || '}';
END
$$;
COMMENT ON FUNCTION public.outbox_job_body(uuid, uuid, text, text, jsonb, jsonb, jsonb, integer, integer, timestamptz) IS
    'The final saq job as JSON text, built once when the row is written, so that the relay only copies bytes.';
REVOKE EXECUTE ON FUNCTION public.outbox_job_body(uuid, uuid, text, text, jsonb, jsonb, jsonb, integer, integer, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.outbox_job_body(uuid, uuid, text, text, jsonb, jsonb, jsonb, integer, integer, timestamptz) TO service_role;

-- ── job_outbox ──────────────────────────────────────────────────────────────────────────────────────────────────────
CREATE TABLE IF NOT EXISTS public.job_outbox (
    outbox_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    position bigint GENERATED ALWAYS AS IDENTITY,
    entity_id uuid NOT NULL REFERENCES public.courses (id) ON DELETE CASCADE,
    queue_name varchar(100) NOT NULL,
    saq_queue text NOT NULL,
    job_type text,
    job_data jsonb NOT NULL DEFAULT '{}'::jsonb,
    job_options jsonb NOT NULL DEFAULT '{}'::jsonb,
    job_body text NOT NULL,
    priority integer NOT NULL DEFAULT 1,
    metadata jsonb NOT NULL DEFAULT '{}'::jsonb,
    run_number integer,
    created_at timestamptz NOT NULL DEFAULT now(),
    processed_at timestamptz,
    retry_count integer NOT NULL DEFAULT 0 CHECK (retry_count >= 0),
    attempts integer GENERATED ALWAYS AS (retry_count) STORED,
    max_retries integer NOT NULL DEFAULT 5 CHECK (max_retries > 0),
    last_error text,
    last_attempt_at timestamptz,
    next_attempt_at timestamptz
);
-- Every row is updated once, and not in place: the partial indexes hang on processed_at. Clean up early and at full speed.
ALTER TABLE public.job_outbox SET (
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0.05
);
CREATE INDEX IF NOT EXISTS idx_job_outbox_pending ON public.job_outbox (saq_queue, priority DESC, position)
    WHERE processed_at IS NULL AND retry_count < max_retries;
CREATE INDEX IF NOT EXISTS idx_job_outbox_unprocessed ON public.job_outbox (created_at) WHERE processed_at IS NULL;
CREATE INDEX IF NOT EXISTS idx_job_outbox_entity ON public.job_outbox (entity_id, run_number);

COMMENT ON TABLE public.job_outbox IS 'Jobs committed together with the state they belong to; the relay copies them to Redis. Kept 30 days after that.';
COMMENT ON COLUMN public.job_outbox.position IS 'Order of writing. Never a cursor: a smaller one may be committed later.';
COMMENT ON COLUMN public.job_outbox.queue_name IS 'The queue as the caller names it.';
COMMENT ON COLUMN public.job_outbox.saq_queue IS 'The saq queue it is routed to; filled when absent.';
COMMENT ON COLUMN public.job_outbox.job_body IS 'The final saq job, JSON text; filled when absent.';
COMMENT ON COLUMN public.job_outbox.priority IS 'Higher first: FREE 1, BASIC 3, STANDARD 5, TRIAL 5, PREMIUM 10.';
COMMENT ON COLUMN public.job_outbox.run_number IS 'The run of the course this job belongs to.';
COMMENT ON COLUMN public.job_outbox.processed_at IS 'When it was put into Redis, or flushed by hand. NULL = pending, or dead when retry_count has reached max_retries.';
COMMENT ON COLUMN public.job_outbox.attempts IS 'Other name of retry_count.';
COMMENT ON COLUMN public.job_outbox.next_attempt_at IS 'Not before this time, after a transient failure of this row.';
COMMENT ON INDEX public.idx_job_outbox_pending IS 'What the relay claims, in the order in which it claims it.';
COMMENT ON INDEX public.idx_job_outbox_unprocessed IS 'Queue depth and the age of the oldest row, dead ones included.';
COMMENT ON INDEX public.idx_job_outbox_entity IS 'The jobs of a run; also carries the CASCADE from courses.';

CREATE OR REPLACE FUNCTION public.fill_job_outbox()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = public, pg_temp
AS $$
BEGIN
    NEW.run_number := COALESCE(NEW.run_number, (SELECT c.run_number FROM courses AS c WHERE c.id = NEW.entity_id), 1);
    NEW.saq_queue := COALESCE(NEW.saq_queue, outbox_route(NEW.queue_name, NEW.job_type));
    NEW.job_body := COALESCE(NEW.job_body, outbox_job_body(
        NEW.outbox_id, NEW.entity_id, NEW.saq_queue, NEW.job_type, NEW.job_data, NEW.job_options, NEW.metadata,
        NEW.priority, NEW.run_number, NEW.created_at
    ));
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION public.fill_job_outbox() IS 'Completes a row written by hand: run, route and job body.';
REVOKE EXECUTE ON FUNCTION public.fill_job_outbox() FROM PUBLIC;

CREATE OR REPLACE TRIGGER job_outbox_fill
    BEFORE INSERT ON public.job_outbox
    FOR EACH ROW
    WHEN (NEW.job_body IS NULL OR NEW.saq_queue IS NULL OR NEW.run_number IS NULL)
    EXECUTE FUNCTION public.fill_job_outbox();
COMMENT ON TRIGGER job_outbox_fill ON public.job_outbox IS 'Only for rows that bring no body of their own.';

-- ── idempotency_keys ────────────────────────────────────────────────────────────────────────────────────────────────
CREATE TABLE IF NOT EXISTS public.idempotency_keys (
    idempotency_key varchar(255) PRIMARY KEY,
    key varchar(255) GENERATED ALWAYS AS (idempotency_key) STORED,
    result_cache jsonb NOT NULL DEFAULT '{}'::jsonb,
    result jsonb GENERATED ALWAYS AS (result_cache) STORED,
    entity_id uuid REFERENCES public.courses (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL DEFAULT (now() + interval '24 hours')
);
CREATE INDEX IF NOT EXISTS idx_idempotency_created ON public.idempotency_keys (created_at);
CREATE INDEX IF NOT EXISTS idx_idempotency_expires ON public.idempotency_keys (entity_id, expires_at);

COMMENT ON TABLE public.idempotency_keys IS 'What an initiation answered under which key. Valid 24 hours, kept 7 days.';
COMMENT ON COLUMN public.idempotency_keys.key IS 'Other name of idempotency_key.';
COMMENT ON COLUMN public.idempotency_keys.result IS 'Other name of result_cache.';
COMMENT ON COLUMN public.idempotency_keys.expires_at IS 'From then on the key is free again; its old row is replaced.';
COMMENT ON INDEX public.idx_idempotency_created IS 'What retention removes.';
COMMENT ON INDEX public.idx_idempotency_expires IS 'The valid keys of a course; also carries the CASCADE from courses.';

-- ── fsm_events ──────────────────────────────────────────────────────────────────────────────────────────────────────
CREATE TABLE IF NOT EXISTS public.fsm_events (
    event_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    position bigint GENERATED ALWAYS AS IDENTITY,
    entity_id uuid NOT NULL REFERENCES public.courses (id) ON DELETE CASCADE,
    event_type varchar(50) NOT NULL,
    event_data jsonb NOT NULL DEFAULT '{}'::jsonb,
    old_state text,
    new_state text,
    triggered_by text,
    created_by varchar(20) NOT NULL CHECK (created_by IN ('API', 'QUEUE', 'WORKER')),
    user_id uuid REFERENCES auth.users (id) ON DELETE SET NULL,
    metadata jsonb NOT NULL DEFAULT '{}'::jsonb,
    run_number integer,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS idx_fsm_events_entity ON public.fsm_events (entity_id, position);
CREATE INDEX IF NOT EXISTS idx_fsm_events_created ON public.fsm_events (created_at);
CREATE INDEX IF NOT EXISTS idx_fsm_events_failures ON public.fsm_events (created_at DESC) WHERE metadata ? 'error';

COMMENT ON TABLE public.fsm_events IS 'Every move of every course, and every initiation that failed. Kept 90 days.';
COMMENT ON COLUMN public.fsm_events.event_type IS 'FSM_INITIALIZED, STATE_CHANGED or FSM_FAILED.';
COMMENT ON COLUMN public.fsm_events.new_state IS 'NULL when an initiation failed and nothing moved.';
COMMENT ON COLUMN public.fsm_events.triggered_by IS 'The initiator as it named itself, such as API_INITIATE.';
COMMENT ON COLUMN public.fsm_events.created_by IS 'API, QUEUE or WORKER by the prefix of triggered_by; anything else counts as API.';
COMMENT ON COLUMN public.fsm_events.metadata IS 'Context of the caller; the key error marks a failure.';
COMMENT ON INDEX public.idx_fsm_events_entity IS 'The history of a course, in order; also carries the CASCADE from courses.';
COMMENT ON INDEX public.idx_fsm_events_created IS 'Recent events, and what retention removes.';
COMMENT ON INDEX public.idx_fsm_events_failures IS 'The latest failures.';

-- ── Row security: service_role only ─────────────────────────────────────────────────────────────────────────────────
ALTER TABLE public.job_outbox ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.job_outbox FORCE ROW LEVEL SECURITY;
ALTER TABLE public.idempotency_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.idempotency_keys FORCE ROW LEVEL SECURITY;
ALTER TABLE public.fsm_events ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.fsm_events FORCE ROW LEVEL SECURITY;
DO $$
DECLARE
    v_table text;
BEGIN
    FOREACH v_table IN ARRAY ARRAY['job_outbox', 'idempotency_keys', 'fsm_events'] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_policies AS p WHERE p.schemaname = 'public' AND p.policyname = v_table || '_service_role') THEN
            EXECUTE format('CREATE POLICY %I ON public.%I TO service_role USING (true) WITH CHECK (true)', v_table || '_service_role', v_table);
        END IF;
    END LOOP;
END
$$;
REVOKE ALL ON public.job_outbox, public.idempotency_keys, public.fsm_events FROM PUBLIC, authenticated;
GRANT SELECT, INSERT, UPDATE, DELETE ON public.job_outbox, public.idempotency_keys, public.fsm_events TO service_role;
