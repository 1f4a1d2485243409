-- name: course_by_id
-- One course.
SELECT c.id, c.title, c.slug, c.user_id, COALESCE(c.generation_status::text, 'pending') AS status, c.style, c.language,
       c.has_files, c.webhook_url, c.run_number, c.generation_progress AS progress, c.error_message, c.created_at, c.updated_at
  FROM courses AS c
 WHERE c.id = $1::uuid;

-- name: course_by_slug
-- One course by its readable name.
SELECT c.id, c.title, c.slug, c.user_id, COALESCE(c.generation_status::text, 'pending') AS status, c.style, c.language,
       c.has_files, c.webhook_url, c.run_number, c.generation_progress AS progress, c.error_message, c.created_at, c.updated_at
  FROM courses AS c
 WHERE c.slug = $1::text;

-- name: create_course
-- Create a course with a free slug, and its owner where he is new.
SELECT create_course($1::uuid, $2::uuid, $3::uuid, $4::text, $5::jsonb);

-- name: courses_of_user
-- A page of a user's courses, newest first, after ($2, $3), with status $4 if given, at most $5.
SELECT c.id, c.title, c.slug, COALESCE(c.generation_status::text, 'pending') AS status, c.style, c.language, c.run_number,
       (c.generation_progress ->> 'percentage')::double precision AS percentage, c.error_message, c.created_at, c.updated_at
  FROM courses AS c
 WHERE c.user_id = $1::uuid
   AND ($2::timestamptz IS NULL OR (c.created_at <= $2::timestamptz AND (c.created_at < $2::timestamptz OR c.id > $3::uuid)))
   AND ($4::text IS NULL OR COALESCE(c.generation_status::text, 'pending') = $4::text)
 ORDER BY c.created_at DESC, c.id
 LIMIT $5::integer;

-- name: lock_course
-- Take the row lock that orders everything about a course; answers what decides who may do what.
SELECT c.user_id, COALESCE(c.generation_status::text, 'pending') AS status, c.run_number
  FROM courses AS c
 WHERE c.id = $1::uuid
   FOR UPDATE;

-- name: traces_of_course
-- What a course has outside its rows: objects, remembered results, and jobs that may still be in a queue.
SELECT ARRAY(SELECT o.object_key FROM stored_objects AS o WHERE o.course_id = $1::uuid) AS object_keys,
       ARRAY(SELECT k.idempotency_key::text FROM idempotency_keys AS k WHERE k.entity_id = $1::uuid) AS idempotency_keys,
       ARRAY(SELECT j.saq_queue FROM job_outbox AS j WHERE j.entity_id = $1::uuid ORDER BY j.position) AS job_queues,
       ARRAY(SELECT j.outbox_id::text FROM job_outbox AS j WHERE j.entity_id = $1::uuid ORDER BY j.position) AS job_keys;

-- name: delete_course
-- Remove a course with everything that hangs on it; the register of its objects stays, until they are removed.
DELETE FROM courses WHERE id = $1::uuid;

-- name: cancel_course
-- End the present run of a locked course ($1, its state $2, on behalf of user $3), with its event.
WITH cancelled AS (
  UPDATE courses SET generation_status = 'cancelled' WHERE id = $1::uuid RETURNING id
)
INSERT INTO fsm_events (entity_id, event_type, old_state, new_state, triggered_by, created_by, user_id, metadata, run_number)
SELECT cancelled.id, 'STATE_CHANGED', $2::text, 'cancelled', 'API_CANCEL', 'API', $3::uuid, $4::jsonb, $5::integer
  FROM cancelled;

-- name: release_documents
-- Sets the documents of a locked course back that nobody goes on reading.
UPDATE documents SET status = 'uploaded' WHERE course_id = $1::uuid AND status = 'processing';

-- name: events_of_course
-- A page of a course's history, oldest first, after position $2, at most $3.
SELECT e.position, e.event_id, e.event_type, e.old_state, e.new_state, e.triggered_by, e.created_by, e.metadata, e.created_at
  FROM fsm_events AS e
 WHERE e.entity_id = $1::uuid AND e.position > $2::bigint
 ORDER BY e.position
 LIMIT $3::integer;

-- name: result_of_course
-- The course's latest finished result.
SELECT r.run_number, r.result, r.draft
  FROM course_results AS r
 WHERE r.course_id = $1::uuid
 ORDER BY r.run_number DESC
 LIMIT 1;

-- name: markdown_of_course
-- The same as Markdown.
SELECT r.markdown
  FROM course_results AS r
 WHERE r.course_id = $1::uuid
 ORDER BY r.run_number DESC
 LIMIT 1;
