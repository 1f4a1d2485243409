-- Retention: what is old enough to go, in each table (contract.md m).
--
-- survey_* look without removing: how many rows of the target there are, how many of them are older than $1, and how old the
-- oldest is; sample_* look at about $2 percent of the table's pages instead. remove_* remove at most $2 of the rows older than $1.
-- Rows that somebody else holds are left for the next run: nobody waits for a cleanup, and no cleanup for him.

-- name: cutoff
-- The moment before which rows are old when $1 is kept, by the database's clock, which also wrote them.
SELECT now() - $1::interval;

-- name: limit_statements
-- For this transaction: no statement longer than $1, in PostgreSQL's words.
SELECT set_config('statement_timeout', $1::text, true);

-- name: hold_target
-- Whether target $1 is held now, until the transaction ends; false when somebody else removes from it.
SELECT pg_try_advisory_xact_lock(hashtextextended('coursegen retention ' || $1::text, 0));

-- name: table_size
-- About how many rows and pages table $1 has, as the last VACUUM or ANALYZE saw it; -1 rows when it was never looked at.
SELECT c.reltuples::float8 AS rows, greatest(pg_relation_size(c.oid) / current_setting('block_size')::bigint, 1)::float8 AS pages
  FROM pg_class AS c
 WHERE c.oid = to_regclass($1::text);

-- name: survey_outbox_published
-- Outbox rows that the relay has handed over. A job whose course still waits for its effect is no history: the reconciler needs it.
SELECT count(*) AS present, min(o.processed_at) AS oldest,
       count(*) FILTER (
           WHERE o.processed_at < $1::timestamptz
             AND NOT (
                 EXISTS (
                     SELECT FROM courses AS c
                      WHERE c.id = o.entity_id AND c.run_number = o.run_number
                        AND c.generation_status BETWEEN 'stage_2_init' AND 'stage_5_complete'
                 )
                 AND o.job_type IN ('DOCUMENT_PROCESSING', 'STRUCTURE_ANALYSIS', 'STRUCTURE_GENERATION')
                 AND NOT EXISTS (SELECT FROM effect_ledger AS l WHERE l.effect_id = o.outbox_id)
             )
       ) AS matched
  FROM job_outbox AS o
 WHERE o.processed_at IS NOT NULL;

-- name: sample_outbox_published
-- The same by a sample, in which every old row counts as matched: those a course waits for are few.
SELECT count(*) AS present, min(o.processed_at) AS oldest, count(*) FILTER (WHERE o.processed_at < $1::timestamptz) AS matched
  FROM job_outbox AS o TABLESAMPLE SYSTEM ($2::real)
 WHERE o.processed_at IS NOT NULL;

-- name: remove_outbox_published
-- The condition is that of cleanup_processed_outbox_entries.
WITH batch AS (
    SELECT o.outbox_id
      FROM job_outbox AS o
     WHERE o.processed_at < $1::timestamptz
       AND NOT (
           EXISTS (
               SELECT FROM courses AS c
                WHERE c.id = o.entity_id AND c.run_number = o.run_number
                  AND c.generation_status BETWEEN 'stage_2_init' AND 'stage_5_complete'
           )
           AND o.job_type IN ('DOCUMENT_PROCESSING', 'STRUCTURE_ANALYSIS', 'STRUCTURE_GENERATION')
           AND NOT EXISTS (SELECT FROM effect_ledger AS l WHERE l.effect_id = o.outbox_id)
       )
     LIMIT $2::integer
       FOR UPDATE OF o SKIP LOCKED
), removed AS (
    DELETE FROM job_outbox AS o USING batch AS b WHERE o.outbox_id = b.outbox_id RETURNING 1
)
SELECT count(*) FROM removed;

-- name: survey_outbox_dead
-- Dead outbox rows, as old as their last attempt. One whose course still waits for it stays: somebody may want to replay it.
SELECT count(*) AS present, min(coalesce(o.last_attempt_at, o.created_at)) AS oldest,
       count(*) FILTER (
           WHERE coalesce(o.last_attempt_at, o.created_at) < $1::timestamptz
             AND NOT EXISTS (
                 SELECT FROM courses AS c
                  WHERE c.id = o.entity_id AND c.run_number = o.run_number
                    AND c.generation_status BETWEEN 'stage_2_init' AND 'stage_5_complete'
             )
       ) AS matched
  FROM job_outbox AS o
 WHERE o.processed_at IS NULL AND o.retry_count >= o.max_retries;

