-- name: running_courses
-- The next $2 courses after $1 that have a run under way.
SELECT c.id
  FROM courses AS c
 WHERE c.generation_status >= 'stage_2_init' AND c.generation_status <= 'stage_5_complete' AND c.id > $1::uuid
 ORDER BY c.id
 LIMIT $2::int;

-- name: unfinished_rows
-- The pipeline's rows of courses $1 that are in Redis, as far as we know, and have had no effect: of the present run, older than
-- $2 seconds. Rows flushed by hand are not ours to repeat; those beside the pipeline stand in open_jobs.
SELECT o.outbox_id, o.saq_queue
  FROM courses AS c
  JOIN job_outbox AS o ON o.entity_id = c.id AND o.run_number = c.run_number
 WHERE c.id = ANY ($1::uuid[])
   AND o.processed_at < now() - make_interval(secs => $2::float8)
   AND o.retry_count < o.max_retries
   AND o.queue_name = 'course-generation'
   AND o.job_type IN ('DOCUMENT_PROCESSING', 'STRUCTURE_ANALYSIS', 'STRUCTURE_GENERATION')
   AND NOT EXISTS (SELECT 1 FROM effect_ledger AS l WHERE l.effect_id = o.outbox_id);

-- name: open_queues
-- The queues that have open jobs; one look into the index for each.
WITH RECURSIVE queues AS (
  (SELECT j.saq_queue FROM open_jobs AS j ORDER BY j.saq_queue LIMIT 1)
  UNION ALL
  SELECT (SELECT j.saq_queue FROM open_jobs AS j WHERE j.saq_queue > q.saq_queue ORDER BY j.saq_queue LIMIT 1)
    FROM queues AS q
   WHERE q.saq_queue IS NOT NULL
)
SELECT q.saq_queue FROM queues AS q WHERE q.saq_queue IS NOT NULL;

-- name: open_rows
-- The next $3 open jobs of queue $1 after $2: whether each is in Redis, as far as we know, for more than $4 seconds, and whether it
-- is done, for it may have been noted anew since. Rows flushed by hand are not ours to repeat.
WITH page AS (
  SELECT j.outbox_id
    FROM open_jobs AS j
   WHERE j.saq_queue = $1::text AND j.outbox_id > $2::uuid
   ORDER BY j.outbox_id
   LIMIT $3::int
)
SELECT p.outbox_id,
       coalesce(o.processed_at < now() - make_interval(secs => $4::float8) AND o.retry_count < o.max_retries, false) AS is_due,
       EXISTS (SELECT 1 FROM effect_ledger AS l WHERE l.effect_id = p.outbox_id) AS is_done
  FROM page AS p
  LEFT JOIN job_outbox AS o ON o.outbox_id = p.outbox_id
 ORDER BY p.outbox_id;

-- name: close_jobs
-- Jobs $1 are done: their workers have said so in Redis, or their ledger row was there when they were noted.
DELETE FROM open_jobs AS j WHERE j.outbox_id = ANY ($1::uuid[]);

-- name: bodies
-- What is to be put back for rows $1, unless they have had their effect meanwhile. Bodies are cut off after $2 bytes in all, except
-- that one always passes; those to be asked for again come as NULL.
WITH lost AS (
  SELECT o.outbox_id, o.saq_queue, o.job_body, o.priority, octet_length(o.job_body)::bigint AS size
    FROM job_outbox AS o
   WHERE o.outbox_id = ANY ($1::uuid[])
     AND NOT EXISTS (SELECT 1 FROM effect_ledger AS l WHERE l.effect_id = o.outbox_id)
), measured AS (
  SELECT l.outbox_id, l.saq_queue, l.job_body, l.priority, l.size, sum(l.size) OVER (ORDER BY l.outbox_id) AS total
    FROM lost AS l
)
SELECT m.outbox_id, m.saq_queue, CASE WHEN m.total <= $2::bigint OR m.total = m.size THEN m.job_body END AS job_body, m.priority
  FROM measured AS m
 ORDER BY m.outbox_id;

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
