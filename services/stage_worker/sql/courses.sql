-- What every stage does with a course: lock it, move it, hand it to the next stage.

-- name: lock_course
-- Takes the course's row lock, under which all stages of one course meet, and reads what a stage needs to know.
SELECT id, user_id, organization_id, title, slug, style, language, webhook_url, priority, run_number,
       generation_status::text AS state,
       ARRAY(
           SELECT (step ->> 'id')::integer
           FROM jsonb_array_elements(generation_progress -> 'steps') AS step
           WHERE step ->> 'status' <> 'completed'
           ORDER BY 1
       ) AS open_steps
FROM courses
WHERE id = $1::uuid
FOR NO KEY UPDATE;

-- name: state_of
-- Reads a course's state as this transaction has left it.
SELECT generation_status::text FROM courses WHERE id = $1::uuid;

-- name: move_course
-- Sets the course's state and writes the event of it, in one statement.
WITH moved AS (
    UPDATE courses
    SET generation_status = $2::text::generation_status_enum
    WHERE id = $1::uuid
    RETURNING id, user_id
)
INSERT INTO fsm_events (entity_id, run_number, event_type, event_data, old_state, new_state, triggered_by, created_by,
                        user_id, metadata)
SELECT moved.id, $4::integer, 'STATE_CHANGED', '{}'::jsonb, $3::text, $2::text, $5::text, 'WORKER',
       moved.user_id, $6::jsonb
FROM moved;

-- name: fail_course
-- Ends the course's run in error, with the reason for its owner, and writes the failure event (TRAP28, GAP31).
WITH failed AS (
    UPDATE courses
    SET generation_status = 'error', error_message = $2::text
    WHERE id = $1::uuid
    RETURNING id, user_id
)
INSERT INTO fsm_events (entity_id, run_number, event_type, event_data, old_state, new_state, triggered_by, created_by,
                        user_id, metadata)
SELECT failed.id, $4::integer, 'FSM_FAILED', '{}'::jsonb, $3::text, 'error', $5::text, 'WORKER',
       failed.user_id, $6::jsonb
FROM failed;

-- name: initialize_stage
-- Calls the command handler: state, event, outbox rows and idempotency key in the caller's transaction (contract.md b.10).
SELECT initialize_fsm_with_outbox($1::uuid, $2::uuid, $3::uuid, $4::text, $5::text, $6::text, $7::jsonb, $8::jsonb);

-- name: enqueue_follower
-- Writes one more outbox row in the caller's transaction; the table's trigger routes it and builds its body.
INSERT INTO job_outbox (entity_id, run_number, queue_name, job_type, job_data, priority, metadata)
VALUES ($1::uuid, $2::integer, $3::text, $4::text, $5::jsonb, $6::integer, $7::jsonb);

-- name: record_orphan
-- Notes that a job was found whose initiation had not marked step 1 (contract.md h).
INSERT INTO system_metrics (event_type, severity, user_id, course_id, job_id, metadata)
VALUES ('orphaned_job_recovery', 'warning', $1::uuid, $2::uuid, $3::uuid, $4::jsonb);

-- name: any_uninitialised
-- Tells without a lock whether Layer 2 has anything to do at all, which in normal running it never has.
SELECT EXISTS (
    SELECT 1 FROM courses
    WHERE id = ANY($1::uuid[]) AND (generation_status IS NULL OR generation_status = 'pending')
);

-- name: lock_uninitialised
-- Locks, among the courses just announced, those that nobody has initialised (Layer 2); of two listeners one finds them.
SELECT id, user_id, organization_id, run_number
FROM courses
WHERE id = ANY($1::uuid[]) AND (generation_status IS NULL OR generation_status = 'pending')
ORDER BY id
FOR NO KEY UPDATE;
