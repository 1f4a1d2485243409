-- name: running_courses
-- The next $2 courses after $1 that have a run under way.
SELECT c.id
  FROM courses AS c
 WHERE c.generation_status >= 'stage_2_init' AND c.generation_status <= 'stage_5_complete' AND c.id > $1::uuid
 ORDER BY c.id
 LIMIT $2::int;

-- name: unfinished_rows
-- Rows of courses $1 that are in Redis, as far as we know, and have had no effect: of the present run, older than $2 seconds.
-- Rows flushed by hand are not ours to repeat.
SELECT o.outbox_id, o.saq_queue
  FROM courses AS c
  JOIN job_outbox AS o ON o.entity_id = c.id AND o.run_number = c.run_number
 WHERE c.id = ANY ($1::uuid[])
   AND o.processed_at < now() - make_interval(secs => $2::float8)
   AND o.retry_count < o.max_retries
   AND NOT EXISTS (SELECT 1 FROM effect_ledger AS l WHERE l.effect_id = o.outbox_id);

-- name: bodies
-- What is to be put back for rows $1, unless they have had their effect meanwhile.
SELECT o.outbox_id, o.saq_queue, o.job_body, o.priority
  FROM job_outbox AS o
 WHERE o.outbox_id = ANY ($1::uuid[])
   AND NOT EXISTS (SELECT 1 FROM effect_ledger AS l WHERE l.effect_id = o.outbox_id);

-- name: return_dead
-- Makes rows $1 (reasons $3) dead and visible in the outbox: they reached Redis, but no worker can run them.
-- A row that is pending or dead by now is left alone: nothing returns twice.
WITH leader AS (
  SELECT l.epoch FROM relay_leadership AS l WHERE l.id AND l.epoch = $2::bigint FOR KEY SHARE
), returned AS (
  UPDATE job_outbox AS o
     SET processed_at = NULL, retry_count = o.max_retries, last_error = f.reason, last_attempt_at = now()
    FROM leader, unnest($1::uuid[], $3::text[]) AS f(outbox_id, reason)
   WHERE o.outbox_id = f.outbox_id
     AND o.processed_at IS NOT NULL
     AND NOT EXISTS (SELECT 1 FROM effect_ledger AS e WHERE e.effect_id = o.outbox_id)
  RETURNING 1
)
SELECT (SELECT count(*) FROM leader) AS leaders, (SELECT count(*) FROM returned) AS changed;
