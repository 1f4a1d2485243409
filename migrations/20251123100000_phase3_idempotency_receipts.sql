-- Title:        Messages
-- Purpose:      Messages with their idempotency keys, what was said of their receipt, and who persists which partition of the stream.
-- Phase:        expand
-- Date:         2025-11-23
-- Dependencies: 20251001000000_create_base_schema
--
-- Columns are lower-case and unquoted, as the statements of those who look after the table write them (contract.md TRAP22).
-- `id` follows from `idempotencykey`, so a message that is accepted twice meets its own row. Whoever inserts writes ON CONFLICT DO NOTHING
-- without a target: with one, two inserts of the same message at once could still fail, over the other unique index.

CREATE TABLE IF NOT EXISTS public.messages (
    id text PRIMARY KEY,
    conversationid text NOT NULL,
    senderid text NOT NULL,
    content text,
    contenttype text NOT NULL DEFAULT 'text',
    clientmessageid text,
    recipientids text[] NOT NULL DEFAULT '{}',
    idempotencykey text UNIQUE,
    correlationid text,
    payloadkey text,
    contentdigest text,
    createdat timestamptz NOT NULL DEFAULT now(),
    persistedat timestamptz NOT NULL DEFAULT now(),
    position bigint GENERATED ALWAYS AS IDENTITY,
    CONSTRAINT messages_have_content CHECK (content IS NOT NULL OR payloadkey IS NOT NULL)
);
CREATE UNIQUE INDEX IF NOT EXISTS idx_messages_conversation ON public.messages (conversationid, position);
CREATE INDEX IF NOT EXISTS idx_messages_created ON public.messages (createdat);
COMMENT ON TABLE public.messages IS 'Messages of conversations, once each. Kept until somebody removes them.';
COMMENT ON COLUMN public.messages.id IS 'msg_ and 26 letters and digits that follow from the idempotency key; text, so that MIN(id) works.';
COMMENT ON COLUMN public.messages.content IS 'NULL when it is long: then payloadkey says where it lies.';
COMMENT ON COLUMN public.messages.idempotencykey IS 'SHA-256 of sender, conversation and clientmessageid; NULL in rows that came another way, which are no repeats of each other.';
COMMENT ON COLUMN public.messages.correlationid IS 'The id of the request that brought it.';
COMMENT ON COLUMN public.messages.contentdigest IS 'Of content, its type and the recipients: a repeat that says something else is told so.';
COMMENT ON COLUMN public.messages.createdat IS 'When it was accepted, by the clock of what accepted it: Redis, or PostgreSQL.';
COMMENT ON COLUMN public.messages.persistedat IS 'When this row was written.';
COMMENT ON COLUMN public.messages.position IS 'Order of persisting: the order within a conversation.';
COMMENT ON INDEX public.idx_messages_conversation IS 'A conversation, in order.';
COMMENT ON INDEX public.idx_messages_created IS 'The newest messages.';

CREATE TABLE IF NOT EXISTS public.message_payloads (
    payloadkey text PRIMARY KEY,
    content text NOT NULL,
    createdat timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE public.message_payloads IS 'Long contents, when PostgreSQL is the document store. Written before their message is accepted, so nothing points to them by a foreign key.';

CREATE TABLE IF NOT EXISTS public.message_receipts (
    messageid text NOT NULL,
    userid text NOT NULL,
    state text NOT NULL CHECK (state IN ('delivered', 'read')),
    createdat timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (messageid, userid, state)
);
COMMENT ON TABLE public.message_receipts IS 'Who has received or read a message, and since when. Whoever has read it has received it.';
COMMENT ON COLUMN public.message_receipts.messageid IS 'No foreign key: a receipt may come before its message is persisted.';

CREATE TABLE IF NOT EXISTS public.message_partitions (
    partition integer PRIMARY KEY CHECK (partition >= 0),
    owner text,
    epoch bigint NOT NULL DEFAULT 0 CHECK (epoch >= 0),
    expires_at timestamptz NOT NULL DEFAULT '-infinity'
);
COMMENT ON TABLE public.message_partitions IS 'Which persistence-worker persists which partition of the stream, and until when without renewing.';
COMMENT ON COLUMN public.message_partitions.epoch IS 'Rises with every owner: what an earlier one still sends is not written.';

CREATE TABLE IF NOT EXISTS public.message_workers (
    node text PRIMARY KEY,
    seen_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE public.message_workers IS 'The persistence-workers, and when each was last seen: partitions are shared out among those seen of late.';

CREATE OR REPLACE FUNCTION public.accept_messages(p_locks integer[], p_envelopes text)
RETURNS TABLE (id text, createdat timestamptz, contentdigest text, is_new boolean)
LANGUAGE plpgsql
VOLATILE
SET search_path = public, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    v_lock integer;
    v_new text[];
BEGIN
    -- One after the other within a conversation, until the end of the transaction: a reader who has seen a position has seen all before it.
    -- In ascending order, so that two batches cannot wait for each other.
    FOR v_lock IN SELECT DISTINCT u.l FROM unnest(p_locks) AS u (l) ORDER BY u.l LOOP
        PERFORM pg_advisory_xact_lock(1836278631, v_lock);
    END LOOP;
    WITH written AS (
        INSERT INTO messages (
            id, conversationid, senderid, content, contenttype, clientmessageid, recipientids, idempotencykey, correlationid,
            payloadkey, contentdigest, createdat
        )
        SELECT e.id, e."conversationId", e."senderId", e.content, e."contentType", e."clientMessageId", e."recipientIds", e.key,
               e."correlationId", e."payloadKey", e.digest, date_trunc('milliseconds', clock_timestamp())
        FROM ROWS FROM (
            json_to_recordset(p_envelopes::json) AS (
                id text, "conversationId" text, "senderId" text, content text, "contentType" text, "clientMessageId" text,
                "recipientIds" text[], key text, "correlationId" text, "payloadKey" text, digest text
            )
        ) WITH ORDINALITY AS e (
            id, "conversationId", "senderId", content, "contentType", "clientMessageId", "recipientIds", key, "correlationId",
            "payloadKey", digest, place
        )
        ORDER BY e.place
        ON CONFLICT DO NOTHING
        RETURNING messages.id
    )
    SELECT array_agg(w.id) INTO v_new FROM written AS w;
    RETURN QUERY
        SELECT m.id, m.createdat, m.contentdigest, m.id = ANY (COALESCE(v_new, '{}'))
        FROM messages AS m
        WHERE m.id IN (SELECT e.value ->> 'id' FROM json_array_elements(p_envelopes::json) AS e);
END
$$;
COMMENT ON FUNCTION public.accept_messages(integer[], text) IS 'Writes messages at once, without the stream: envelopes as a JSON array, and the hashes of their conversations. Says of each whether it is new.';
REVOKE EXECUTE ON FUNCTION public.accept_messages(integer[], text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.accept_messages(integer[], text) TO service_role;

DO $$
DECLARE
    v_table text;
BEGIN
    FOREACH v_table IN ARRAY ARRAY['messages', 'message_payloads', 'message_receipts', 'message_partitions', 'message_workers'] LOOP
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
