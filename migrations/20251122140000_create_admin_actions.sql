-- Title:        What administrators did
-- Purpose:      The record of every action of an administrator: who, when, what, on what.
-- Phase:        expand
-- Date:         2025-11-22
-- Dependencies: 20251001000000_create_base_schema

-- No foreign keys: the record is kept when the user, the course or the job is gone.
CREATE TABLE IF NOT EXISTS public.admin_actions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    user_id uuid NOT NULL,
    action text NOT NULL CHECK (action <> ''),
    target text NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}'::jsonb,
    request_id text
);
CREATE INDEX IF NOT EXISTS idx_admin_actions_action ON public.admin_actions (action, id);
CREATE INDEX IF NOT EXISTS idx_admin_actions_user ON public.admin_actions (user_id, id);
COMMENT ON TABLE public.admin_actions IS 'What administrators changed. Written in the transaction of the change, or before a change elsewhere; never removed by the application.';
COMMENT ON COLUMN public.admin_actions.user_id IS 'The subject of the administrator''s token.';
COMMENT ON COLUMN public.admin_actions.action IS 'Such as queue.pause, limit.set, dead_letters.replay.';
COMMENT ON COLUMN public.admin_actions.target IS 'The queue, the scope or the kind of dead letters it was done to.';
COMMENT ON COLUMN public.admin_actions.detail IS 'What was asked for; the key result says what came of it, once that is known.';
COMMENT ON COLUMN public.admin_actions.request_id IS 'The request that asked for it, as in the logs.';
COMMENT ON INDEX public.idx_admin_actions_action IS 'The latest actions of one kind.';
COMMENT ON INDEX public.idx_admin_actions_user IS 'The latest actions of one administrator.';

ALTER TABLE public.admin_actions ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.admin_actions FORCE ROW LEVEL SECURITY;
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_policies AS p WHERE p.schemaname = 'public' AND p.policyname = 'admin_actions_service_role') THEN
        CREATE POLICY admin_actions_service_role ON public.admin_actions TO service_role USING (true) WITH CHECK (true);
    END IF;
END
$$;
-- The application adds to the record and may complete what came of an action. It can neither remove nor forge one.
REVOKE ALL ON public.admin_actions FROM PUBLIC, authenticated, service_role;
GRANT SELECT, INSERT, UPDATE (detail) ON public.admin_actions TO service_role;
