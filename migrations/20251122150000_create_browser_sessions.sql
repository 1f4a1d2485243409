-- Title:        How browsers get in
-- Purpose:      Tickets that a token's holder has made for a browser, and the sessions that browsers got for them.
-- Phase:        expand
-- Date:         2025-11-22
-- Dependencies: 20251001000000_create_base_schema

CREATE TABLE IF NOT EXISTS public.browser_tickets (
    ticket_hash bytea PRIMARY KEY,
    user_id uuid NOT NULL,
    organization_id uuid NULL,
    tier text NOT NULL,
    is_admin boolean NOT NULL,
    token_expires_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    used_at timestamptz NULL
);
CREATE INDEX IF NOT EXISTS idx_browser_tickets_user ON public.browser_tickets (user_id, created_at);
CREATE INDEX IF NOT EXISTS idx_browser_tickets_expires ON public.browser_tickets (expires_at);
COMMENT ON TABLE public.browser_tickets IS 'Tickets that let one browser in, once, within a minute. What a ticket says of its user is what his token said.';
COMMENT ON COLUMN public.browser_tickets.ticket_hash IS 'SHA-256 of the ticket; the ticket itself is kept nowhere.';
COMMENT ON COLUMN public.browser_tickets.token_expires_at IS 'When the token expires that asked for the ticket; no session outlives it.';
COMMENT ON COLUMN public.browser_tickets.used_at IS 'When it was exchanged for a session; kept for an hour, so that a second try is told from a mistake.';

CREATE TABLE IF NOT EXISTS public.browser_sessions (
    session_hash bytea PRIMARY KEY,
    user_id uuid NOT NULL,
    organization_id uuid NULL,
    tier text NOT NULL,
    is_admin boolean NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS idx_browser_sessions_user ON public.browser_sessions (user_id, created_at);
CREATE INDEX IF NOT EXISTS idx_browser_sessions_expires ON public.browser_sessions (expires_at);
COMMENT ON TABLE public.browser_sessions IS 'Browsers that are signed in. Removing a row signs one out.';
COMMENT ON COLUMN public.browser_sessions.session_hash IS 'SHA-256 of the cookie''s value; the value itself is kept nowhere.';
COMMENT ON COLUMN public.browser_sessions.expires_at IS 'The end of the session: never after the token''s that asked for the ticket.';

DO $$
DECLARE
    v_table text;
BEGIN
    FOREACH v_table IN ARRAY ARRAY['browser_tickets', 'browser_sessions'] LOOP
        EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY', v_table);
        EXECUTE format('ALTER TABLE public.%I FORCE ROW LEVEL SECURITY', v_table);
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_policies AS p WHERE p.schemaname = 'public' AND p.policyname = v_table || '_service_role') THEN
            EXECUTE format('CREATE POLICY %I ON public.%I TO service_role USING (true) WITH CHECK (true)', v_table || '_service_role', v_table);
        END IF;
        EXECUTE format('REVOKE ALL ON public.%I FROM PUBLIC, authenticated', v_table);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON public.%I TO service_role', v_table);
    END LOOP;
END
$$;
