-- name: dead_rows
-- Rows that nothing will try again until someone acts, the latest failure first; at most $1.
SELECT o.outbox_id, o.entity_id, o.queue_name, o.job_type, o.retry_count, o.max_retries, o.last_error, o.last_attempt_at, o.created_at
  FROM job_outbox AS o
 WHERE o.processed_at IS NULL AND o.retry_count >= o.max_retries
 ORDER BY o.last_attempt_at DESC NULLS LAST
 LIMIT $1::int;

-- name: replay_rows
-- Has the relay try dead rows $1 again, from the first attempt.
UPDATE job_outbox AS o
   SET retry_count = 0, next_attempt_at = NULL
 WHERE o.outbox_id = ANY ($1::uuid[]) AND o.processed_at IS NULL AND o.retry_count >= o.max_retries
RETURNING o.outbox_id;

-- name: flush_rows
-- Takes dead rows $1 out of the way for good, as the emergency flush of the runbook does; their jobs will not run.
UPDATE job_outbox AS o
   SET processed_at = now(), last_error = 'Manually flushed during incident'
 WHERE o.outbox_id = ANY ($1::uuid[]) AND o.processed_at IS NULL AND o.retry_count >= o.max_retries
RETURNING o.outbox_id;
