-- Title:        initialize_fsm_with_outbox
-- Purpose:      State, outbox rows, event and idempotency key of an initiation in one transaction.
-- Phase:        expand
-- Date:         2025-11-18
-- Dependencies: 20251117150000_update_rpc_for_new_fsm, 20251118094238_create_transactional_outbox_tables
--
-- No NOTIFY in here: it would put all commits into one line. Whoever calls wakes the relay after the commit.

CREATE OR REPLACE FUNCTION public.initialize_fsm_with_outbox(
    p_entity_id uuid,
    p_user_id uuid,
    p_organization_id uuid,
    p_idempotency_key text,
    p_initiated_by text,
    p_initial_state text,
    p_job_data jsonb,
    p_metadata jsonb DEFAULT '{}'::jsonb
)
RETURNS jsonb
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path = public, pg_temp
-- Plans are kept per session. One made while the tables were small would read them from end to end after a burst.
SET enable_seqscan = off
AS $$
DECLARE
    -- The definer owns the tables; what counts is who asked: the role that was set, else the login.
    v_caller constant text := COALESCE(NULLIF(current_setting('role'), 'none'), session_user);
    v_now timestamptz;
    v_stamp text;
    v_metadata constant jsonb := COALESCE(p_metadata, '{}'::jsonb);
    v_created_by constant text := CASE
        WHEN p_initiated_by LIKE 'QUEUE%' THEN 'QUEUE' WHEN p_initiated_by LIKE 'WORKER%' THEN 'WORKER' ELSE 'API'
    END;
    v_owner uuid;
    v_organization uuid;
    v_old_state generation_status_enum;
    v_from generation_status_enum;
    v_begins boolean;
    v_new_state generation_status_enum;
    v_priority integer;
    v_run integer;
    v_progress jsonb;
    v_done integer;
    v_key_entity uuid;
    v_expires timestamptz;
    v_result jsonb;
    v_job jsonb;
    v_queue text;
    v_saq_queue text;
    v_job_type text;
    v_data jsonb;
    v_options jsonb;
    v_job_priority integer;
    v_outbox_id uuid;
    v_entries jsonb := '[]'::jsonb;
