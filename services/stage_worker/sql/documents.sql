-- Stage 2: documents become texts and sections.

-- name: documents_to_read
-- Lists the course's documents in its order: the one that a job names, or all for a job that names none.
SELECT id, filename, media_type, object_key, size_bytes
FROM documents
WHERE course_id = $1::uuid AND ($2::uuid IS NULL OR id = $2::uuid)
ORDER BY position, id;

-- name: mark_processing
-- Shows that a document is being read, or all of the course for a job that names none.
UPDATE documents
SET status = 'processing', failure_reason = NULL
WHERE course_id = $1::uuid AND ($2::uuid IS NULL OR id = $2::uuid) AND status <> 'processing';

-- name: store_text
-- Keeps the normalised text into which all citations point; a new run replaces it.
INSERT INTO document_texts (document_id, content)
VALUES ($1::uuid, $2::text)
ON CONFLICT (document_id) DO UPDATE SET content = excluded.content;

-- name: store_sections
-- Keeps the sections of one document for this run, all in one statement.
INSERT INTO document_sections (document_id, run_number, position, level, heading, body, start_offset, end_offset, page, language)
SELECT $1::uuid, $2::integer, section.position, section.level, section.heading, section.body,
       section.start_offset, section.end_offset, section.page, $10::text
FROM unnest($3::integer[], $4::integer[], $5::text[], $6::text[], $7::integer[], $8::integer[], $9::integer[])
     AS section(position, level, heading, body, start_offset, end_offset, page);

-- name: finish_document
-- Marks a document as read; no row if it was deleted meanwhile, and else it cannot be until this transaction ends.
UPDATE documents
SET status = 'processed', title = $2::text, language = $3::text, failure_reason = NULL, processed_at = now()
WHERE id = $1::uuid
RETURNING id;

-- name: reject_document
-- Marks a document as unreadable, with a reason that its author can act on.
UPDATE documents
SET status = 'failed', failure_reason = $2::text, processed_at = now()
WHERE id = $1::uuid;

-- name: standing
-- Counts this run's document jobs and how they ended; read under the course's lock, so that exactly one job sees the end.
SELECT count(*) AS expected,
       count(ledger.effect_id) AS settled,
       count(*) FILTER (WHERE ledger.outcome = 'applied') AS applied,
       count(*) FILTER (WHERE ledger.outcome = 'failed') AS failed
FROM job_outbox AS entry
LEFT JOIN effect_ledger AS ledger ON ledger.effect_id = entry.outbox_id
WHERE entry.entity_id = $1::uuid AND entry.run_number = $2::integer AND entry.job_type = 'DOCUMENT_PROCESSING';

-- name: rejections
-- Lists the documents that could not be read, with their reasons, in the course's order.
SELECT filename, failure_reason
FROM documents
WHERE course_id = $1::uuid AND status = 'failed'
ORDER BY position, id;
