-- name: claim_creation
-- Take a key ($1) for 24 hours with what the request says ($2); nothing when another request has it, which is waited for.
INSERT INTO idempotency_keys AS k (idempotency_key, result_cache)
VALUES ($1::text, $2::jsonb)
    ON CONFLICT (idempotency_key) DO UPDATE
   SET result_cache = excluded.result_cache, entity_id = NULL, created_at = now(), expires_at = now() + interval '24 hours'
 WHERE k.expires_at <= clock_timestamp()
RETURNING true;

-- name: bind_creation
-- Say which course ($2) was created under a key ($1); with the course the key goes.
UPDATE idempotency_keys SET entity_id = $2::uuid WHERE idempotency_key = $1::text;

-- name: creation_of_key
-- What was created under a key, and what the request said.
SELECT k.entity_id AS course_id, k.result_cache AS request
  FROM idempotency_keys AS k
 WHERE k.idempotency_key = $1::text;
