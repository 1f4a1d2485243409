-- name: add_values
-- Add to counters and histogram buckets: names $1, labels $2, buckets $3, amounts $4, in one order for all writers.
INSERT INTO metric_values AS kept (name, label, bucket, value, updated_at)
SELECT added.name, added.label, added.bucket, added.amount, now()
  FROM unnest($1::text[], $2::text[], $3::int[], $4::float8[]) AS added(name, label, bucket, amount)
 ORDER BY added.name, added.label, added.bucket
    ON CONFLICT (name, label, bucket)
    DO UPDATE SET value = kept.value + excluded.value, updated_at = excluded.updated_at;

-- name: read_values
-- Everything that was ever counted, and when this was read; a row without a name where nothing was.
SELECT clock.read_at, kept.name, kept.label, kept.bucket, kept.value
  FROM (SELECT now() AS read_at) AS clock
  LEFT JOIN metric_values AS kept ON true;
