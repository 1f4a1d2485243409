-- Title:        Base schema
-- Purpose:      Roles, users, the generation state enum and the table everything else hangs on: courses.
-- Phase:        expand
-- Date:         2025-10-01
-- Dependencies: none (PostgreSQL 15 or newer; the migrating role may create roles, or the three roles exist)

-- Where the runner records what it applied. The runner creates it too; here for those who apply the files by hand.
CREATE SCHEMA IF NOT EXISTS supabase_migrations;
CREATE TABLE IF NOT EXISTS supabase_migrations.schema_migrations (
    version text PRIMARY KEY,
    name text,
    executed_at timestamptz NOT NULL DEFAULT now(),
    checksum text
);

-- ── Roles ───────────────────────────────────────────────────────────────────────────────────────────────────────────
-- Roles belong to the whole server, so another database may create them in the same second.
DO $$
DECLARE
    v_role record;
BEGIN
    FOR v_role IN
        SELECT * FROM (VALUES ('service_role', 'NOLOGIN'), ('authenticated', 'NOLOGIN'), ('coursegen_app', 'LOGIN')) AS r (name, login)
    LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_catalog.pg_roles AS p WHERE p.rolname = v_role.name);
        BEGIN
            EXECUTE format('CREATE ROLE %I %s NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS INHERIT', v_role.name, v_role.login);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            RAISE NOTICE 'role % was created by somebody else meanwhile', v_role.name;
        END;
    END LOOP;

    BEGIN
        IF NOT EXISTS (
            SELECT FROM pg_catalog.pg_auth_members AS m
            WHERE m.roleid = 'service_role'::regrole AND m.member = 'coursegen_app'::regrole
        ) THEN
            GRANT service_role TO coursegen_app;
        END IF;
        -- An owner that is no superuser is held by FORCE ROW LEVEL SECURITY too: the SECURITY DEFINER functions need the policy.
        IF NOT pg_catalog.pg_has_role(current_user, 'service_role', 'USAGE') THEN
            EXECUTE format('GRANT service_role TO %I', current_user);
        END IF;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN
        RAISE NOTICE 'membership in service_role was granted by somebody else meanwhile';
    END;
END
$$;

-- Nobody but the owner puts objects into public, so that a fixed search_path means what it says.
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO service_role, authenticated;
GRANT USAGE ON SCHEMA supabase_migrations TO service_role;
GRANT SELECT ON supabase_migrations.schema_migrations TO service_role;

-- ── Users ───────────────────────────────────────────────────────────────────────────────────────────────────────────
-- On Supabase schema and table exist and belong to somebody else: nothing here touches them then.
DO $$
BEGIN
    IF to_regclass('auth.users') IS NULL THEN
        CREATE SCHEMA IF NOT EXISTS auth;
        CREATE TABLE auth.users (
            id uuid PRIMARY KEY,
            email text,
            created_at timestamptz NOT NULL DEFAULT now()
        );
        ALTER TABLE auth.users ENABLE ROW LEVEL SECURITY;
        ALTER TABLE auth.users FORCE ROW LEVEL SECURITY;
        CREATE POLICY users_service_role ON auth.users TO service_role USING (true) WITH CHECK (true);
        GRANT USAGE ON SCHEMA auth TO service_role;
        GRANT SELECT, INSERT, UPDATE, DELETE ON auth.users TO service_role;
        COMMENT ON SCHEMA auth IS 'Who may own a course. Supabase brings its own; elsewhere this minimal one.';
        COMMENT ON TABLE auth.users IS 'Users known from tokens: the transaction that creates a course upserts its owner here.';
    END IF;
END
$$;

-- ── The state of a course ───────────────────────────────────────────────────────────────────────────────────────────
DO $$
BEGIN
    IF to_regtype('public.generation_status_enum') IS NULL THEN
        CREATE TYPE public.generation_status_enum AS ENUM (
            'pending',
            'stage_2_init', 'stage_2_processing', 'stage_2_complete',
            'stage_4_init', 'stage_4_analyzing', 'stage_4_complete',
            'stage_5_init', 'stage_5_generating', 'stage_5_complete',
            'completed', 'cancelled', 'error'
        );
    END IF;
END
$$;
COMMENT ON TYPE public.generation_status_enum IS
    'States of a generation run, in order. completed, cancelled and error are terminal; stages 3 and 6 get a value when they exist.';