-- name: sample_outbox_dead
-- The same by a sample, in which every old row counts as matched.
SELECT count(*) AS present, min(coalesce(o.last_attempt_at, o.created_at)) AS oldest,
       count(*) FILTER (WHERE coalesce(o.last_attempt_at, o.created_at) < $1::timestamptz) AS matched
  FROM job_outbox AS o TABLESAMPLE SYSTEM ($2::real)
 WHERE o.processed_at IS NULL AND o.retry_count >= o.max_retries;

-- name: remove_outbox_dead
-- A row that was replayed in the meantime is dead no longer, and stays.
WITH batch AS (
    SELECT o.outbox_id
      FROM job_outbox AS o
     WHERE o.processed_at IS NULL AND o.retry_count >= o.max_retries
       AND coalesce(o.last_attempt_at, o.created_at) < $1::timestamptz
       AND NOT EXISTS (
           SELECT FROM courses AS c
            WHERE c.id = o.entity_id AND c.run_number = o.run_number
              AND c.generation_status BETWEEN 'stage_2_init' AND 'stage_5_complete'
       )
     LIMIT $2::integer
       FOR UPDATE OF o SKIP LOCKED
), removed AS (
    DELETE FROM job_outbox AS o USING batch AS b WHERE o.outbox_id = b.outbox_id RETURNING 1
)
SELECT count(*) FROM removed;

-- name: survey_idempotency_keys
-- Keys; one that is still valid is not matched, however old.
SELECT count(*) AS present, min(k.created_at) AS oldest,
       count(*) FILTER (WHERE k.created_at < $1::timestamptz AND k.expires_at < now()) AS matched
  FROM idempotency_keys AS k;

-- name: sample_idempotency_keys
-- The same by a sample.
SELECT count(*) AS present, min(k.created_at) AS oldest,
       count(*) FILTER (WHERE k.created_at < $1::timestamptz AND k.expires_at < now()) AS matched
  FROM idempotency_keys AS k TABLESAMPLE SYSTEM ($2::real);

-- name: remove_idempotency_keys
-- The condition is that of cleanup_expired_idempotency_keys.
WITH batch AS (
    SELECT k.idempotency_key
      FROM idempotency_keys AS k
     WHERE k.created_at < $1::timestamptz AND k.expires_at < now()
     ORDER BY k.created_at
     LIMIT $2::integer
       FOR UPDATE SKIP LOCKED
), removed AS (
    DELETE FROM idempotency_keys AS k USING batch AS b WHERE k.idempotency_key = b.idempotency_key RETURNING 1
)
SELECT count(*) FROM removed;

-- name: survey_fsm_events
-- Events of the state machine.
SELECT count(*) AS present, min(e.created_at) AS oldest, count(*) FILTER (WHERE e.created_at < $1::timestamptz) AS matched
  FROM fsm_events AS e;

-- name: sample_fsm_events
-- The same by a sample.
SELECT count(*) AS present, min(e.created_at) AS oldest, count(*) FILTER (WHERE e.created_at < $1::timestamptz) AS matched
  FROM fsm_events AS e TABLESAMPLE SYSTEM ($2::real);

-- name: remove_fsm_events
-- The condition is that of cleanup_old_fsm_events.
WITH batch AS (
    SELECT e.event_id
      FROM fsm_events AS e
     WHERE e.created_at < $1::timestamptz
     ORDER BY e.created_at
     LIMIT $2::integer
       FOR UPDATE SKIP LOCKED
), removed AS (
    DELETE FROM fsm_events AS e USING batch AS b WHERE e.event_id = b.event_id RETURNING 1
)
SELECT count(*) FROM removed;

-- name: remove_beside_fsm_events
-- What the schedule's job for history removes with the events: critical events older than $1, administrators' actions of a year.
SELECT public.cleanup_old_system_metrics(now() - $1::timestamptz, $2::integer) + public.cleanup_old_admin_actions($2::integer);

-- name: survey_messages
-- Messages, by when they were accepted.
SELECT count(*) AS present, min(m.createdat) AS oldest, count(*) FILTER (WHERE m.createdat < $1::timestamptz) AS matched
  FROM messages AS m;

-- name: sample_messages
-- The same by a sample.
SELECT count(*) AS present, min(m.createdat) AS oldest, count(*) FILTER (WHERE m.createdat < $1::timestamptz) AS matched
  FROM messages AS m TABLESAMPLE SYSTEM ($2::real);

