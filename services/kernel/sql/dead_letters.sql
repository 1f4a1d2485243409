-- Dead letters in PostgreSQL: outbox rows with no tries left, and what is known of a job that a queue has set aside.

-- name: dead_rows
-- A page of dead outbox rows, the latest first, after ($6, $7): of queue $1, type $2, course $3, with $4 in the reason, dead before
-- $5, as far as given; at most $8.
SELECT d.outbox_id, d.saq_queue, d.job_type, d.course_id, d.run_number, d.priority, d.retry_count, d.last_error, d.dead_since
  FROM (
    SELECT o.outbox_id, o.saq_queue, o.job_type, o.entity_id AS course_id, o.run_number, o.priority, o.retry_count, o.last_error,
           coalesce(o.last_attempt_at, o.created_at) AS dead_since, ('outbox:' || o.outbox_id) COLLATE "C" AS letter
      FROM job_outbox AS o
     WHERE o.processed_at IS NULL
       AND o.retry_count >= o.max_retries
       AND ($1::text IS NULL OR o.saq_queue = $1::text OR o.queue_name = $1::text)
       AND ($2::text IS NULL OR o.job_type = $2::text)
       AND ($3::uuid IS NULL OR o.entity_id = $3::uuid)
       AND ($4::text IS NULL OR strpos(lower(coalesce(o.last_error, '')), lower($4::text)) > 0)
  ) AS d
 WHERE ($5::timestamptz IS NULL OR d.dead_since < $5::timestamptz)
   AND ($6::timestamptz IS NULL OR (d.dead_since, d.letter) < ($6::timestamptz, $7::text COLLATE "C"))
 ORDER BY d.dead_since DESC, d.letter DESC
 LIMIT $8::integer;

-- name: count_dead_rows
-- How many dead outbox rows there are, of the same description.
SELECT count(*)
  FROM job_outbox AS o
 WHERE o.processed_at IS NULL
   AND o.retry_count >= o.max_retries
   AND ($1::text IS NULL OR o.saq_queue = $1::text OR o.queue_name = $1::text)
   AND ($2::text IS NULL OR o.job_type = $2::text)
   AND ($3::uuid IS NULL OR o.entity_id = $3::uuid)
   AND ($4::text IS NULL OR strpos(lower(coalesce(o.last_error, '')), lower($4::text)) > 0)
   AND ($5::timestamptz IS NULL OR coalesce(o.last_attempt_at, o.created_at) < $5::timestamptz);

-- name: named_rows
-- The dead rows among $1.
SELECT o.outbox_id, o.saq_queue, o.job_type, o.entity_id AS course_id, o.run_number, o.priority, o.retry_count, o.last_error,
       coalesce(o.last_attempt_at, o.created_at) AS dead_since
  FROM job_outbox AS o
 WHERE o.outbox_id = ANY ($1::uuid[]) AND o.processed_at IS NULL AND o.retry_count >= o.max_retries;

-- name: dead_webhooks
-- A page of webhooks that were given up, the latest first, after ($5, $6): of course $1, of event type $2, with $3 in the reason, dead
-- before $4, as far as given; at most $7. Of the address only who is called: the rest may be a secret.
SELECT d.delivery_id, d.event_type, d.course_id, d.run_number, d.priority, d.attempts, d.dead_since, d.reason, d.receiver
  FROM (
    SELECT w.delivery_id, w.event_type, w.course_id, w.run_number, w.priority, w.attempts, w.settled_at AS dead_since,
           coalesce(w.last_error, 'no answer was good') AS reason, substring(w.url FROM '^[a-z]+://[^/?#]+') AS receiver,
           ('webhook:' || w.delivery_id) COLLATE "C" AS letter
      FROM webhook_deliveries AS w
     WHERE w.status = 'dead'
       AND ($1::uuid IS NULL OR w.course_id = $1::uuid)
       AND ($2::text IS NULL OR w.event_type = $2::text)
       AND ($3::text IS NULL OR strpos(lower(concat_ws(' ', w.last_error, w.url)), lower($3::text)) > 0)
       AND ($4::timestamptz IS NULL OR w.settled_at < $4::timestamptz)
  ) AS d
 WHERE $5::timestamptz IS NULL OR (d.dead_since, d.letter) < ($5::timestamptz, $6::text COLLATE "C")
 ORDER BY d.dead_since DESC, d.letter DESC
 LIMIT $7::integer;

-- name: count_dead_webhooks
-- How many webhooks of the same description there are.
SELECT count(*)
  FROM webhook_deliveries AS w
 WHERE w.status = 'dead'
   AND ($1::uuid IS NULL OR w.course_id = $1::uuid)
   AND ($2::text IS NULL OR w.event_type = $2::text)
   AND ($3::text IS NULL OR strpos(lower(concat_ws(' ', w.last_error, w.url)), lower($3::text)) > 0)
   AND ($4::timestamptz IS NULL OR w.settled_at < $4::timestamptz);

-- name: named_webhooks
-- The dead ones among webhooks $1.
SELECT w.delivery_id, w.event_type, w.course_id, w.run_number, w.priority, w.attempts, w.settled_at AS dead_since,
       coalesce(w.last_error, 'no answer was good') AS reason, substring(w.url FROM '^[a-z]+://[^/?#]+') AS receiver
  FROM webhook_deliveries AS w
 WHERE w.delivery_id = ANY ($1::uuid[]) AND w.status = 'dead';

