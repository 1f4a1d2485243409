-- Title:        initiate_generation
-- Purpose:      The API's command: many initiations in one call, each accepted, replayed or refused on its own.
-- Phase:        expand
-- Date:         2025-11-20
-- Dependencies: 20251118095804_create_initialize_fsm_with_outbox_rpc

CREATE OR REPLACE FUNCTION public.course_slug(p_title text)
RETURNS text
LANGUAGE plpgsql
IMMUTABLE
PARALLEL SAFE
SET search_path = public, pg_temp
AS $$
DECLARE
    v_text text := lower(p_title);
    v_pair text[];
BEGIN
    FOREACH v_pair SLICE 1 IN ARRAY ARRAY[
        ['ж', 'zh'], ['ч', 'ch'], ['ш', 'sh'], ['щ', 'shch'], ['ю', 'yu'], ['я', 'ya'], ['ё', 'yo'], ['х', 'kh'], ['ц', 'ts'], ['ъ', ''], ['ь', '']
    ] LOOP
        v_text := replace(v_text, v_pair[1], v_pair[2]);
    END LOOP;
    v_text := translate(v_text, 'абвгдезийклмнопрстуфыэ', 'abvgdeziyklmnoprstufye');
    v_text := trim(BOTH '-' FROM left(regexp_replace(v_text, '[^a-z0-9]+', '-', 'g'), 80));
    RETURN COALESCE(NULLIF(v_text, ''), 'course');
END
$$;
COMMENT ON FUNCTION public.course_slug(text) IS 'A readable ASCII name for a title, Russian letters transliterated. Not unique by itself.';
REVOKE EXECUTE ON FUNCTION public.course_slug(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.course_slug(text) TO service_role;

CREATE OR REPLACE FUNCTION public.create_course(
    p_course_id uuid,
    p_user_id uuid,
    p_organization_id uuid,
    p_title text,
    p_attributes jsonb DEFAULT '{}'::jsonb
)
RETURNS boolean
LANGUAGE plpgsql
VOLATILE
SET search_path = public, pg_temp
AS $$
DECLARE
    v_slug constant text := course_slug(p_title);
    v_candidate text;
BEGIN
    INSERT INTO auth.users (id) VALUES (p_user_id) ON CONFLICT (id) DO NOTHING;
    FOREACH v_candidate IN ARRAY ARRAY[v_slug, v_slug || '-' || left(p_course_id::text, 8), v_slug || '-' || p_course_id::text] LOOP
        INSERT INTO courses (id, title, slug, user_id, organization_id, style, language, webhook_url, tier, priority)
        VALUES (
            p_course_id, p_title, v_candidate, p_user_id, p_organization_id,
            COALESCE(p_attributes ->> 'style', 'academic'), p_attributes ->> 'language', p_attributes ->> 'webhookUrl',
            COALESCE(p_attributes ->> 'tier', 'FREE'), COALESCE((p_attributes ->> 'priority')::integer, 1)
        )
        ON CONFLICT DO NOTHING;
        IF FOUND THEN
            RETURN true;
        END IF;
        IF EXISTS (SELECT FROM courses AS c WHERE c.id = p_course_id) THEN
            RETURN false;
        END IF;
    END LOOP;
    RETURN false;
END
$$;
COMMENT ON FUNCTION public.create_course(uuid, uuid, uuid, text, jsonb) IS
    'Creates a course with a free slug and knows its owner; false when the id was taken. Attributes: style, language, webhookUrl, tier, priority.';
REVOKE EXECUTE ON FUNCTION public.create_course(uuid, uuid, uuid, text, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.create_course(uuid, uuid, uuid, text, jsonb) TO service_role;

CREATE OR REPLACE FUNCTION public.initiate_one(p_request jsonb)
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
BEGIN
    -- ── The course: found, created (a title was given), or unknown ──
    LOOP
        SELECT c.user_id, c.organization_id, c.title, c.generation_status, c.run_number, c.style, c.language, c.webhook_url, c.tier, c.priority, c.has_files
        INTO v_course
        FROM courses AS c
        WHERE c.id = v_course_id
        FOR NO KEY UPDATE;
        EXIT WHEN FOUND;
        IF p_request ->> 'title' IS NULL THEN
            RETURN jsonb_build_object('status', 'not_found', 'courseId', v_course_id);
        ELSIF p_request ->> 'organizationId' IS NULL THEN
            RETURN jsonb_build_object('status', 'organization_required', 'courseId', v_course_id);
        ELSIF v_has_files THEN
            RETURN jsonb_build_object('status', 'no_documents', 'courseId', v_course_id);
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
            'jobId', v_key_row.result_cache #> '{outboxEntries,0,outbox_id}',
            'entries', jsonb_array_length(v_key_row.result_cache -> 'outboxEntries')
        );
    END IF;

    -- ── Refusals ──
    IF v_course.generation_status NOT IN ('pending', 'completed', 'cancelled', 'error') THEN
        RETURN jsonb_build_object(
            'status', 'busy', 'courseId', v_course_id, 'runNumber', v_course.run_number,
            'jobId', (
                SELECT o.outbox_id FROM job_outbox AS o
                WHERE o.entity_id = v_course_id AND o.run_number = v_course.run_number
                ORDER BY o.position
                LIMIT 1
            )
        );
    ELSIF v_has_files AND v_documents = '{}' THEN
        RETURN jsonb_build_object('status', 'no_documents', 'courseId', v_course_id);
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
        CASE WHEN p_request ->> 'requestId' IS NOT NULL THEN jsonb_build_object('requestId', p_request -> 'requestId') ELSE '{}'::jsonb END
    );
    v_entries := v_result -> 'outboxEntries';
    RETURN jsonb_build_object(
        'status', 'accepted', 'courseId', v_course_id, 'idempotencyKey', v_key, 'runNumber', v_course.run_number,
        'jobId', v_entries #> '{0,outbox_id}', 'entries', jsonb_array_length(v_entries), 'created', v_created
    );