-- The five steps a reader of check-status sees, and the only place their Russian names are written.
CREATE OR REPLACE FUNCTION public.generation_progress_template(p_completed integer DEFAULT 0, p_stamp text DEFAULT NULL)
RETURNS jsonb
LANGUAGE plpgsql
IMMUTABLE
PARALLEL SAFE
SET search_path = public, pg_temp
AS $$
DECLARE
    v_done constant text := '"status":"completed","message":null,"started_at":"' || COALESCE(p_stamp, '')
        || '","completed_at":"' || COALESCE(p_stamp, '') || '","error":null}';
    v_open constant text := '"status":"pending","message":null,"started_at":null,"completed_at":null,"error":null}';
BEGIN
    RETURN ('{"steps":['
        || '{"id":1,"name":"Запрос принят",' || CASE WHEN p_completed >= 1 THEN v_done ELSE v_open END
        || ',{"id":2,"name":"Обработка документов",' || CASE WHEN p_completed >= 2 THEN v_done ELSE v_open END
        || ',{"id":3,"name":"Анализ структуры",' || CASE WHEN p_completed >= 3 THEN v_done ELSE v_open END
        || ',{"id":4,"name":"Генерация курса",' || CASE WHEN p_completed >= 4 THEN v_done ELSE v_open END
        || ',{"id":5,"name":"Экспорт результата",' || CASE WHEN p_completed >= 5 THEN v_done ELSE v_open END
        || '],"percentage":' || 20 * p_completed
        || ',"current_step":' || LEAST(p_completed + 1, 5)
        || ',"message":null}')::jsonb;
END
$$;
COMMENT ON FUNCTION public.generation_progress_template(integer, text) IS
    'A GenerationProgress document whose first p_completed steps were finished at p_stamp.';
REVOKE EXECUTE ON FUNCTION public.generation_progress_template(integer, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.generation_progress_template(integer, text) TO service_role;

CREATE TABLE IF NOT EXISTS public.courses (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    title text NOT NULL,
    slug text NOT NULL UNIQUE,
    user_id uuid NOT NULL REFERENCES auth.users (id) ON DELETE RESTRICT,
    organization_id uuid NOT NULL,
    generation_status public.generation_status_enum DEFAULT 'pending',
    generation_progress jsonb NOT NULL DEFAULT public.generation_progress_template(),
    generation_metadata jsonb NOT NULL DEFAULT '{}'::jsonb,
    style text NOT NULL DEFAULT 'academic' CHECK (style IN ('academic', 'practical', 'conversational', 'concise')),
    language text,
    has_files boolean,
    webhook_url text,
    tier text NOT NULL DEFAULT 'FREE' CHECK (tier IN ('FREE', 'BASIC', 'STANDARD', 'TRIAL', 'PREMIUM')),
    priority integer NOT NULL DEFAULT 1,
    run_number integer NOT NULL DEFAULT 1 CHECK (run_number > 0),
    error_message text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 80);

COMMENT ON TABLE public.courses IS 'One course: its owner, its state, its progress. The row lock of a course orders everything that happens to it.';
COMMENT ON COLUMN public.courses.slug IS 'Readable name, unique over all owners.';
COMMENT ON COLUMN public.courses.generation_status IS 'State of the current run; NULL counts as pending. Only legal moves are stored.';
COMMENT ON COLUMN public.courses.generation_progress IS 'What check-status shows: {steps, percentage, current_step, message}.';
COMMENT ON COLUMN public.courses.generation_metadata IS 'Metadata that steps reported, by step number.';
COMMENT ON COLUMN public.courses.has_files IS 'Whether the current run started from documents; NULL before the first run.';
COMMENT ON COLUMN public.courses.tier IS 'Tier of the caller who started the current run.';
COMMENT ON COLUMN public.courses.priority IS 'Priority of the current run, higher first.';
COMMENT ON COLUMN public.courses.run_number IS 'Rises when a run ends in error or cancelled and when a completed course is reset, so that late jobs of an older run are recognised.';
COMMENT ON COLUMN public.courses.error_message IS 'Why the last run ended in error, in words its owner can act on.';

ALTER TABLE public.courses ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.courses FORCE ROW LEVEL SECURITY;
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_policies AS p WHERE p.schemaname = 'public' AND p.policyname = 'courses_service_role') THEN
        CREATE POLICY courses_service_role ON public.courses TO service_role USING (true) WITH CHECK (true);
    END IF;
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_policies AS p WHERE p.schemaname = 'public' AND p.policyname = 'courses_owner_read') THEN
        CREATE POLICY courses_owner_read ON public.courses FOR SELECT TO authenticated
            USING (user_id = (SELECT (NULLIF(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid));
    END IF;
END
$$;
REVOKE ALL ON public.courses FROM PUBLIC;
GRANT SELECT, INSERT, UPDATE, DELETE ON public.courses TO service_role;
GRANT SELECT ON public.courses TO authenticated;