-- name: discard_attempts
-- Gives up the webhooks whose attempts under way are the discarded jobs $1: nothing else would go on with them.
UPDATE webhook_deliveries AS w
   SET status = 'discarded', outbox_id = NULL, next_attempt_at = NULL, last_error = $2::text, settled_at = now()
 WHERE w.outbox_id = ANY ($1::uuid[]) AND w.status = 'pending';

-- name: unsent_rows
-- Those among rows $1 that lie in the outbox, dead or still to go: whatever a queue holds of them is an older delivery.
SELECT o.outbox_id FROM job_outbox AS o WHERE o.outbox_id = ANY ($1::uuid[]) AND o.processed_at IS NULL;

-- name: missing_courses
-- Those among courses $1 that do not exist any more.
SELECT asked.id
  FROM unnest($1::uuid[]) AS asked(id)
 WHERE NOT EXISTS (SELECT 1 FROM courses AS c WHERE c.id = asked.id);

-- name: lock_courses
-- Takes the row locks of the courses that rows $1 belong to, in the order in which everybody takes them.
SELECT c.id
  FROM courses AS c
 WHERE c.id = ANY (ARRAY(SELECT o.entity_id FROM job_outbox AS o WHERE o.outbox_id = ANY ($1::uuid[])))
 ORDER BY c.id
   FOR NO KEY UPDATE;

-- name: facts
-- What decides about jobs $1: whether their row has left, how they ended, whether a replay of them has begun a run already, and how
-- their course stands.
SELECT o.outbox_id, o.saq_queue AS queue, o.job_type, o.run_number, o.entity_id AS course_id,
       o.processed_at IS NULL AS is_unsent, o.retry_count >= o.max_retries AS is_spent,
       c.run_number AS course_run, coalesce(c.generation_status::text, 'pending') AS state, l.outcome,
       EXISTS (
         SELECT 1 FROM idempotency_keys AS k WHERE k.idempotency_key = 'replay:' || o.outbox_id::text AND k.expires_at > now()
       ) AS is_begun_anew,
       c.user_id, c.organization_id, c.has_files, c.tier, c.priority
  FROM job_outbox AS o
  JOIN courses AS c ON c.id = o.entity_id
  LEFT JOIN effect_ledger AS l ON l.effect_id = o.outbox_id
 WHERE o.outbox_id = ANY ($1::uuid[]);

-- name: revive_rows
-- Gives rows $1 all their tries again and has them leave once more.
UPDATE job_outbox AS o
   SET retry_count = 0, next_attempt_at = NULL, processed_at = NULL
 WHERE o.outbox_id = ANY ($1::uuid[]);

-- name: copy_rows
-- Writes rows $1 once more under the names $2: the same jobs, to be done anew. A name that is there already is left alone.
INSERT INTO job_outbox (outbox_id, entity_id, queue_name, job_type, job_data, job_options, priority, metadata, run_number, max_retries)
SELECT n.copy, o.entity_id, o.queue_name, o.job_type, o.job_data, o.job_options, o.priority,
       o.metadata || jsonb_build_object('replayOf', o.outbox_id), o.run_number, o.max_retries
  FROM unnest($1::uuid[], $2::uuid[]) AS n(original, copy)
  JOIN job_outbox AS o ON o.outbox_id = n.original
    ON CONFLICT (outbox_id) DO NOTHING;

-- name: settle_rows
-- Says in the ledger of jobs $1 that nothing is to be done ($2 says why): a late delivery changes nothing.
INSERT INTO effect_ledger (effect_id, course_id, job_type, run_number, outcome, detail)
SELECT o.outbox_id, o.entity_id, coalesce(o.job_type, 'unknown'), coalesce(o.run_number, 1), 'skipped', $2::jsonb
  FROM job_outbox AS o
 WHERE o.outbox_id = ANY ($1::uuid[])
    ON CONFLICT (effect_id) DO NOTHING;

-- name: flush_rows
-- Takes rows $1 out of the outbox without sending them ($2 says so), as an emergency flush does (contract.md f).
UPDATE job_outbox AS o
   SET processed_at = now(), last_error = left($2::text || coalesce(': ' || o.last_error, ''), 2000)
 WHERE o.outbox_id = ANY ($1::uuid[]) AND o.processed_at IS NULL AND o.retry_count >= o.max_retries;

-- name: end_run
-- Ends the run of a locked course ($1, its state $2, its run $4) whose job was discarded, with its event ($3 is the context).
WITH ended AS (
  UPDATE courses SET generation_status = 'cancelled' WHERE id = $1::uuid RETURNING id
)
INSERT INTO fsm_events (entity_id, event_type, old_state, new_state, triggered_by, created_by, metadata, run_number)
SELECT ended.id, 'STATE_CHANGED', $2::text, 'cancelled', 'API_ADMIN_DISCARD', 'API', $3::jsonb, $4::integer
  FROM ended;

-- name: to_be_told
-- What the webhook of course $1 is to say of its run's end, if it has one; job $2 knows the request that began the run.
SELECT c.id AS course_id, c.slug, c.title, c.organization_id, c.run_number, c.priority, c.webhook_url AS url, o.metadata
  FROM courses AS c
  JOIN job_outbox AS o ON o.outbox_id = $2::uuid
 WHERE c.id = $1::uuid AND c.webhook_url IS NOT NULL;

-- name: release_documents
-- Sets the documents of a locked course back that nobody goes on reading.
UPDATE documents SET status = 'uploaded' WHERE course_id = $1::uuid AND status = 'processing';