END
$$;
COMMENT ON FUNCTION public.initiate_one(jsonb) IS 'One initiation; raises where something is broken, answers where the caller may not or must not.';
REVOKE EXECUTE ON FUNCTION public.initiate_one(jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.initiate_one(jsonb) TO service_role;

CREATE OR REPLACE FUNCTION public.initiate_isolated(p_request jsonb)
RETURNS jsonb
LANGUAGE plpgsql
VOLATILE
SET search_path = public, pg_temp
AS $$
DECLARE
    v_state text;
    v_message text;
BEGIN
    RETURN initiate_one(p_request);
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
            'error', v_state || ': ' || v_message
        );
END
$$;
COMMENT ON FUNCTION public.initiate_isolated(jsonb) IS 'initiate_one in a sub-transaction: what it wrote is undone when it fails, and the failure is the outcome.';
REVOKE EXECUTE ON FUNCTION public.initiate_isolated(jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.initiate_isolated(jsonb) TO service_role;

CREATE OR REPLACE FUNCTION public.initiate_generation(p_requests jsonb)
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
    ELSIF jsonb_array_length(p_requests) = 1 THEN
        RETURN jsonb_build_array(initiate_isolated(p_requests -> 0));
    END IF;

    -- In the order of the courses, so that two calls at once cannot wait for each other.
    SELECT array_agg(r.ordinal::integer - 1 ORDER BY r.request ->> 'courseId', r.ordinal)
    INTO v_order
    FROM jsonb_array_elements(p_requests) WITH ORDINALITY AS r (request, ordinal);

    BEGIN
        FOREACH v_index IN ARRAY COALESCE(v_order, '{}') LOOP
            v_outcomes[v_index] := initiate_one(p_requests -> v_index);
        END LOOP;
    EXCEPTION
        WHEN OTHERS THEN
            -- One item broke and took the others with it: once more, each on its own.
            FOREACH v_index IN ARRAY v_order LOOP
                v_outcomes[v_index] := initiate_isolated(p_requests -> v_index);
            END LOOP;
    END;
    RETURN to_jsonb(COALESCE(v_outcomes, '{}'));
END
$$;
COMMENT ON FUNCTION public.initiate_generation(jsonb) IS
    'An array of initiations in, an array of outcomes out, in the same order and in one transaction; an item that fails leaves the others alone.';
REVOKE EXECUTE ON FUNCTION public.initiate_generation(jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.initiate_generation(jsonb) TO service_role;
