-- Title:        Documents and their stored bytes
-- Purpose:      What users upload, where the bytes lie, and what stage 2 read out of them.
-- Phase:        expand
-- Date:         2025-10-02
-- Dependencies: 20251001000000_create_base_schema

CREATE TABLE IF NOT EXISTS public.stored_objects (
    object_key uuid PRIMARY KEY,
    course_id uuid REFERENCES public.courses (id) ON DELETE SET NULL,
    size_bytes bigint NOT NULL DEFAULT 0 CHECK (size_bytes >= 0),
    sha256 text,
    completed_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS idx_stored_objects_course ON public.stored_objects (course_id);
CREATE INDEX IF NOT EXISTS idx_stored_objects_incomplete ON public.stored_objects (created_at) WHERE completed_at IS NULL;
COMMENT ON TABLE public.stored_objects IS 'The register of uploaded objects, wherever their bytes lie. An upload that broke off has no completed_at.';
COMMENT ON COLUMN public.stored_objects.course_id IS 'NULL when the course is gone: the bytes, which may lie in another store, are still to be swept.';

CREATE TABLE IF NOT EXISTS public.stored_object_chunks (
    object_key uuid NOT NULL REFERENCES public.stored_objects (object_key) ON DELETE CASCADE,
    chunk_index integer NOT NULL CHECK (chunk_index >= 0),
    content bytea NOT NULL,
    PRIMARY KEY (object_key, chunk_index)
);
-- PDF and DOCX are compressed already: trying again only costs time.
ALTER TABLE public.stored_object_chunks ALTER COLUMN content SET STORAGE EXTERNAL;
COMMENT ON TABLE public.stored_object_chunks IS 'The bytes of an object in order, when PostgreSQL is the document store.';

CREATE TABLE IF NOT EXISTS public.documents (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    course_id uuid NOT NULL REFERENCES public.courses (id) ON DELETE CASCADE,
    filename text NOT NULL,
    media_type text NOT NULL,
    size_bytes bigint NOT NULL CHECK (size_bytes >= 0),
    sha256 text NOT NULL,
    object_key uuid NOT NULL UNIQUE,
    position integer NOT NULL DEFAULT 0 CHECK (position >= 0),
    status text NOT NULL DEFAULT 'uploaded' CHECK (status IN ('uploaded', 'processing', 'processed', 'failed')),
    failure_reason text,
    title text,
    language text,
    created_at timestamptz NOT NULL DEFAULT now(),
    processed_at timestamptz
);
CREATE INDEX IF NOT EXISTS idx_documents_course ON public.documents (course_id, position);
COMMENT ON TABLE public.documents IS 'The documents of a course, in the order of their upload.';
COMMENT ON COLUMN public.documents.status IS 'Where stage 2 of the current run stands with this document; a new run sets it back to uploaded.';
COMMENT ON COLUMN public.documents.failure_reason IS 'Why the document could not be read, in words its owner can act on.';

CREATE TABLE IF NOT EXISTS public.document_texts (
    document_id uuid PRIMARY KEY REFERENCES public.documents (id) ON DELETE CASCADE,
    content text NOT NULL
);
COMMENT ON TABLE public.document_texts IS 'The normalised text of a document. Citations are character positions in it.';

CREATE TABLE IF NOT EXISTS public.document_sections (
    document_id uuid NOT NULL REFERENCES public.documents (id) ON DELETE CASCADE,
    run_number integer NOT NULL,
    position integer NOT NULL CHECK (position >= 0),
    level integer NOT NULL DEFAULT 1,
    heading text NOT NULL DEFAULT '',
    body text NOT NULL DEFAULT '',
    start_offset integer NOT NULL CHECK (start_offset >= 0),
    end_offset integer NOT NULL,
    page integer,
    language text,
    PRIMARY KEY (document_id, run_number, position),
    CHECK (end_offset >= start_offset)
);
COMMENT ON TABLE public.document_sections IS 'Sections that stage 2 found, with their place in document_texts.content.';

DO $$
DECLARE
    v_table text;
BEGIN
    FOREACH v_table IN ARRAY ARRAY['stored_objects', 'stored_object_chunks', 'documents', 'document_texts', 'document_sections'] LOOP
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
