-- name: appear
-- The worker $1 lives; those that were not seen for an hour are forgotten.
WITH forgotten AS (
  DELETE FROM message_workers WHERE seen_at < clock_timestamp() - interval '1 hour' AND node <> $1::text
)
INSERT INTO message_workers (node, seen_at) VALUES ($1::text, clock_timestamp())
    ON CONFLICT (node) DO UPDATE SET seen_at = excluded.seen_at;

-- name: leave
-- The worker $1 stops.
DELETE FROM message_workers WHERE node = $1::text;

-- name: add_partitions
-- Rows for the partitions 0 to $1 - 1.
INSERT INTO message_partitions (partition)
SELECT n FROM generate_series(0, $1::int - 1) AS n
 WHERE NOT EXISTS (SELECT FROM message_partitions AS p WHERE p.partition = n)
    ON CONFLICT (partition) DO NOTHING;

-- name: renew
-- Keeps what $1 owns for another $2 seconds; says what that is. A lease that ran out and was not taken is still its owner's.
UPDATE message_partitions
   SET expires_at = clock_timestamp() + make_interval(secs => $2::float8)
 WHERE owner = $1::text
RETURNING partition, epoch;

-- name: standing
-- How many partitions there are, how many workers were seen within $1 seconds, and whether any partition is free.
SELECT (SELECT count(*) FROM message_partitions)::int AS partitions,
       (SELECT count(*) FROM message_workers WHERE seen_at > clock_timestamp() - make_interval(secs => $1::float8))::int AS workers,
       EXISTS (SELECT FROM message_partitions WHERE owner IS NULL OR expires_at < clock_timestamp()) AS has_free;

-- name: take
-- Makes $1 the owner of at most $3 partitions that are free or whose lease ran out, for $2 seconds, each under its next epoch.
-- A partition into which somebody inserts at this moment (see services.persistence_worker: persist) is passed over until he has done.
WITH free AS (
  SELECT partition
    FROM message_partitions
   WHERE owner IS NULL OR expires_at < clock_timestamp()
   ORDER BY partition
   LIMIT $3::int
     FOR UPDATE SKIP LOCKED
)
UPDATE message_partitions AS p
   SET owner = $1::text, epoch = p.epoch + 1, expires_at = clock_timestamp() + make_interval(secs => $2::float8)
  FROM free AS f
 WHERE p.partition = f.partition
RETURNING p.partition, p.epoch;

-- name: give_back
-- The partitions $2, which $1 owns under the epochs $3, are free.
UPDATE message_partitions AS p
   SET owner = NULL, expires_at = '-infinity'
  FROM unnest($2::int[], $3::bigint[]) AS l (partition, epoch)
 WHERE p.partition = l.partition AND p.epoch = l.epoch AND p.owner = $1::text;

-- name: overtake
-- Raises the epoch of the partition $2, which $1 owns under $3, above $4, which Redis has seen in an earlier life of this database.
UPDATE message_partitions
   SET epoch = greatest(epoch, $4::bigint) + 1
 WHERE partition = $2::int AND owner = $1::text AND epoch = $3::bigint
RETURNING epoch;