-- name: remove_messages
-- With each message its receipts and its long content.
WITH batch AS (
    SELECT m.id
      FROM messages AS m
     WHERE m.createdat < $1::timestamptz
     ORDER BY m.createdat
     LIMIT $2::integer
       FOR UPDATE SKIP LOCKED
), removed AS (
    DELETE FROM messages AS m USING batch AS b WHERE m.id = b.id RETURNING m.id, m.payloadkey
), receipts AS (
    DELETE FROM message_receipts AS r WHERE r.messageid = ANY (ARRAY(SELECT m.id FROM removed AS m))
), payloads AS (
    DELETE FROM message_payloads AS p WHERE p.payloadkey = ANY (ARRAY(SELECT m.payloadkey FROM removed AS m))
)
SELECT count(*) FROM removed;

-- name: remove_beside_messages
-- Long contents older than $1 whose message has another one, or was never accepted. Their key begins with the message's id. And receipts
-- of messages that never got a row, which may be receipted while they are pending: looked for once no message is left that is as old,
-- for nothing but a look at all receipts finds them.
WITH batch AS (
    SELECT p.payloadkey
      FROM message_payloads AS p
     WHERE p.createdat < $1::timestamptz
       AND NOT EXISTS (SELECT FROM messages AS m WHERE m.id = split_part(p.payloadkey, '/', 1) AND m.payloadkey = p.payloadkey)
     LIMIT $2::integer
       FOR UPDATE SKIP LOCKED
), removed AS (
    DELETE FROM message_payloads AS p USING batch AS b WHERE p.payloadkey = b.payloadkey RETURNING 1
), orphans AS (
    SELECT r.messageid, r.userid, r.state
      FROM message_receipts AS r
     WHERE r.createdat < $1::timestamptz
       AND NOT EXISTS (SELECT FROM messages AS m WHERE m.createdat < $1::timestamptz)
       AND NOT EXISTS (SELECT FROM messages AS m WHERE m.id = r.messageid)
     LIMIT $2::integer
       FOR UPDATE OF r SKIP LOCKED
), receipts AS (
    DELETE FROM message_receipts AS r USING orphans AS o
     WHERE r.messageid = o.messageid AND r.userid = o.userid AND r.state = o.state
    RETURNING 1
)
SELECT (SELECT count(*) FROM removed) + (SELECT count(*) FROM receipts);

-- name: find_table
-- Where table $1 (its schema before a dot, or public) with column $2 stands, or why it cannot be cleaned. Names are taken as they
-- are written, capitals included; `kind` and `type` are NULL for what does not exist.
SELECT n.nspname AS schema_name, c.relname AS table_name, c.relkind::text AS kind, a.attname AS column_name,
       t.typname::text AS type
  FROM (
    SELECT CASE WHEN strpos($1::text, '.') > 0 THEN split_part($1::text, '.', 1) ELSE 'public' END AS schema_name,
           CASE WHEN strpos($1::text, '.') > 0 THEN substr($1::text, strpos($1::text, '.') + 1) ELSE $1::text END AS table_name
  ) AS asked
  LEFT JOIN pg_namespace AS n ON n.nspname = asked.schema_name
  LEFT JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = asked.table_name
  LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = $2::text AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_type AS t ON t.oid = a.atttypid;

-- name: compose
-- The three statements for table $1.$2 by its column $3, with every name quoted by PostgreSQL itself; and the quoted table. A row
-- is known by its partition and its place there, since the table may have no key; while it is locked, its place is its own.
SELECT format('%I.%I', $1::text, $2::text) AS relation,
       format(
           'SELECT count(*) AS present, min(r.%3$I)::timestamptz AS oldest, count(*) FILTER (WHERE r.%3$I < $1::timestamptz) AS matched'
           ' FROM %1$I.%2$I AS r',
           $1::text, $2::text, $3::text
       ) AS survey,
       format(
           'SELECT count(*) AS present, min(r.%3$I)::timestamptz AS oldest, count(*) FILTER (WHERE r.%3$I < $1::timestamptz) AS matched'
           ' FROM %1$I.%2$I AS r TABLESAMPLE SYSTEM ($2::real)',
           $1::text, $2::text, $3::text
       ) AS sample,
       format(
           'WITH batch AS (SELECT r.tableoid AS part, r.ctid AS place FROM %1$I.%2$I AS r'
           ' WHERE r.%3$I < $1::timestamptz LIMIT $2::integer FOR UPDATE SKIP LOCKED),'
           ' removed AS (DELETE FROM %1$I.%2$I AS r USING batch AS b'
           ' WHERE r.tableoid = b.part AND r.ctid = b.place RETURNING 1)'
           ' SELECT count(*) FROM removed',
           $1::text, $2::text, $3::text
       ) AS remove;
