-- What watched courses have to tell.

-- name: news
-- For each watched course ($1) with anything to tell since its place (event $2, change $3): how it stands and its events, at most $4.
SELECT w.course_id, c.user_id, COALESCE(c.generation_status::text, 'pending') AS status, c.generation_progress AS progress,
       c.updated_at, e.events
  FROM unnest($1::uuid[], $2::bigint[], $3::timestamptz[]) AS w (course_id, position, seen)
  LEFT JOIN LATERAL (
    -- The fence keeps one look-up per course, however many are watched and whatever the planner thinks of their number.
    SELECT courses.user_id, courses.generation_status, courses.generation_progress, courses.updated_at
      FROM courses
     WHERE courses.id = w.course_id
    OFFSET 0
  ) AS c ON true
  CROSS JOIN LATERAL (
    SELECT ARRAY(
      SELECT ROW(f.position, f.event_id, f.event_type, f.old_state, f.new_state, f.triggered_by, f.created_by,
                 f.metadata::text, f.created_at)
        FROM fsm_events AS f
       WHERE f.entity_id = w.course_id AND f.position > w.position AND f.new_state IS NOT NULL
       ORDER BY f.position
       LIMIT $4::integer
    ) AS events
  ) AS e
 WHERE c.user_id IS NULL
    OR c.updated_at IS DISTINCT FROM w.seen
    OR c.generation_status IN ('completed', 'cancelled', 'error');

-- name: latest_position
-- Position of a course's latest move; 0 when it has not moved yet.
SELECT COALESCE(max(f.position), 0) FROM fsm_events AS f WHERE f.entity_id = $1::uuid AND f.new_state IS NOT NULL;
