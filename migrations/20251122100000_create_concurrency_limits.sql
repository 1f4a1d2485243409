-- Title:        Concurrency limits
-- Purpose:      Limits that an operator has changed; the API's command can be asked what it would do, and can count running courses itself.
-- Phase:        expand
-- Date:         2025-11-22
-- Dependencies: 20251120100000_create_initiate_generation_rpc
--
-- The functions of the release before stay as they are for its processes, which may run beside this one's; nothing new calls them.

CREATE TABLE IF NOT EXISTS public.concurrency_limits (
    scope text PRIMARY KEY CHECK (scope IN ('global', 'FREE', 'BASIC', 'STANDARD', 'TRIAL', 'PREMIUM')),
    slots integer NOT NULL CHECK (slots BETWEEN 1 AND 10000),
    changed_by uuid,
    changed_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE public.concurrency_limits IS
    'Courses in generation at once, as an operator has changed them: of all users (global), of one user by tier. What is not here is as configured.';
COMMENT ON COLUMN public.concurrency_limits.changed_by IS 'Who changed it. No foreign key: an administrator need not own courses.';

ALTER TABLE public.concurrency_limits ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.concurrency_limits FORCE ROW LEVEL SECURITY;
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_policies AS p WHERE p.schemaname = 'public' AND p.policyname = 'concurrency_limits_service_role') THEN
        CREATE POLICY concurrency_limits_service_role ON public.concurrency_limits TO service_role USING (true) WITH CHECK (true);
    END IF;
END
$$;
REVOKE ALL ON public.concurrency_limits FROM PUBLIC, authenticated;
GRANT SELECT, INSERT, UPDATE, DELETE ON public.concurrency_limits TO service_role;

CREATE OR REPLACE FUNCTION public.concurrency_refusal(p_user_id uuid, p_limits jsonb)
RETURNS jsonb
LANGUAGE plpgsql
VOLATILE
SET search_path = public, pg_temp
AS $$
DECLARE
    v_all bigint;
    v_own bigint;
BEGIN
    IF p_limits IS NULL THEN
        RETURN NULL;
    END IF;
    SELECT count(*), count(*) FILTER (WHERE c.user_id = p_user_id)
    INTO v_all, v_own
    FROM courses AS c
    WHERE c.generation_status >= 'stage_2_init' AND c.generation_status <= 'stage_5_complete';
    IF v_own >= (p_limits ->> 'user')::integer THEN
        RETURN jsonb_build_object('status', 'limited', 'limitType', 'user', 'limit', p_limits -> 'user', 'current', v_own);
    ELSIF v_all >= (p_limits ->> 'global')::integer THEN
        RETURN jsonb_build_object('status', 'limited', 'limitType', 'global', 'limit', p_limits -> 'global', 'current', v_all);
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION public.concurrency_refusal(uuid, jsonb) IS
    'The limit that one more course of this user would exceed, counted over running courses; NULL when there is room, or nothing to compare with.';
