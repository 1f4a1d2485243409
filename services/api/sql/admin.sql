-- What administrators look at, and the record of what they do.

-- name: outbox_queues
-- What lies in the outbox, by queue: still to go, waiting for their next try, dead.
SELECT o.saq_queue AS queue,
       count(*) FILTER (WHERE o.retry_count < o.max_retries) AS waiting,
       count(*) FILTER (WHERE o.retry_count < o.max_retries AND o.next_attempt_at > now()) AS delayed,
       count(*) FILTER (WHERE o.retry_count >= o.max_retries) AS dead,
       extract(epoch FROM now() - min(o.created_at) FILTER (WHERE o.retry_count < o.max_retries))::double precision AS oldest_seconds
  FROM job_outbox AS o
 WHERE o.processed_at IS NULL
 GROUP BY o.saq_queue
 ORDER BY o.saq_queue;

-- name: leader
-- Who relays, under which epoch, and when the leader was last heard of.
SELECT l.holder, coalesce(l.epoch, 0) AS epoch, l.acquired_at, l.heartbeat_at, l.last_progress_at, l.poll_interval_ms,
       extract(epoch FROM now() - l.heartbeat_at)::double precision AS heartbeat_age_seconds,
       now() AS read_at
  FROM (SELECT true) AS one
  LEFT JOIN relay_leadership AS l ON true;

-- name: relay_nodes
-- Every relay that has been heard of within the hour, the leader first.
SELECT n.node_id, n.role, n.started_at, n.heartbeat_at,
       extract(epoch FROM now() - n.heartbeat_at)::double precision AS heartbeat_age_seconds
  FROM relay_nodes AS n
 ORDER BY n.role = 'leader' DESC, n.heartbeat_at DESC;

-- name: record_action
-- Writes down what administrator $1 does: action $2 on target $3, in full $4, asked for by request $5.
INSERT INTO admin_actions (user_id, action, target, detail, request_id)
VALUES ($1::uuid, $2::text, $3::text, $4::jsonb, $5::text)
RETURNING id, at;

-- name: complete_action
-- Adds to action $1 what came of it.
UPDATE admin_actions SET detail = detail || jsonb_build_object('result', $2::jsonb) WHERE id = $1::bigint;

-- name: actions
-- A page of actions, the latest first, before id $1: of kind $2 and by administrator $3, if given; at most $4.
SELECT a.id, a.at, a.user_id, a.action, a.target, a.detail, a.request_id
  FROM admin_actions AS a
 WHERE a.id < $1::bigint
   AND ($2::text IS NULL OR a.action = $2::text)
   AND ($3::uuid IS NULL OR a.user_id = $3::uuid)
 ORDER BY a.id DESC
 LIMIT $4::integer;

-- name: events_of_type
-- A page of critical events of one type ($1), the latest first, before ($3, $4): of severity $2 if given; at most $5.
SELECT m.id, m.event_type::text, m.severity::text, m.user_id, m.course_id, m.job_id, m.metadata, m.created_at
  FROM system_metrics AS m
 WHERE m.event_type = $1::metric_event_type
   AND ($2::metric_severity IS NULL OR m.severity = $2::metric_severity)
   AND m.created_at <= $3::timestamptz
   AND (m.created_at < $3::timestamptz OR m.id < $4::bigint)
 ORDER BY m.created_at DESC, m.id DESC
 LIMIT $5::integer;

-- name: events_of_severity
-- A page of critical events of one severity ($1), the latest first, before ($2, $3); at most $4.
SELECT m.id, m.event_type::text, m.severity::text, m.user_id, m.course_id, m.job_id, m.metadata, m.created_at
  FROM system_metrics AS m
 WHERE m.severity = $1::metric_severity
   AND m.created_at <= $2::timestamptz
   AND (m.created_at < $2::timestamptz OR m.id < $3::bigint)
 ORDER BY m.created_at DESC, m.id DESC
 LIMIT $4::integer;

-- name: events
-- A page of critical events of every kind, the latest first, before id $1; at most $2.
SELECT m.id, m.event_type::text, m.severity::text, m.user_id, m.course_id, m.job_id, m.metadata, m.created_at
  FROM system_metrics AS m
 WHERE m.id < $1::bigint
 ORDER BY m.id DESC
 LIMIT $2::integer;

-- name: message_partitions
-- Every partition of the stream of messages with its owner, and whether the owner's lease holds.
SELECT p.partition, p.owner, p.epoch, coalesce(p.expires_at > clock_timestamp(), false) AS owned
  FROM message_partitions AS p
 ORDER BY p.partition;

-- name: message_workers
-- Every persistence-worker that was seen within the hour, and how many partitions it owns.
SELECT w.node, w.seen_at,
       greatest(0, extract(epoch FROM clock_timestamp() - w.seen_at))::double precision AS seen_age_seconds,
       (SELECT count(*) FROM message_partitions AS p WHERE p.owner = w.node AND p.expires_at > clock_timestamp()) AS partitions
  FROM message_workers AS w
 ORDER BY w.node;

-- name: lock_control
-- Whether queue $1 is paused, held still until the transaction ends; no row when nothing was ever said about it.
SELECT c.paused FROM queue_controls AS c WHERE c.saq_queue = $1::text FOR UPDATE;

-- name: changed_limits
-- The limits that an administrator has changed, with who and when.
SELECT l.scope, l.slots, l.changed_by, l.changed_at FROM concurrency_limits AS l;

-- name: lock_limit
-- What limit $1 was changed to, held still until the transaction ends; no row while it is as configured.
SELECT l.slots FROM concurrency_limits AS l WHERE l.scope = $1::text FOR UPDATE;

-- name: running_by_user
-- How many courses of each user run now.
SELECT c.user_id, max(c.tier) AS tier, count(*) AS truth
  FROM courses AS c
 WHERE c.generation_status >= 'stage_2_init' AND c.generation_status <= 'stage_5_complete'
 GROUP BY c.user_id;
