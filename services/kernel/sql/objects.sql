-- name: begin_object
-- Register an upload ($1) of a course ($2) before its first byte is written.
INSERT INTO stored_objects (object_key, course_id) VALUES ($1::uuid, $2::uuid);

-- name: complete_object
-- The upload $1 is whole: $2 bytes with checksum $3.
UPDATE stored_objects SET size_bytes = $2::bigint, sha256 = $3::text, completed_at = now() WHERE object_key = $1::uuid;

-- name: write_chunk
-- Piece number $2 of object $1.
INSERT INTO stored_object_chunks (object_key, chunk_index, content) VALUES ($1::uuid, $2::integer, $3::bytea);

-- name: read_chunk
-- Piece number $2 of object $1.
SELECT content FROM stored_object_chunks WHERE object_key = $1::uuid AND chunk_index = $2::integer;

-- name: find_object
-- The size of a complete object; no row when it is unknown or incomplete.
SELECT size_bytes FROM stored_objects WHERE object_key = $1::uuid AND completed_at IS NOT NULL;

-- name: forget_objects
-- Remove objects from the register, with their pieces.
DELETE FROM stored_objects WHERE object_key = ANY ($1::uuid[]);

-- name: abandoned_objects
-- At most $2 objects that no document names: of deleted courses, or begun before $1.
SELECT object_key
  FROM stored_objects AS o
 WHERE (o.course_id IS NULL OR o.created_at < $1::timestamptz)
   AND NOT EXISTS (SELECT 1 FROM documents AS d WHERE d.object_key = o.object_key)
 ORDER BY o.created_at
 LIMIT $2::integer;
