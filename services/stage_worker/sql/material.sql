-- Stages 4 and 5: what the engines read and what they leave behind.

-- name: documents_read
-- Lists the documents that were read in this run, in the course's order.
SELECT document.id, document.filename, document.title, document.language, content.content
FROM documents AS document
JOIN document_texts AS content ON content.document_id = document.id
WHERE document.course_id = $1::uuid
  AND EXISTS (
      SELECT 1 FROM document_sections AS section
      WHERE section.document_id = document.id AND section.run_number = $2::integer
  )
ORDER BY document.position, document.id;

-- name: sections_read
-- Lists the sections of those documents in reading order.
SELECT document_id, level, heading, start_offset, end_offset, page
FROM document_sections
WHERE document_id = ANY($1::uuid[]) AND run_number = $2::integer
ORDER BY document_id, position;

-- name: structure_of_run
-- Reads the structure that stage 4 left for this run.
SELECT structure FROM course_structures WHERE course_id = $1::uuid AND run_number = $2::integer;

-- name: store_structure
-- Keeps the structure of this run; the first one stands.
INSERT INTO course_structures (course_id, run_number, structure)
VALUES ($1::uuid, $2::integer, $3::jsonb)
ON CONFLICT (course_id, run_number) DO NOTHING;

-- name: store_result
-- Keeps the finished course of this run as JSON and as Markdown.
INSERT INTO course_results (course_id, run_number, result, markdown, draft)
VALUES ($1::uuid, $2::integer, $3::jsonb, $4::text, $5::boolean);
