-- Title:        Progress that only rises
-- Purpose:      Lets the percentage of a run never fall, and the function mend a progress document that lost its shape.
-- Phase:        expand
-- Date:         2025-11-22
-- Dependencies: 20251020090100_create_update_course_progress_rpc
-- Amends:       20251020090100_create_update_course_progress_rpc
--
-- Same parameters, same result type: code of either version works with either form of the function.

CREATE OR REPLACE FUNCTION public.update_course_progress(
    p_course_id uuid,
    p_step_id integer,
    p_status text,
    p_message text,
    p_error jsonb DEFAULT NULL,
    p_metadata jsonb DEFAULT '{}'::jsonb
)
RETURNS jsonb
LANGUAGE plpgsql
VOLATILE
SET search_path = public, pg_temp
AS $$
DECLARE
    v_stamp constant text := to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"');
    v_progress jsonb;
BEGIN
    IF p_step_id IS NULL OR p_step_id NOT BETWEEN 1 AND 5 THEN
        RAISE EXCEPTION 'p_step_id must be 1 to 5, not %', COALESCE(p_step_id::text, 'NULL') USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF p_status IS NULL OR p_status NOT IN ('pending', 'in_progress', 'completed', 'failed') THEN
        RAISE EXCEPTION 'p_status must be pending, in_progress, completed or failed, not %', COALESCE(p_status, 'NULL')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;

    UPDATE courses AS c
    SET generation_progress = (
            SELECT d.document || jsonb_build_object(
                'steps', jsonb_agg(s.step ORDER BY s.ordinal),
                -- A step that is set back is worked on again; what its owner has seen of the run's progress stays.
                'percentage', GREATEST(
                    20 * count(*) FILTER (WHERE s.step ->> 'status' = 'completed'),
                    LEAST(CASE WHEN jsonb_typeof(d.document -> 'percentage') = 'number' THEN (d.document ->> 'percentage')::numeric END, 100)
                ),
                'current_step', COALESCE(min((s.step ->> 'id')::integer) FILTER (WHERE s.step ->> 'status' <> 'completed'), 5),
                'message', p_message
            )
            FROM (
                -- A row from before this function, or one written by hand, may hold anything.
                SELECT CASE
                    WHEN jsonb_path_exists(c.generation_progress, '$.steps[4].id')
                        AND jsonb_array_length(c.generation_progress -> 'steps') = 5
                    THEN c.generation_progress
                    ELSE generation_progress_template()
                END AS document
            ) AS d
            CROSS JOIN LATERAL (
                SELECT
                    e.ordinal,
                    CASE WHEN (e.step ->> 'id')::integer <> p_step_id THEN e.step
                    ELSE e.step || jsonb_build_object(
                        'status', p_status,
                        'message', p_message,
                        -- The first time stays: a repeated call changes nothing.
                        'started_at', CASE WHEN p_status <> 'pending' THEN COALESCE(e.step ->> 'started_at', v_stamp) END,
                        'completed_at', CASE
                            WHEN p_status = 'completed' AND e.step ->> 'status' = 'completed' THEN COALESCE(e.step ->> 'completed_at', v_stamp)
                            -- Not before it began, even if the server's clock was set back.
                            WHEN p_status = 'completed' THEN GREATEST(v_stamp, e.step ->> 'started_at')
                        END,
                        'error', CASE WHEN p_status = 'failed' THEN p_error END
                    )
                    END AS step
                FROM jsonb_array_elements(d.document -> 'steps') WITH ORDINALITY AS e (step, ordinal)
            ) AS s
            GROUP BY d.document
        ),
        generation_metadata = CASE
            WHEN COALESCE(p_metadata, '{}'::jsonb) = '{}'::jsonb THEN c.generation_metadata
            ELSE c.generation_metadata || jsonb_build_object(p_step_id::text, p_metadata)
        END
    WHERE c.id = p_course_id
    RETURNING c.generation_progress INTO v_progress;

    IF NOT FOUND THEN
        RAISE EXCEPTION 'course % does not exist', p_course_id USING ERRCODE = 'no_data_found';
    END IF;
    RETURN v_progress;
END
$$;
COMMENT ON FUNCTION public.update_course_progress(uuid, integer, text, text, jsonb, jsonb) IS
    'Sets one of the five steps in a single UPDATE by primary key and returns the whole GenerationProgress. Repeating a call changes nothing; the percentage of a run never falls.';
REVOKE EXECUTE ON FUNCTION public.update_course_progress(uuid, integer, text, text, jsonb, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.update_course_progress(uuid, integer, text, text, jsonb, jsonb) TO service_role;