REVOKE EXECUTE ON FUNCTION public.concurrency_refusal(uuid, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.concurrency_refusal(uuid, jsonb) TO service_role;

CREATE OR REPLACE FUNCTION public.course_is_running(p_course_id text)
RETURNS boolean
LANGUAGE plpgsql
STABLE
SET search_path = public, pg_temp
AS $$
BEGIN
    IF p_course_id IS NULL OR p_course_id !~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN
        RETURN false;
    END IF;
    RETURN EXISTS (
        SELECT FROM courses AS c
        WHERE c.id = p_course_id::uuid AND c.generation_status >= 'stage_2_init' AND c.generation_status <= 'stage_5_complete'
    );
END
$$;
COMMENT ON FUNCTION public.course_is_running(text) IS 'Whether a run of the course is under way; false for what is no identifier.';
REVOKE EXECUTE ON FUNCTION public.course_is_running(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.course_is_running(text) TO service_role;

CREATE OR REPLACE FUNCTION public.initiate_one_v2(p_request jsonb)
RETURNS jsonb
LANGUAGE plpgsql
VOLATILE
SET search_path = public, pg_temp
-- Plans are kept per session. One made while the tables were small would read them from end to end after a burst.
SET enable_seqscan = off
AS $$
DECLARE
    v_course_id constant uuid := (p_request ->> 'courseId')::uuid;
    v_user_id constant uuid := (p_request ->> 'userId')::uuid;
    v_has_files constant boolean := (p_request ->> 'hasFiles')::boolean;
    v_client_key constant text := p_request ->> 'clientKey';
    -- A probe decides and changes nothing: it locks no row and answers `clear` where the request itself would be accepted.
    v_is_probe constant boolean := COALESCE((p_request ->> 'probe')::boolean, false);
    v_course record;
    v_created boolean := false;
    v_stage text;
    v_job_type text;
    v_key text;
    v_key_row record;
    v_documents uuid[] := '{}';
    v_data jsonb;
    v_jobs jsonb := '[]'::jsonb;
    v_result jsonb;
    v_entries jsonb;
    v_document uuid;
    v_refusal jsonb;
BEGIN
    -- ── The course: found, created (a title was given), or unknown ──
    LOOP
        IF v_is_probe THEN
            SELECT c.user_id, c.organization_id, c.title, c.generation_status, c.run_number, c.style, c.language, c.webhook_url, c.tier, c.priority, c.has_files
            INTO v_course
            FROM courses AS c
            WHERE c.id = v_course_id;
        ELSE
            SELECT c.user_id, c.organization_id, c.title, c.generation_status, c.run_number, c.style, c.language, c.webhook_url, c.tier, c.priority, c.has_files
            INTO v_course
            FROM courses AS c
            WHERE c.id = v_course_id
            FOR NO KEY UPDATE;
        END IF;
        EXIT WHEN FOUND;
        IF p_request ->> 'title' IS NULL THEN
            RETURN jsonb_build_object('status', 'not_found', 'courseId', v_course_id);
        ELSIF p_request ->> 'organizationId' IS NULL THEN
            RETURN jsonb_build_object('status', 'organization_required', 'courseId', v_course_id);
        ELSIF v_has_files THEN
            RETURN jsonb_build_object('status', 'no_documents', 'courseId', v_course_id);
        ELSIF v_client_key IS NOT NULL AND EXISTS (
            SELECT FROM idempotency_keys AS k
            WHERE k.idempotency_key = v_client_key AND k.expires_at > clock_timestamp() AND k.entity_id IS DISTINCT FROM v_course_id
        ) THEN
            RETURN jsonb_build_object('status', 'key_conflict', 'courseId', v_course_id);
        ELSIF v_is_probe THEN
            RETURN jsonb_build_object('status', 'clear', 'courseId', v_course_id, 'runNumber', 1);
        END IF;
        v_refusal := concurrency_refusal(v_user_id, p_request -> 'limits');
        IF v_refusal IS NOT NULL THEN
            RETURN v_refusal || jsonb_build_object('courseId', v_course_id);
        END IF;
        v_created := create_course(v_course_id, v_user_id, (p_request ->> 'organizationId')::uuid, p_request ->> 'title', p_request);
    END LOOP;
    IF v_course.user_id <> v_user_id THEN
        RETURN jsonb_build_object('status', 'forbidden', 'courseId', v_course_id);
    END IF;

    -- ── The branch ──
    IF v_has_files IS NOT FALSE AND NOT v_created THEN
        SELECT COALESCE(array_agg(d.id ORDER BY d.position, d.created_at, d.id), '{}')
        INTO v_documents
        FROM documents AS d
        WHERE d.course_id = v_course_id;
    END IF;
    IF COALESCE(v_has_files, v_documents <> '{}') THEN
        v_stage := 'stage_2_init';
        v_job_type := 'DOCUMENT_PROCESSING';
    ELSE
        v_stage := 'stage_4_init';
        v_job_type := 'STRUCTURE_ANALYSIS';
    END IF;

    -- ── Replay: before anything that could refuse it ──
    v_key := COALESCE(v_client_key, 'course:' || v_course_id || ':' || v_stage || ':run:' || v_course.run_number);
    SELECT k.idempotency_key, k.entity_id, k.result_cache
    INTO v_key_row
    FROM idempotency_keys AS k
    WHERE k.idempotency_key = v_key AND k.expires_at > clock_timestamp();
    IF NOT FOUND AND v_client_key IS NULL AND v_has_files IS NULL AND v_course.has_files IS DISTINCT FROM (v_stage = 'stage_2_init') THEN
        -- Documents that came or went meanwhile must not turn a repeated request into another one.
        SELECT k.idempotency_key, k.entity_id, k.result_cache
        INTO v_key_row
        FROM idempotency_keys AS k
        WHERE k.idempotency_key = replace(
                v_key, v_stage, CASE v_stage WHEN 'stage_2_init' THEN 'stage_4_init' ELSE 'stage_2_init' END
            )
            AND k.expires_at > clock_timestamp();
    END IF;
    IF FOUND AND v_key_row.entity_id IS DISTINCT FROM v_course_id THEN
        IF v_created THEN
            DELETE FROM courses WHERE id = v_course_id;
        END IF;
        RETURN jsonb_build_object('status', 'key_conflict', 'courseId', v_course_id);
    ELSIF FOUND THEN
        RETURN jsonb_build_object(
            'status', 'replay', 'courseId', v_course_id, 'idempotencyKey', v_key_row.idempotency_key, 'runNumber', v_course.run_number,
            'running', COALESCE(v_course.generation_status >= 'stage_2_init' AND v_course.generation_status <= 'stage_5_complete', false),
            'jobId', v_key_row.result_cache #> '{outboxEntries,0,outbox_id}',
            'entries', jsonb_array_length(v_key_row.result_cache -> 'outboxEntries')
        );
    END IF;

    -- ── Refusals ──
    IF v_course.generation_status NOT IN ('pending', 'completed', 'cancelled', 'error') THEN
        RETURN jsonb_build_object(
            'status', 'busy', 'courseId', v_course_id, 'runNumber', v_course.run_number, 'running', true,
            'jobId', (
                SELECT o.outbox_id FROM job_outbox AS o
                WHERE o.entity_id = v_course_id AND o.run_number = v_course.run_number
                ORDER BY o.position
                LIMIT 1
            )
        );
    ELSIF v_has_files AND v_documents = '{}' THEN
        RETURN jsonb_build_object('status', 'no_documents', 'courseId', v_course_id);
    ELSIF v_is_probe THEN
        RETURN jsonb_build_object(
            'status', 'clear', 'courseId', v_course_id,
            'runNumber', v_course.run_number + CASE v_course.generation_status WHEN 'completed' THEN 1 ELSE 0 END
        );
    END IF;
    IF NOT v_created THEN
        v_refusal := concurrency_refusal(v_user_id, p_request -> 'limits');
        IF v_refusal IS NOT NULL THEN
            RETURN v_refusal || jsonb_build_object('courseId', v_course_id);
        END IF;
    END IF;

    -- ── What the request changes in the course ──
    IF NOT v_created AND (
        v_course.style, v_course.language, v_course.webhook_url, v_course.tier, v_course.priority
    ) IS DISTINCT FROM (
        COALESCE(p_request ->> 'style', v_course.style), COALESCE(p_request ->> 'language', v_course.language),
        COALESCE(p_request ->> 'webhookUrl', v_course.webhook_url), COALESCE(p_request ->> 'tier', v_course.tier),
        COALESCE((p_request ->> 'priority')::integer, v_course.priority)
    ) THEN
        UPDATE courses AS c
        SET style = COALESCE(p_request ->> 'style', c.style),
            language = COALESCE(p_request ->> 'language', c.language),
            webhook_url = COALESCE(p_request ->> 'webhookUrl', c.webhook_url),
            tier = COALESCE(p_request ->> 'tier', c.tier),
            priority = COALESCE((p_request ->> 'priority')::integer, c.priority)
        WHERE c.id = v_course_id
        RETURNING c.style, c.language INTO v_course.style, v_course.language;
    END IF;
    IF v_documents <> '{}' THEN
        UPDATE documents AS d
        SET status = 'uploaded', failure_reason = NULL, processed_at = NULL
        WHERE d.course_id = v_course_id AND d.status <> 'uploaded';
    END IF;

    -- ── The jobs ──
    v_data := jsonb_build_object(
        'courseId', v_course_id, 'userId', v_user_id, 'organizationId', v_course.organization_id, 'jobType', v_job_type,
        'title', v_course.title, 'style', v_course.style, 'language', v_course.language,
        'createdAt', to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
    );
    IF v_stage = 'stage_2_init' THEN
        FOREACH v_document IN ARRAY v_documents LOOP
            v_jobs := v_jobs || jsonb_build_object(
                'queue', 'course-generation', 'job_type', v_job_type, 'data', v_data || jsonb_build_object('documentId', v_document)
            );
        END LOOP;
    ELSE
        v_jobs := jsonb_build_array(jsonb_build_object('queue', 'course-generation', 'job_type', v_job_type, 'data', v_data));
    END IF;

    -- A completed course whose key has expired begins its next run, and the key says so.
    IF v_course.generation_status = 'completed' THEN
        v_course.run_number := v_course.run_number + 1;
        v_key := COALESCE(v_client_key, 'course:' || v_course_id || ':' || v_stage || ':run:' || v_course.run_number);
    END IF;
    v_result := initialize_fsm_with_outbox(
        v_course_id, v_user_id, v_course.organization_id, v_key, COALESCE(p_request ->> 'initiatedBy', 'API_INITIATE'), v_stage, v_jobs,
        jsonb_strip_nulls(jsonb_build_object(
            'requestId', p_request -> 'requestId', 'traceparent', p_request -> 'traceparent', 'tier', p_request -> 'tier'
        ))
    );
    v_entries := v_result -> 'outboxEntries';
    RETURN jsonb_build_object(
        'status', 'accepted', 'courseId', v_course_id, 'idempotencyKey', v_key, 'runNumber', v_course.run_number, 'running', true,
        'jobId', v_entries #> '{0,outbox_id}', 'entries', jsonb_array_length(v_entries), 'created', v_created
    );
END
$$;
COMMENT ON FUNCTION public.initiate_one_v2(jsonb) IS
    'One initiation; raises where something is broken, answers where the caller may not or must not. With "probe": true it only says what it would do.';
REVOKE EXECUTE ON FUNCTION public.initiate_one_v2(jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.initiate_one_v2(jsonb) TO service_role;

CREATE OR REPLACE FUNCTION public.initiate_isolated_v2(p_request jsonb)
RETURNS jsonb
LANGUAGE plpgsql
VOLATILE
SET search_path = public, pg_temp
AS $$
DECLARE
    v_state text;
    v_message text;
BEGIN
    RETURN initiate_one_v2(p_request);
EXCEPTION
    WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS v_state = RETURNED_SQLSTATE, v_message = MESSAGE_TEXT;
        -- A server that cannot write (read-only, out of memory or disk, going down) fails the call, not the item.
        IF v_state = '25006' OR left(v_state, 2) IN ('53', '57', '58', 'XX') THEN
            RAISE;
        END IF;
        RETURN jsonb_build_object(
            'status', CASE WHEN v_message = 'idempotency key is bound to another course' THEN 'key_conflict' ELSE 'failed' END,
            'courseId', p_request -> 'courseId',
            'running', course_is_running(p_request ->> 'courseId'),
            'error', v_state || ': ' || v_message
        );
END
$$;
COMMENT ON FUNCTION public.initiate_isolated_v2(jsonb) IS 'initiate_one_v2 in a sub-transaction: what it wrote is undone when it fails, and the failure is the outcome.';
REVOKE EXECUTE ON FUNCTION public.initiate_isolated_v2(jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.initiate_isolated_v2(jsonb) TO service_role;

CREATE OR REPLACE FUNCTION public.initiate_generation_v2(p_requests jsonb)
RETURNS jsonb
LANGUAGE plpgsql
VOLATILE
SET search_path = public, pg_temp
AS $$
DECLARE
    v_order integer[];
    v_index integer;
    v_outcomes jsonb[];
BEGIN
    IF p_requests IS NULL OR jsonb_typeof(p_requests) <> 'array' THEN
        RAISE EXCEPTION 'p_requests must be a JSON array' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- Only who counts here must exclude the others, and does so before any row is locked: nobody waits in a circle.
    IF p_requests @? '$[*].limits' THEN
        PERFORM pg_advisory_xact_lock(7165074666592956276);
    END IF;
    IF jsonb_array_length(p_requests) = 1 THEN
        RETURN jsonb_build_array(initiate_isolated_v2(p_requests -> 0));
    END IF;

    -- In the order of the courses, so that two calls at once cannot wait for each other.
    SELECT array_agg(r.ordinal::integer - 1 ORDER BY r.request ->> 'courseId', r.ordinal)
    INTO v_order
    FROM jsonb_array_elements(p_requests) WITH ORDINALITY AS r (request, ordinal);

    BEGIN
        FOREACH v_index IN ARRAY COALESCE(v_order, '{}') LOOP
            v_outcomes[v_index] := initiate_one_v2(p_requests -> v_index);
        END LOOP;
    EXCEPTION
        WHEN OTHERS THEN
            -- One item broke and took the others with it: once more, each on its own.
            FOREACH v_index IN ARRAY v_order LOOP
                v_outcomes[v_index] := initiate_isolated_v2(p_requests -> v_index);
            END LOOP;
    END;
    RETURN to_jsonb(COALESCE(v_outcomes, '{}'));
END
$$;
COMMENT ON FUNCTION public.initiate_generation_v2(jsonb) IS
    'An array of initiations in, an array of outcomes out, in the same order and in one transaction; an item that fails leaves the others alone. With "limits" the courses that run are counted here.';
REVOKE EXECUTE ON FUNCTION public.initiate_generation_v2(jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.initiate_generation_v2(jsonb) TO service_role;
