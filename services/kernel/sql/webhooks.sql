-- What is to be told to whom about the end of a run, how that goes on, and the secrets that sign it.

-- name: announce
-- Writes a delivery and the outbox row of its first attempt, once per run, in the caller's transaction.
WITH announced AS (
    INSERT INTO webhook_deliveries (delivery_id, course_id, organization_id, run_number, event_type, url, body, priority, metadata,
                                    outbox_id)
    VALUES ($1::uuid, $2::uuid, $3::uuid, $4::integer, $5::text, $6::text, $7::text, $8::integer, $9::jsonb, $10::uuid)
    ON CONFLICT (course_id, run_number) DO NOTHING
    RETURNING delivery_id, course_id, run_number, priority, metadata, outbox_id
)
INSERT INTO job_outbox (outbox_id, entity_id, run_number, queue_name, job_type, job_data, job_options, priority, metadata)
SELECT a.outbox_id, a.course_id, a.run_number, 'webhooks', 'WEBHOOK_DELIVERY',
       jsonb_build_object('deliveryId', a.delivery_id, 'attempt', 1, 'userId', c.user_id, 'organizationId', c.organization_id),
       '{"timeout": 60}'::jsonb, a.priority, a.metadata
  FROM announced AS a
  JOIN courses AS c ON c.id = a.course_id;

-- name: write_due
-- Writes the outbox rows of at most $1 deliveries whose next attempt is due; several workers may do so at once.
-- A course that is being deleted is passed over: waiting for it here could be waiting for each other.
WITH due AS (
    SELECT d.delivery_id, c.user_id
      FROM webhook_deliveries AS d
      JOIN courses AS c ON c.id = d.course_id
     WHERE d.status = 'pending' AND d.outbox_id IS NULL AND d.next_attempt_at <= now()
     ORDER BY d.next_attempt_at
     LIMIT $1::integer
       FOR UPDATE OF d SKIP LOCKED
       FOR KEY SHARE OF c SKIP LOCKED
), taken AS (
    UPDATE webhook_deliveries AS d
       SET outbox_id = gen_random_uuid(), next_attempt_at = NULL
      FROM due
     WHERE d.delivery_id = due.delivery_id
    RETURNING d.delivery_id, d.course_id, d.organization_id, d.run_number, d.priority, d.metadata, d.outbox_id, d.attempts,
              due.user_id
), written AS (
    INSERT INTO job_outbox (outbox_id, entity_id, run_number, queue_name, job_type, job_data, job_options, priority, metadata)
    SELECT t.outbox_id, t.course_id, t.run_number, 'webhooks', 'WEBHOOK_DELIVERY',
           jsonb_build_object('deliveryId', t.delivery_id, 'attempt', t.attempts + 1, 'userId', t.user_id,
                              'organizationId', t.organization_id),
           '{"timeout": 60}'::jsonb, t.priority, t.metadata
      FROM taken AS t
    RETURNING 1
)
SELECT count(*) FROM written;

-- name: recover_lost
-- Lets deliveries go on whose outbox row somebody has removed before its attempt was settled.
WITH recovered AS (
    UPDATE webhook_deliveries AS d
       SET outbox_id = NULL, next_attempt_at = now()
     WHERE d.status = 'pending' AND d.outbox_id IS NOT NULL
       AND NOT EXISTS (SELECT FROM job_outbox AS o WHERE o.outbox_id = d.outbox_id)
    RETURNING 1
)
SELECT count(*) FROM recovered;

-- name: remove_settled
-- Retention: removes at most $2 deliveries that were delivered or discarded before $1.
WITH removed AS (
    DELETE FROM webhook_deliveries AS d
     WHERE d.delivery_id = ANY (ARRAY(
        SELECT s.delivery_id
          FROM webhook_deliveries AS s
         WHERE s.status IN ('delivered', 'discarded') AND s.settled_at < $1::timestamptz
         ORDER BY s.settled_at
         LIMIT $2::integer
     ))
    RETURNING 1
)
SELECT count(*) FROM removed;

-- name: attempt_of
-- What the job of outbox row $1 is to send; nothing when that attempt is not the one under way (any more).
SELECT d.delivery_id, d.organization_id, d.event_type, d.url, d.body, d.attempts, d.run_number
  FROM webhook_deliveries AS d
 WHERE d.outbox_id = $1::uuid AND d.status = 'pending';

-- name: record_delivered
-- The receiver has accepted the attempt of outbox row $1 with status $2.
UPDATE webhook_deliveries AS d
   SET status = 'delivered', attempts = d.attempts + 1, last_status = $2::integer, last_error = NULL,
       last_attempt_at = now(), settled_at = now()
 WHERE d.outbox_id = $1::uuid AND d.status = 'pending';

-- name: record_failed
-- The attempt of outbox row $1 has failed with status $2 and reason $3; the next is due in $4 seconds.
UPDATE webhook_deliveries AS d
   SET attempts = d.attempts + 1, last_status = $2::integer, last_error = $3::text, last_attempt_at = now(),
       outbox_id = NULL, next_attempt_at = now() + make_interval(secs => $4::float8)
 WHERE d.outbox_id = $1::uuid AND d.status = 'pending';

