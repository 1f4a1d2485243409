-- name: outbox_state
-- What the outbox and its relay look like now. Dead rows count in the depth; the oldest is of those still to go, as the relay shows it.
-- Three questions, since both counts are answered by an index alone (idx_job_outbox_unprocessed, idx_job_outbox_pending): once autovacuum
-- has been at a standing backlog that costs a third of one look at its rows. The oldest is sought in the order of
-- idx_job_outbox_unprocessed, which knows nothing of retries: each dead row that is older is looked at in the table.
SELECT waiting.queue_depth,
       waiting.queue_depth - waiting.to_go AS dead_rows,
       COALESCE(extract(epoch FROM now() - waiting.oldest), 0)::double precision AS oldest_seconds,
       leader.holder,
       leader.heartbeat_at,
       leader.last_progress_at,
       leader.poll_interval_ms,
       leader.epoch,
       now() AS read_at
  FROM (SELECT (SELECT count(*) FROM job_outbox WHERE processed_at IS NULL) AS queue_depth,
               (SELECT count(*) FROM job_outbox WHERE processed_at IS NULL AND retry_count < max_retries) AS to_go,
               (SELECT min(created_at) FROM job_outbox WHERE processed_at IS NULL AND retry_count < max_retries) AS oldest) AS waiting
  LEFT JOIN relay_leadership AS leader ON true;

-- name: recent_activations
-- How often Layers 2 and 3 had to initialise a course in the last 24 hours.
SELECT count(*)
  FROM fsm_events
 WHERE created_at > now() - interval '24 hours'
   AND event_type = 'FSM_INITIALIZED'
   AND created_by IN ('QUEUE', 'WORKER')
   AND triggered_by <> 'WORKER_STAGE_COMPLETE';

-- name: recent_failures
-- The ten latest failures recorded per event, newest first.
SELECT entity_id, metadata ->> 'error' AS reason, extract(epoch FROM created_at)::double precision AS at
  FROM fsm_events
 WHERE metadata ? 'error'
 ORDER BY created_at DESC
 LIMIT 10;
