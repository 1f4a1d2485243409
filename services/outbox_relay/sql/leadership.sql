-- name: keep_alive
-- Has the server notice within about 10 s that the host of this session has vanished, and drop its lock.
SELECT set_config('tcp_keepalives_idle', '4', false),
       set_config('tcp_keepalives_interval', '2', false),
       set_config('tcp_keepalives_count', '3', false),
       set_config('tcp_user_timeout', '10000', false);

-- name: try_lock
-- Takes the lock that the leader's session holds, if it is free.
SELECT pg_try_advisory_lock($1::bigint);

-- name: unlock
-- Gives the leader's lock back.
SELECT pg_advisory_unlock($1::bigint);

-- name: unseat
-- Ends the session that holds lock $1 when its leader has not been heard of for $2 seconds: a process that hangs keeps its session open.
SELECT pg_terminate_backend(l.pid)
  FROM pg_locks AS l
  JOIN pg_database AS d ON d.oid = l.database AND d.datname = current_database()
 CROSS JOIN relay_leadership AS r
 WHERE l.locktype = 'advisory'
   AND l.granted
   AND l.objsubid = 1
   AND (l.classid::bigint << 32) | l.objid::bigint = $1::bigint
   AND r.heartbeat_at < now() - make_interval(secs => $2::float8);

-- name: commit_durably
-- Has this transaction wait for the disk: an epoch that a crash took back would be given out twice.
SELECT set_config('synchronous_commit', 'on', true);

-- name: lock_term
-- Holds the row against transactions of the outgoing epoch until they are through.
SELECT epoch FROM relay_leadership WHERE id FOR UPDATE;

-- name: begin_term
-- Makes $1 the leader under the next epoch.
INSERT INTO relay_leadership AS l (id, epoch, holder, acquired_at, heartbeat_at, last_progress_at, poll_interval_ms)
VALUES (true, 1, $1::text, now(), now(), now(), 1000)
    ON CONFLICT (id)
    DO UPDATE SET epoch = l.epoch + 1, holder = excluded.holder, acquired_at = now(), heartbeat_at = now(),
                  last_progress_at = now(), poll_interval_ms = 1000
RETURNING l.epoch;

-- name: overtake
-- Raises the epoch of the leader $1 above $2, which Redis has seen in an earlier life of this database.
UPDATE relay_leadership SET epoch = greatest(epoch, $2::bigint) + 1 WHERE id AND epoch = $1::bigint RETURNING epoch;

-- name: beat
-- The leader lives; $2 seconds ago its loop came round, and it polls every $3 ms.
UPDATE relay_leadership
   SET heartbeat_at = now(), last_progress_at = now() - make_interval(secs => $2::float8), poll_interval_ms = $3::int
 WHERE id AND epoch = $1::bigint
RETURNING epoch;

-- name: end_term
-- The leader of epoch $1 has stopped: whoever asks sees at once that nobody relays.
UPDATE relay_leadership SET holder = NULL, heartbeat_at = NULL WHERE id AND epoch = $1::bigint;

-- name: show_node
-- This relay runs, as leader or standby.
INSERT INTO relay_nodes AS n (node_id, role, started_at, heartbeat_at)
VALUES ($1::text, $2::text, now(), now())
    ON CONFLICT (node_id) DO UPDATE SET role = excluded.role, heartbeat_at = now();

-- name: drop_node
-- This relay has stopped; so have those that have not been heard of for an hour.
DELETE FROM relay_nodes WHERE node_id = $1::text OR heartbeat_at < now() - interval '1 hour';
