-- Title:        The state machine of a course
-- Purpose:      Lets a course make legal moves only, whoever writes, and counts its runs.
-- Phase:        expand
-- Date:         2025-11-17
-- Dependencies: 20251001000000_create_base_schema
--
-- The same table stands as data in services/kernel/states.py; a test compares all pairs.

CREATE OR REPLACE FUNCTION public.guard_generation_status()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = public, pg_temp
AS $$
DECLARE
    v_from constant generation_status_enum := COALESCE(OLD.generation_status, 'pending');
    v_to constant generation_status_enum := COALESCE(NEW.generation_status, 'pending');
    v_legal boolean;
BEGIN
    NEW.updated_at := clock_timestamp();
    IF v_from = v_to THEN
        RETURN NEW;
    END IF;

    v_legal := CASE
        WHEN v_from IN ('completed', 'cancelled', 'error') THEN v_to = 'pending'
        WHEN v_to IN ('cancelled', 'error') THEN true
        -- A later stage may begin from any earlier state of a running course; never an earlier one (TRAP11).
        WHEN v_to IN ('stage_2_init', 'stage_4_init', 'stage_5_init') THEN v_from < v_to
        WHEN v_to = 'stage_2_processing' THEN v_from = 'stage_2_init'
        WHEN v_to = 'stage_2_complete' THEN v_from = 'stage_2_processing'
        WHEN v_to = 'stage_4_analyzing' THEN v_from = 'stage_4_init'
        WHEN v_to = 'stage_4_complete' THEN v_from = 'stage_4_analyzing'
        WHEN v_to = 'stage_5_generating' THEN v_from = 'stage_5_init'
        WHEN v_to = 'stage_5_complete' THEN v_from = 'stage_5_generating'
        WHEN v_to = 'completed' THEN v_from = 'stage_5_complete'
        ELSE false
    END;
    IF NOT v_legal THEN
        RAISE EXCEPTION 'Invalid generation status transition: % -> %', v_from, v_to
            USING ERRCODE = 'check_violation', TABLE = 'courses', COLUMN = 'generation_status', CONSTRAINT = 'guard_generation_status';
    END IF;

    -- One step up per finished run: at its end if that was bad, else when the course is taken up again (GAP8).
    IF v_to IN ('error', 'cancelled') OR v_from = 'completed' THEN
        NEW.run_number := OLD.run_number + 1;
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION public.guard_generation_status() IS 'Refuses illegal moves of generation_status, raises run_number, keeps updated_at.';
REVOKE EXECUTE ON FUNCTION public.guard_generation_status() FROM PUBLIC;

CREATE OR REPLACE TRIGGER courses_guard_generation_status
    BEFORE UPDATE ON public.courses
    FOR EACH ROW EXECUTE FUNCTION public.guard_generation_status();
COMMENT ON TRIGGER courses_guard_generation_status ON public.courses IS 'The state machine, enforced for every writer.';
