-- Title:        Request context in outbox rows and jobs
-- Purpose:      Carries the request id, the W3C trace context and the tier of the request behind a run into every job of it.
-- Phase:        expand
-- Date:         2025-11-22
-- Dependencies: 20251118094238_create_transactional_outbox_tables
-- Amends:       20251118094238_create_transactional_outbox_tables (outbox_job_body)
--
-- The function is replaced in place; workers of either version read jobs of either form. initiate_one_v2 puts requestId,
-- traceparent and tier of a request into the metadata, stage workers hand them on to the jobs that follow.

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
    IF p_metadata <> '{}'::jsonb THEN
        -- Only texts: a worker refuses a job whose fields have the wrong type, and metadata may be written by hand.
        v_payload := v_payload || jsonb_strip_nulls(jsonb_build_object(
            'requestId', CASE WHEN jsonb_typeof(p_metadata -> 'requestId') = 'string' THEN p_metadata -> 'requestId' END,
            'traceparent', CASE WHEN jsonb_typeof(p_metadata -> 'traceparent') = 'string' THEN p_metadata -> 'traceparent' END,
            'tier', CASE WHEN jsonb_typeof(p_metadata -> 'tier') = 'string' THEN p_metadata -> 'tier' END
        ));
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