-- name: bury
-- Gives the delivery up after the attempt of outbox row $1, with status $2 and reason $3: a dead letter.
UPDATE webhook_deliveries AS d
   SET status = 'dead', attempts = d.attempts + 1, last_status = coalesce($2::integer, d.last_status), last_error = $3::text,
       last_attempt_at = now(), settled_at = now(), outbox_id = NULL, next_attempt_at = NULL
 WHERE d.outbox_id = $1::uuid AND d.status = 'pending';

-- name: dead_deliveries
-- The dead letters that match every condition given, oldest first, from $7 on, at most $8.
SELECT d.delivery_id, d.course_id, d.organization_id, d.run_number, d.event_type, d.url, d.attempts, d.replays, d.last_status,
       d.last_error, d.created_at, d.settled_at
  FROM webhook_deliveries AS d
 WHERE d.status = 'dead'
   AND ($1::uuid[] IS NULL OR d.delivery_id = ANY ($1::uuid[]))
   AND ($2::uuid IS NULL OR d.course_id = $2::uuid)
   AND ($3::uuid IS NULL OR d.organization_id = $3::uuid)
   AND ($4::text IS NULL OR d.event_type = $4::text)
   AND ($5::text IS NULL OR position(lower($5::text) IN lower(d.last_error)) > 0)
   AND ($6::timestamptz IS NULL OR d.settled_at < $6::timestamptz)
 ORDER BY d.settled_at, d.delivery_id
OFFSET $7::bigint
 LIMIT $8::bigint;

-- name: count_dead
-- How many dead letters match every condition given.
SELECT count(*)
  FROM webhook_deliveries AS d
 WHERE d.status = 'dead'
   AND ($1::uuid[] IS NULL OR d.delivery_id = ANY ($1::uuid[]))
   AND ($2::uuid IS NULL OR d.course_id = $2::uuid)
   AND ($3::uuid IS NULL OR d.organization_id = $3::uuid)
   AND ($4::text IS NULL OR d.event_type = $4::text)
   AND ($5::text IS NULL OR position(lower($5::text) IN lower(d.last_error)) > 0)
   AND ($6::timestamptz IS NULL OR d.settled_at < $6::timestamptz);

-- name: replay_dead
-- Makes the dead letters $1 due again, with all their attempts before them; those whose course is gone stay dead.
UPDATE webhook_deliveries AS d
   SET status = 'pending', attempts = 0, replays = d.replays + 1, outbox_id = NULL, next_attempt_at = now(), settled_at = NULL
 WHERE d.delivery_id = ANY ($1::uuid[]) AND d.status = 'dead' AND d.course_id IS NOT NULL
RETURNING d.delivery_id;

-- name: discard_dead
-- Takes the dead letters $1 out of sight; retention removes them.
UPDATE webhook_deliveries AS d
   SET status = 'discarded', settled_at = now()
 WHERE d.delivery_id = ANY ($1::uuid[]) AND d.status = 'dead'
RETURNING d.delivery_id;

-- name: tally
-- How many deliveries wait for an attempt, and how many are dead.
SELECT (SELECT count(*) FROM webhook_deliveries WHERE status = 'pending' AND outbox_id IS NULL)
       + (SELECT count(*) FROM webhook_deliveries WHERE status = 'pending' AND outbox_id IS NOT NULL) AS pending,
       (SELECT count(*) FROM webhook_deliveries WHERE status = 'dead') AS dead;

-- name: lock_secrets
-- Lets one at a time change the secrets of an organisation, until the transaction ends.
SELECT pg_advisory_xact_lock(hashtextextended('webhook_secrets:' || $1::uuid, 0));

-- name: signing_secrets
-- The secrets that sign for organisation $1 now, newest first, at most $2.
SELECT s.secret_id, s.ciphertext
  FROM webhook_secrets AS s
 WHERE s.organization_id = $1::uuid AND (s.retires_at IS NULL OR s.retires_at > now())
 ORDER BY s.created_at DESC
 LIMIT $2::integer;

-- name: rotation_possible_at
-- From when organization $1 has fewer than $2 secrets that sign; nothing if that is so now.
SELECT s.retires_at
  FROM webhook_secrets AS s
 WHERE s.organization_id = $1::uuid AND (s.retires_at IS NULL OR s.retires_at > clock_timestamp())
 ORDER BY s.retires_at DESC NULLS FIRST
OFFSET $2::integer - 1
 LIMIT 1;

-- name: retire_current
-- The present secret of organisation $1 signs for $2 more seconds beside its successor; says until when.
UPDATE webhook_secrets AS s
   SET retires_at = clock_timestamp() + make_interval(secs => $2::float8)
 WHERE s.organization_id = $1::uuid AND s.retires_at IS NULL
RETURNING s.retires_at;

-- name: add_secret
-- Makes secret $1 the current one of organisation $2.
INSERT INTO webhook_secrets (secret_id, organization_id, ciphertext, created_at)
VALUES ($1::uuid, $2::uuid, $3::text, clock_timestamp())
RETURNING created_at;

-- name: encrypt_again
-- Keeps secret $1 under a newer key.
UPDATE webhook_secrets AS s SET ciphertext = $3::text WHERE s.secret_id = $1::uuid AND s.ciphertext = $2::text;

-- name: remove_retired
-- Retention: removes the secrets that have retired.
DELETE FROM webhook_secrets AS s WHERE s.retires_at < now();
