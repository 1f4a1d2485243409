-- What `coursegen verify` and scripts/verify-deployment.sh ask PostgreSQL: each answer is one JSON object. Nothing is written.
-- No statement takes a parameter, so that psql runs them as they stand.

-- name: connection
-- Who is signed in where, and whether the server takes writes.
SELECT json_build_object(
         'user', current_user,
         'version', current_setting('server_version'),
         'versionNumber', current_setting('server_version_num')::int,
         'readOnly', pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on',
         'connections', (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
         'mostConnections', current_setting('max_connections')::int
       );

-- name: migrations
-- Which migrations were applied, and the identity of this installation: when the first of coursegen's was (as in schema.sql).
SELECT json_build_object(
         'applied', coalesce(json_agg(version ORDER BY version), '[]'::json),
         'installation', max(to_char(executed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))
                         FILTER (WHERE version = '20251001000000')
       )
  FROM supabase_migrations.schema_migrations;

-- name: tables
-- The outbox's tables with their row security and indexes, the function that writes them, and the cleanup jobs.
SELECT json_build_object(
         'tables', (
           SELECT coalesce(json_object_agg(c.relname, json_build_object(
                    'rowSecurity', c.relrowsecurity AND c.relforcerowsecurity,
                    'policies', (SELECT count(*) FROM pg_policies AS p WHERE p.schemaname = 'public' AND p.tablename = c.relname)
                  )), '{}'::json)
             FROM pg_class AS c
            WHERE c.relnamespace = 'public'::regnamespace
              AND c.relkind IN ('r', 'p')
              AND c.relname IN ('job_outbox', 'idempotency_keys', 'fsm_events')
         ),
         'indexes', (
           SELECT coalesce(json_agg(n.relname ORDER BY n.relname), '[]'::json)
             FROM pg_index AS i
             JOIN pg_class AS c ON c.oid = i.indrelid
             JOIN pg_class AS n ON n.oid = i.indexrelid
            WHERE c.relnamespace = 'public'::regnamespace
              AND c.relname IN ('job_outbox', 'idempotency_keys', 'fsm_events')
              AND i.indisvalid
         ),
         'function', (
           SELECT json_build_object(
                    'definer', f.prosecdef,
                    'searchPath', (SELECT setting FROM unnest(f.proconfig) AS setting WHERE setting LIKE 'search_path=%'),
                    'authenticated', has_function_privilege('authenticated', f.oid, 'EXECUTE'),
                    'service', has_function_privilege('service_role', f.oid, 'EXECUTE')
                  )
             FROM pg_proc AS f
            WHERE f.pronamespace = 'public'::regnamespace
              AND f.proname = 'initialize_fsm_with_outbox'
            LIMIT 1
         ),
         'jobs', (SELECT coalesce(json_object_agg(j.jobname, j.active), '{}'::json) FROM cron.job AS j)
       );

-- name: outbox
-- What waits in the outbox, and who relays; ages in seconds.
SELECT json_build_object(
         'depth', (SELECT count(*) FROM job_outbox WHERE processed_at IS NULL),
         'dead', (SELECT count(*) FROM job_outbox WHERE processed_at IS NULL AND retry_count >= max_retries),
         'oldestSeconds', coalesce(
           (SELECT extract(epoch FROM now() - min(created_at)) FROM job_outbox WHERE processed_at IS NULL AND retry_count < max_retries), 0
         )::double precision,
         'leader', l.holder,
         'epoch', l.epoch,
         'heartbeatSeconds', extract(epoch FROM now() - l.heartbeat_at)::double precision,
         'progressSeconds', extract(epoch FROM now() - l.last_progress_at)::double precision
       )
  FROM (SELECT true) AS one
  LEFT JOIN relay_leadership AS l ON true;

-- name: queues
-- Which queues are paused, since when, and how many of their jobs are not done: those of running courses, and those beside them.
SELECT json_build_object(
         'paused', coalesce(json_agg(json_build_object(
           'queue', q.saq_queue,
           'since', to_char(q.changed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
           'jobs', (
             SELECT count(*)
               FROM (
                 SELECT o.outbox_id
                   FROM courses AS c
                   JOIN job_outbox AS o ON o.entity_id = c.id AND o.run_number = c.run_number
                  WHERE c.generation_status >= 'stage_2_init'
                    AND c.generation_status <= 'stage_5_complete'
                    AND o.saq_queue = q.saq_queue
                    AND o.retry_count < o.max_retries
                 UNION
                 SELECT j.outbox_id FROM open_jobs AS j WHERE j.saq_queue = q.saq_queue
               ) AS o
              WHERE NOT EXISTS (SELECT FROM effect_ledger AS l WHERE l.effect_id = o.outbox_id)
           )
         ) ORDER BY q.saq_queue), '[]'::json)
       )
  FROM queue_controls AS q
 WHERE q.paused;

-- name: fallbacks
-- How often Layers 2 and 3 initialised a course lately.
SELECT json_build_object(
         'lastHour', count(*) FILTER (WHERE created_at > now() - interval '1 hour'),
         'lastDay', count(*)
       )
  FROM fsm_events
 WHERE created_at > now() - interval '24 hours'
   AND event_type = 'FSM_INITIALIZED'
   AND created_by IN ('QUEUE', 'WORKER')
   AND triggered_by <> 'WORKER_STAGE_COMPLETE';

-- name: events
-- What was written down lately, how initiations ended, and running courses without a history.
SELECT json_build_object(
         'lastHour', (SELECT count(*) FROM fsm_events WHERE created_at > now() - interval '1 hour'),
         'initiated', (
           SELECT count(*) FROM fsm_events
            WHERE created_at > now() - interval '15 minutes' AND event_type = 'FSM_INITIALIZED' AND created_by = 'API'
         ),
         'failed', (
           SELECT count(*) FROM system_metrics
            WHERE event_type = 'job_rollback' AND created_at > now() - interval '15 minutes'
         ),
         'givenUpLastDay', (
           SELECT count(*) FROM system_metrics
            WHERE event_type = 'job_rollback' AND created_at > now() - interval '24 hours'
         ),
         'coursesWithoutHistory', (
           SELECT count(*)
             FROM courses AS c
            WHERE c.generation_status >= 'stage_2_init'
              AND c.generation_status <= 'stage_5_complete'
              AND NOT EXISTS (SELECT FROM fsm_events AS e WHERE e.entity_id = c.id)
         )
       );