BEGIN
    IF p_idempotency_key IS NULL OR length(p_idempotency_key) NOT BETWEEN 1 AND 255 THEN
        RAISE EXCEPTION 'p_idempotency_key must have 1 to 255 characters' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF p_initiated_by IS NULL OR p_initiated_by = '' THEN
        RAISE EXCEPTION 'p_initiated_by must name the initiator' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF jsonb_typeof(v_metadata) <> 'object' THEN
        RAISE EXCEPTION 'p_metadata must be a JSON object' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF NOT pg_has_role(v_caller, 'service_role', 'USAGE')
        AND p_user_id::text IS DISTINCT FROM (NULLIF(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')
    THEN
        RAISE EXCEPTION 'role % may not act for user %', v_caller, p_user_id USING ERRCODE = 'insufficient_privilege';
    END IF;

    -- The row lock comes before the look-up of the key: of two calls with one key the second waits here and then finds the first's result.
    SELECT c.user_id, c.organization_id, c.generation_status, c.priority, c.run_number, c.generation_progress
    INTO v_owner, v_organization, v_old_state, v_priority, v_run, v_progress
    FROM courses AS c
    WHERE c.id = p_entity_id
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'course % does not exist', p_entity_id USING ERRCODE = 'no_data_found';
    END IF;
    IF v_owner IS DISTINCT FROM p_user_id OR v_organization IS DISTINCT FROM p_organization_id THEN
        RAISE EXCEPTION 'course % does not belong to user % of organisation %', p_entity_id, p_user_id, p_organization_id
            USING ERRCODE = 'insufficient_privilege';
    END IF;

    v_now := clock_timestamp();
    SELECT k.entity_id, k.expires_at, k.result_cache
    INTO v_key_entity, v_expires, v_result
    FROM idempotency_keys AS k
    WHERE k.idempotency_key = p_idempotency_key;
    IF FOUND AND v_expires > v_now THEN
        IF v_key_entity IS DISTINCT FROM p_entity_id THEN
            RAISE EXCEPTION 'idempotency key is bound to another course' USING ERRCODE = 'unique_violation';
        END IF;
        RETURN v_result;
    END IF;

    v_new_state := p_initial_state::generation_status_enum;
    IF v_new_state IS NULL OR v_new_state NOT IN ('stage_2_init', 'stage_4_init', 'stage_5_init') THEN
        RAISE EXCEPTION '% is not a state to begin with', COALESCE(p_initial_state, 'NULL') USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF p_job_data IS NULL OR jsonb_typeof(p_job_data) <> 'array' THEN
        RAISE EXCEPTION 'p_job_data must be a JSON array of jobs' USING ERRCODE = 'invalid_parameter_value';
    END IF;

    -- ── State ──
    v_from := v_old_state;
    IF v_old_state IN ('completed', 'cancelled', 'error') THEN
        -- A new run is a user's wish. A late job of the old run must not begin one.
        IF v_created_by <> 'API' THEN
            RAISE EXCEPTION 'Invalid generation status transition: % -> %', v_old_state, v_new_state USING ERRCODE = 'check_violation';
        END IF;
        UPDATE courses SET generation_status = 'pending' WHERE id = p_entity_id RETURNING run_number INTO v_run;
        INSERT INTO fsm_events (entity_id, event_type, old_state, new_state, triggered_by, created_by, user_id, metadata, run_number, created_at)
        VALUES (p_entity_id, 'STATE_CHANGED', v_old_state, 'pending', p_initiated_by, v_created_by, p_user_id, v_metadata, v_run, v_now);
        v_from := 'pending';
    END IF;

    v_stamp := to_char(v_now AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"');
    v_done := CASE v_new_state WHEN 'stage_2_init' THEN 1 WHEN 'stage_4_init' THEN 2 ELSE 3 END;
    v_begins := v_from IS NULL OR v_from = 'pending';
    IF v_begins THEN
        v_progress := generation_progress_template(v_done, v_stamp);
    ELSE
        FOR v_step IN 1 .. v_done LOOP
            IF v_progress #>> ARRAY['steps', (v_step - 1)::text, 'status'] IS DISTINCT FROM 'completed' THEN
                v_progress := update_course_progress(p_entity_id, v_step, 'completed', v_progress #>> ARRAY['steps', (v_step - 1)::text, 'message']);
            END IF;
        END LOOP;
    END IF;
    UPDATE courses
    SET generation_status = v_new_state,
        generation_progress = v_progress,
        error_message = NULL,
        has_files = CASE WHEN v_begins THEN v_new_state = 'stage_2_init' ELSE has_files END
    WHERE id = p_entity_id;

    -- ── Outbox rows ──
    FOR v_index IN 0 .. jsonb_array_length(p_job_data) - 1 LOOP
        v_job := p_job_data -> v_index;
        v_queue := COALESCE(v_job ->> 'queue', v_job ->> 'queue_name');
        v_job_type := COALESCE(v_job ->> 'job_type', v_job ->> 'jobType');
        v_data := COALESCE(v_job -> 'data', '{}'::jsonb);
        v_options := COALESCE(NULLIF(v_job -> 'options', 'null'::jsonb), '{}'::jsonb);
        v_job_priority := COALESCE((v_job ->> 'priority')::integer, v_priority);
        IF v_queue IS NULL OR length(v_queue) NOT BETWEEN 1 AND 100
            OR jsonb_typeof(v_data) <> 'object' OR jsonb_typeof(v_options) <> 'object'
        THEN
            RAISE EXCEPTION 'job % needs a queue of 1 to 100 characters; data and options must be JSON objects', v_index
                USING ERRCODE = 'invalid_parameter_value';
        END IF;

        v_outbox_id := gen_random_uuid();
        v_saq_queue := outbox_route(v_queue, v_job_type);
        INSERT INTO job_outbox (
            outbox_id, entity_id, queue_name, saq_queue, job_type, job_data, job_options, priority, metadata, run_number, max_retries, created_at,
            job_body
        )
        VALUES (
            v_outbox_id, p_entity_id, v_queue, v_saq_queue, v_job_type, v_data, v_options, v_job_priority, v_metadata, v_run,
            COALESCE((v_job ->> 'max_retries')::integer, 5), v_now,
            outbox_job_body(v_outbox_id, p_entity_id, v_saq_queue, v_job_type, v_data, v_options, v_metadata, v_job_priority, v_run, v_now)
        );
        v_entries := v_entries || jsonb_build_object(
            'outbox_id', v_outbox_id, 'queue_name', v_queue, 'job_type', v_job_type, 'saq_queue', v_saq_queue, 'priority', v_job_priority
        );
    END LOOP;

    -- ── Event and key ──
    INSERT INTO fsm_events (
        entity_id, event_type, event_data, old_state, new_state, triggered_by, created_by, user_id, metadata, run_number, created_at
    )
    VALUES (
        p_entity_id, 'FSM_INITIALIZED', jsonb_build_object('idempotencyKey', p_idempotency_key, 'jobs', jsonb_array_length(v_entries)),
        v_from, v_new_state, p_initiated_by, v_created_by, p_user_id, v_metadata, v_run, v_now
    );

    v_result := jsonb_build_object(
        'fsmState', jsonb_build_object(
            'courseId', p_entity_id, 'oldState', v_from, 'newState', v_new_state, 'initiatedBy', p_initiated_by,
            'entity_id', p_entity_id, 'state', v_new_state, 'version', 1, 'created_by', p_user_id, 'created_at', v_stamp
        ),
        'outboxEntries', v_entries
    );
    INSERT INTO idempotency_keys AS k (idempotency_key, result_cache, entity_id, created_at, expires_at)
    VALUES (p_idempotency_key, v_result, p_entity_id, v_now, v_now + interval '24 hours')
    ON CONFLICT (idempotency_key) DO UPDATE
    SET result_cache = excluded.result_cache, entity_id = excluded.entity_id, created_at = excluded.created_at, expires_at = excluded.expires_at
    WHERE k.expires_at <= v_now;
    IF NOT FOUND THEN
        -- Somebody used the key for another course between look-up and write.
        RAISE EXCEPTION 'idempotency key is bound to another course' USING ERRCODE = 'unique_violation';
    END IF;
    RETURN v_result;
END
$$;
COMMENT ON FUNCTION public.initialize_fsm_with_outbox(uuid, uuid, uuid, text, text, text, jsonb, jsonb) IS
    'Begins a stage: state, outbox rows, event and key in one transaction. The same key again returns the stored result and writes nothing.';
REVOKE EXECUTE ON FUNCTION public.initialize_fsm_with_outbox(uuid, uuid, uuid, text, text, text, jsonb, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.initialize_fsm_with_outbox(uuid, uuid, uuid, text, text, text, jsonb, jsonb) TO authenticated, service_role;
