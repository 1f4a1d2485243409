-- Courses at once: the truth that slots in Redis are compared with, the limits an operator has changed, refusals (contract.md e).

-- name: running_courses
-- Every course with a run under way: each has one slot.
SELECT c.id, c.user_id, c.run_number, c.tier
  FROM courses AS c
 WHERE c.generation_status >= 'stage_2_init' AND c.generation_status <= 'stage_5_complete';

-- name: runs
-- Which of courses $1 have a run under way, and which run.
SELECT c.id, c.run_number
  FROM courses AS c
 WHERE c.id = ANY ($1::uuid[])
   AND c.generation_status >= 'stage_2_init' AND c.generation_status <= 'stage_5_complete';

-- name: changed_limits
-- The limits that an operator has changed.
SELECT scope, slots
  FROM concurrency_limits;

-- name: change_limit
-- From now on $2 courses at once for $1 (global or a tier); $3 decided it.
INSERT INTO concurrency_limits AS l (scope, slots, changed_by, changed_at)
VALUES ($1::text, $2::int, $3::uuid, now())
ON CONFLICT (scope) DO UPDATE
   SET slots = EXCLUDED.slots, changed_by = EXCLUDED.changed_by, changed_at = EXCLUDED.changed_at;

-- name: restore_limit
-- The configured limit holds again for $1.
DELETE FROM concurrency_limits
 WHERE scope = $1::text;

-- name: record_refusals
-- One event for each request of $1 that met a limit.
INSERT INTO system_metrics (event_type, severity, user_id, course_id, metadata)
SELECT 'concurrency_limit_hit', 'warning', (r ->> 'userId')::uuid, (r ->> 'courseId')::uuid, r -> 'metadata'
  FROM jsonb_array_elements($1::jsonb) AS r;
