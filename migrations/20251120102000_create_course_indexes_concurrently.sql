-- Title:        Indexes of courses
-- Purpose:      Lists of a user's courses page by index; the reconciler finds running courses without reading the rest.
-- Phase:        expand
-- Date:         2025-11-20
-- Dependencies: 20251001000000_create_base_schema
--
-- migrate: no-transaction
-- CONCURRENTLY cannot run in a transaction. One that broke off leaves an invalid index, so each begins by removing its own.

DROP INDEX CONCURRENTLY IF EXISTS public.idx_courses_user_created;
CREATE INDEX CONCURRENTLY idx_courses_user_created ON public.courses (user_id, created_at DESC, id);
COMMENT ON INDEX public.idx_courses_user_created IS 'The courses of a user, newest first.';

DROP INDEX CONCURRENTLY IF EXISTS public.idx_courses_running;
CREATE INDEX CONCURRENTLY idx_courses_running ON public.courses (updated_at)
    WHERE generation_status >= 'stage_2_init' AND generation_status <= 'stage_5_complete';
COMMENT ON INDEX public.idx_courses_running IS 'Courses with a run under way: generation_status >= ''stage_2_init'' AND generation_status <= ''stage_5_complete''.';
