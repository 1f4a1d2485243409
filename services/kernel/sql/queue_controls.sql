-- Which queues are paused; the truth beside which Redis holds a copy.

-- name: record_control
-- Says that queue $1 is paused or not ($2), by whom ($3) and why ($4).
INSERT INTO queue_controls AS c (saq_queue, paused, changed_by, reason, changed_at)
VALUES ($1::text, $2::boolean, $3::uuid, $4::text, clock_timestamp())
    ON CONFLICT (saq_queue)
    DO UPDATE SET paused = excluded.paused, changed_by = excluded.changed_by, reason = excluded.reason, changed_at = excluded.changed_at
RETURNING c.saq_queue, c.paused, c.reason, c.changed_by, c.changed_at;

-- name: controls
-- Every queue that was ever paused.
SELECT c.saq_queue, c.paused, c.reason, c.changed_by, c.changed_at
  FROM queue_controls AS c
 ORDER BY c.saq_queue;
