-- name: claim_batch
-- The next rows to put into Redis: per queue the most urgent first, at most $1 rows in all.
-- A lane is a queue and one of eleven priorities, 0 to 10; what lies outside counts as the nearest. $2, $3 and $4 say how many rows
-- each lane has room for; one that is not named has room for $5. $6 are the positions in hand, as a multirange.
-- Bodies are cut off after $7 bytes in all, except that one row always passes; a body over $8 bytes comes as NULL.
-- With $9 the least urgent rows are chosen first: the relay asks so now and then, or they might wait for ever.
-- Rows may be committed in any order, so every call looks from the start of each lane.
WITH RECURSIVE lanes AS (
  (SELECT o.saq_queue, greatest(0, least(10, o.priority)) AS lane
     FROM job_outbox AS o
    WHERE o.processed_at IS NULL AND o.retry_count < o.max_retries
    ORDER BY o.saq_queue, o.priority DESC
    LIMIT 1)
  UNION ALL
  SELECT n.saq_queue, n.lane
    FROM lanes AS l
   CROSS JOIN LATERAL (
      (SELECT o.saq_queue, greatest(0, least(10, o.priority)) AS lane
         FROM job_outbox AS o
        WHERE o.processed_at IS NULL AND o.retry_count < o.max_retries
          AND o.saq_queue = l.saq_queue AND o.priority < l.lane AND l.lane > 0
        ORDER BY o.priority DESC
        LIMIT 1)
      UNION ALL
      (SELECT o.saq_queue, greatest(0, least(10, o.priority)) AS lane
         FROM job_outbox AS o
        WHERE o.processed_at IS NULL AND o.retry_count < o.max_retries AND o.saq_queue > l.saq_queue
        ORDER BY o.saq_queue, o.priority DESC
        LIMIT 1)
      ORDER BY 1
      LIMIT 1
   ) AS n
), found AS (
  SELECT c.position, c.outbox_id, c.entity_id, c.saq_queue, c.job_type, c.job_body, c.priority,
         CASE WHEN $9::boolean THEN -c.priority::bigint ELSE c.priority END AS rank
    FROM lanes AS l
    LEFT JOIN unnest($2::text[], $3::int[], $4::int[]) AS r(saq_queue, lane, room) ON r.saq_queue = l.saq_queue AND r.lane = l.lane
   CROSS JOIN LATERAL (
      SELECT o.position, o.outbox_id, o.entity_id, o.saq_queue, o.job_type, o.job_body, o.priority
        FROM job_outbox AS o
       WHERE o.saq_queue = l.saq_queue
         AND o.priority BETWEEN CASE l.lane WHEN 0 THEN -2147483648 ELSE l.lane END AND CASE l.lane WHEN 10 THEN 2147483647 ELSE l.lane END
         AND o.processed_at IS NULL
         AND o.retry_count < o.max_retries
         AND (o.next_attempt_at IS NULL OR o.next_attempt_at <= now())
         AND NOT o.position <@ (SELECT $6::text::int8multirange)
       ORDER BY o.priority DESC, o.position
       LIMIT least(coalesce(r.room, $5::int), $1::int)
    ) AS c
   ORDER BY rank DESC, c.position
   LIMIT $1::int
), sized AS (
  SELECT f.position, f.outbox_id, f.entity_id, f.saq_queue, f.job_type, f.job_body, f.priority, f.rank,
         octet_length(f.job_body) AS size
    FROM found AS f
), measured AS (
  SELECT s.position, s.outbox_id, s.entity_id, s.saq_queue, s.job_type, s.priority, s.size,
         CASE WHEN s.size <= $8::int THEN s.job_body END AS job_body,
         sum(least(s.size, $8::int)) OVER (ORDER BY s.rank DESC, s.position) - least(s.size, $8::int) AS before
    FROM sized AS s
)
SELECT m.position, m.outbox_id, m.entity_id, m.saq_queue, m.job_type, m.job_body, m.priority, m.size
  FROM measured AS m
 WHERE m.before < $7::int
 ORDER BY m.priority DESC, m.position;

-- name: mark_processed
-- Says of rows $1 that they are in Redis, if $2 is still the leader's epoch; a row that a person has flushed meanwhile is left alone.
-- "Not processed" is written so that no partial index matches it: the primary key is the only right way to these rows, also in a
-- plan that was made while the table was small.
WITH leader AS (
  SELECT l.epoch FROM relay_leadership AS l WHERE l.id AND l.epoch = $2::bigint FOR KEY SHARE
), marked AS (
  UPDATE job_outbox AS o
     SET processed_at = now(), last_attempt_at = now()
    FROM leader
   WHERE o.outbox_id = ANY ($1::uuid[]) AND coalesce(o.processed_at, 'infinity') = 'infinity'
  RETURNING 1
)
SELECT (SELECT count(*) FROM leader) AS leaders, (SELECT count(*) FROM marked) AS changed;

-- name: charge_rows
-- Counts one transient failure of rows $1 (reasons $3) and has them wait $4 seconds, doubled with every failure, before the next try.
WITH leader AS (
  SELECT l.epoch FROM relay_leadership AS l WHERE l.id AND l.epoch = $2::bigint FOR KEY SHARE
), charged AS (
  UPDATE job_outbox AS o
     SET retry_count = o.retry_count + 1,
         last_error = f.reason,
         last_attempt_at = now(),
         next_attempt_at = now() + make_interval(secs => $4::float8 * power(2, o.retry_count) * (0.5 + random() / 2))
    FROM leader, unnest($1::uuid[], $3::text[]) AS f(outbox_id, reason)
   WHERE o.outbox_id = f.outbox_id AND coalesce(o.processed_at, 'infinity') = 'infinity' AND o.retry_count < o.max_retries
  RETURNING o.retry_count >= o.max_retries AS is_dead
)
SELECT (SELECT count(*) FROM leader) AS leaders, (SELECT count(*) FROM charged WHERE is_dead) AS changed;

-- name: bury_rows
-- Ends rows $1 (reasons $3) at once: no further try until a person replays or flushes them.
WITH leader AS (
  SELECT l.epoch FROM relay_leadership AS l WHERE l.id AND l.epoch = $2::bigint FOR KEY SHARE
), buried AS (
  UPDATE job_outbox AS o
     SET retry_count = o.max_retries, last_error = f.reason, last_attempt_at = now(), next_attempt_at = NULL
    FROM leader, unnest($1::uuid[], $3::text[]) AS f(outbox_id, reason)
   WHERE o.outbox_id = f.outbox_id AND coalesce(o.processed_at, 'infinity') = 'infinity'
  RETURNING 1
)
SELECT (SELECT count(*) FROM leader) AS leaders, (SELECT count(*) FROM buried) AS changed;

-- name: probe_due
-- Whether any row waits that may be tried now; the cheap look of an idle relay.
SELECT EXISTS (
  SELECT 1
    FROM job_outbox AS o
   WHERE o.processed_at IS NULL
     AND o.retry_count < o.max_retries
     AND (o.next_attempt_at IS NULL OR o.next_attempt_at <= now())
);

-- name: backlog
-- Queue depth (dead rows included), dead rows, and the age in seconds of the oldest row that is still to go.
SELECT count(*) AS depth,
       count(*) FILTER (WHERE o.retry_count >= o.max_retries) AS dead,
       coalesce(extract(epoch FROM now() - min(o.created_at) FILTER (WHERE o.retry_count < o.max_retries)), 0)::float8 AS oldest_seconds
  FROM job_outbox AS o
 WHERE o.processed_at IS NULL;
