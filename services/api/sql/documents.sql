-- name: documents_of_course
-- The documents of a course in the order of their upload.
SELECT d.id, d.filename, d.media_type, d.size_bytes, d.sha256, d.position, d.status, d.failure_reason, d.title, d.language,
       d.created_at, d.processed_at
  FROM documents AS d
 WHERE d.course_id = $1::uuid
 ORDER BY d.position, d.created_at, d.id;

-- name: twin_document
-- The document of a course with this very content and name: a repeated upload.
SELECT d.id, d.filename, d.media_type, d.size_bytes, d.sha256, d.position, d.status, d.failure_reason, d.title, d.language,
       d.created_at, d.processed_at
  FROM documents AS d
 WHERE d.course_id = $1::uuid AND d.sha256 = $2::text AND d.filename = $3::text
 LIMIT 1;

-- name: count_documents
-- How many documents a course has.
SELECT count(*) FROM documents WHERE course_id = $1::uuid;

-- name: insert_document
-- Add a stored object to a locked course as its last document.
INSERT INTO documents (course_id, filename, media_type, size_bytes, sha256, object_key, position)
SELECT $1::uuid, $2::text, $3::text, $4::bigint, $5::text, $6::uuid,
       COALESCE((SELECT max(d.position) + 1 FROM documents AS d WHERE d.course_id = $1::uuid), 0)
RETURNING id, filename, media_type, size_bytes, sha256, position, status, failure_reason, title, language, created_at, processed_at;

-- name: delete_document
-- Remove a document of a course; answers the key of its object.
DELETE FROM documents WHERE id = $2::uuid AND course_id = $1::uuid RETURNING object_key;
