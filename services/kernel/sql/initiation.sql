-- name: initiate
-- Decide a batch of initiations; $1 is a JSON array, the answer is one too, in its order.
SELECT initiate_generation_v2($1::jsonb);

-- name: write
-- Decide and write a batch of initiations in one transaction that holds the batch's own lock: who has lost the answer can see its end.
WITH under_way AS MATERIALIZED (
  SELECT pg_advisory_xact_lock(($1::jsonb -> 0 ->> 'batch')::bigint)
)
SELECT initiate_generation_v2($1::jsonb)
  FROM under_way;

-- name: have_ended
-- Whether the transactions of all these batches are over, committed or not; the next statement sees what they wrote.
SELECT COALESCE(bool_and(pg_try_advisory_xact_lock(batch)), true)
  FROM unnest($1::bigint[]) AS given(batch);

-- name: initialize
-- Set one course's state, write its jobs, its event and its key, or return what the key stored before.
SELECT initialize_fsm_with_outbox($1::uuid, $2::uuid, $3::uuid, $4::text, $5::text, $6::text, $7::jsonb, $8::jsonb);

-- name: record_failure
-- Witness an initiation that was given up (D15, TRAP28): a metric row, and an event when the course exists.
WITH course AS (
  SELECT id FROM courses WHERE id = $1::uuid
), metric AS (
  INSERT INTO system_metrics (event_type, severity, user_id, course_id, metadata)
  VALUES ('job_rollback', 'error', $5::uuid, $1::uuid,
          jsonb_build_object('error', $2::text, 'requestId', $3::text, 'requestedCourseId', $1::uuid))
)
INSERT INTO fsm_events (entity_id, old_state, new_state, triggered_by, event_type, created_by, metadata)
SELECT course.id, NULL, NULL, $4::text, 'FSM_FAILED', 'API', jsonb_build_object('error', $2::text, 'requestId', $3::text)
  FROM course;

-- name: standing
-- For each (course, user, key): is the key's row still there and valid, the course the user's, and a derived key of its present run (TRAP45)?
SELECT EXISTS (
         SELECT 1
           FROM idempotency_keys AS k
           JOIN courses AS c ON c.id = k.entity_id
          WHERE k.idempotency_key = asked.key
            AND k.entity_id = asked.course_id
            AND k.expires_at > now()
            AND c.user_id = asked.user_id
            AND (asked.key NOT LIKE 'course:%' OR asked.key LIKE '%:run:' || c.run_number::text)
       ) AS stands
  FROM unnest($1::uuid[], $2::uuid[], $3::text[]) WITH ORDINALITY AS asked(course_id, user_id, key, place)
 ORDER BY asked.place;
