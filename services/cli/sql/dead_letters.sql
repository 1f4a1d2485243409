-- Outbox rows that nothing tries again by itself: unprocessed, with no tries left (contract.md f).

-- name: dead_rows
-- The dead rows, oldest first.
SELECT o.outbox_id, o.entity_id AS course_id, o.saq_queue, o.job_type, o.retry_count, o.last_error, o.last_attempt_at
FROM public.job_outbox AS o
WHERE o.processed_at IS NULL AND o.retry_count >= o.max_retries
ORDER BY o.position
LIMIT $1;

-- name: revive_rows
-- Gives dead rows all their tries again: those named, or all of them when none is; returns how many.
WITH revived AS (
    UPDATE public.job_outbox AS o
    SET retry_count = 0, next_attempt_at = NULL
    WHERE o.processed_at IS NULL AND o.retry_count >= o.max_retries
        AND ($1::uuid[] IS NULL OR o.outbox_id = ANY ($1::uuid[]))
    RETURNING o.outbox_id
)
SELECT count(*) FROM revived;
