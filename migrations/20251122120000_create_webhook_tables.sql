-- Title:        Webhooks
-- Purpose:      What is to be told to whom about the end of a run, and the secrets that sign it.
-- Phase:        expand
-- Date:         2025-11-22
-- Dependencies: 20251118094238_create_transactional_outbox_tables
--
-- A delivery is written in the transaction that ends a run, together with the outbox row of its first attempt. While an attempt is
-- under way `outbox_id` names its row; between attempts it is NULL and `next_attempt_at` says when the next row is due. So the outbox
-- holds only what may leave now, and its depth and age keep their meaning.

CREATE TABLE IF NOT EXISTS public.webhook_deliveries (
    delivery_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    course_id uuid REFERENCES public.courses (id) ON DELETE SET NULL,
    organization_id uuid NOT NULL,
    run_number integer NOT NULL,
    event_type text NOT NULL CHECK (event_type IN ('course.completed', 'course.failed')),
    url text NOT NULL,
    body text NOT NULL,
    priority integer NOT NULL DEFAULT 1,
    metadata jsonb NOT NULL DEFAULT '{}'::jsonb,
    status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'delivered', 'dead', 'discarded')),
    outbox_id uuid,
    next_attempt_at timestamptz,
    attempts integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    replays integer NOT NULL DEFAULT 0 CHECK (replays >= 0),
    last_status integer,
    last_error text,
    created_at timestamptz NOT NULL DEFAULT now(),
    last_attempt_at timestamptz,
    settled_at timestamptz,
    CONSTRAINT webhook_deliveries_run_key UNIQUE (course_id, run_number),
    CONSTRAINT webhook_deliveries_goes_on CHECK (status <> 'pending' OR outbox_id IS NOT NULL OR next_attempt_at IS NOT NULL)
);
CREATE INDEX IF NOT EXISTS idx_webhook_deliveries_due ON public.webhook_deliveries (next_attempt_at)
    WHERE status = 'pending' AND outbox_id IS NULL;
CREATE INDEX IF NOT EXISTS idx_webhook_deliveries_under_way ON public.webhook_deliveries (outbox_id)
    WHERE status = 'pending' AND outbox_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS idx_webhook_deliveries_dead ON public.webhook_deliveries (settled_at, delivery_id) WHERE status = 'dead';
CREATE INDEX IF NOT EXISTS idx_webhook_deliveries_settled ON public.webhook_deliveries (settled_at)
    WHERE status IN ('delivered', 'discarded');
COMMENT ON TABLE public.webhook_deliveries IS 'One row per run that ended and was to be told about. Settled ones are kept 30 days, dead ones until somebody replays or discards them.';
COMMENT ON COLUMN public.webhook_deliveries.delivery_id IS 'The webhook-id that the receiver sees: the same in every attempt and replay.';
COMMENT ON COLUMN public.webhook_deliveries.course_id IS 'NULL when the course was deleted: what was undelivered then is dead, and can only be discarded.';
COMMENT ON COLUMN public.webhook_deliveries.body IS 'The bytes that are sent, the same in every attempt.';
COMMENT ON COLUMN public.webhook_deliveries.outbox_id IS 'The outbox row of the attempt under way; a job of another one sends nothing. No foreign key: outbox rows are removed by retention.';
COMMENT ON COLUMN public.webhook_deliveries.next_attempt_at IS 'When the outbox row of the next attempt is to be written; NULL while one is under way.';
COMMENT ON COLUMN public.webhook_deliveries.attempts IS 'Failed and successful attempts since the event or the last replay.';
COMMENT ON COLUMN public.webhook_deliveries.last_status IS 'HTTP status of the last answer; NULL when there was none.';
COMMENT ON COLUMN public.webhook_deliveries.settled_at IS 'When it was delivered, given up or discarded.';
COMMENT ON INDEX public.idx_webhook_deliveries_due IS 'What a worker writes the next outbox rows for.';
COMMENT ON INDEX public.idx_webhook_deliveries_under_way IS 'What looks for attempts whose outbox row is gone.';
COMMENT ON INDEX public.idx_webhook_deliveries_dead IS 'The dead letters, oldest first.';
COMMENT ON INDEX public.idx_webhook_deliveries_settled IS 'What retention removes.';

CREATE OR REPLACE FUNCTION public.bury_webhooks_of_deleted_course()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = public, pg_temp
AS $$
BEGIN
    NEW.status := 'dead';
    NEW.outbox_id := NULL;
    NEW.next_attempt_at := NULL;
    NEW.last_error := 'the course was deleted before this was delivered';
    NEW.settled_at := now();
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION public.bury_webhooks_of_deleted_course() IS 'Nothing undelivered disappears with its course: it becomes a dead letter that says why.';
REVOKE EXECUTE ON FUNCTION public.bury_webhooks_of_deleted_course() FROM PUBLIC;

CREATE OR REPLACE TRIGGER webhook_deliveries_orphaned
    BEFORE UPDATE OF course_id ON public.webhook_deliveries
    FOR EACH ROW
    WHEN (OLD.course_id IS NOT NULL AND NEW.course_id IS NULL AND OLD.status = 'pending')
    EXECUTE FUNCTION public.bury_webhooks_of_deleted_course();
COMMENT ON TRIGGER webhook_deliveries_orphaned ON public.webhook_deliveries IS 'Fired by the ON DELETE SET NULL of a deleted course.';

CREATE TABLE IF NOT EXISTS public.webhook_secrets (
    secret_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    organization_id uuid NOT NULL,
    ciphertext text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    retires_at timestamptz
);
CREATE UNIQUE INDEX IF NOT EXISTS idx_webhook_secrets_current ON public.webhook_secrets (organization_id) WHERE retires_at IS NULL;
CREATE INDEX IF NOT EXISTS idx_webhook_secrets_organization ON public.webhook_secrets (organization_id, created_at);
CREATE INDEX IF NOT EXISTS idx_webhook_secrets_retired ON public.webhook_secrets (retires_at) WHERE retires_at IS NOT NULL;
COMMENT ON TABLE public.webhook_secrets IS 'What signs the webhooks of an organisation: one current secret, and those it replaced until they retire.';
COMMENT ON COLUMN public.webhook_secrets.ciphertext IS 'Encrypted with the first key of WEBHOOK_ENCRYPTION_KEYS at the time; it holds the organisation too, so it is worth nothing in another row.';
COMMENT ON COLUMN public.webhook_secrets.retires_at IS 'NULL for the current one; a replaced one signs beside it until then.';
COMMENT ON INDEX public.idx_webhook_secrets_current IS 'At most one current secret per organisation.';
COMMENT ON INDEX public.idx_webhook_secrets_organization IS 'The secrets that sign for an organisation.';
COMMENT ON INDEX public.idx_webhook_secrets_retired IS 'What retention removes.';

DO $$
DECLARE
    v_table text;
BEGIN
    FOREACH v_table IN ARRAY ARRAY['webhook_deliveries', 'webhook_secrets'] LOOP
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
