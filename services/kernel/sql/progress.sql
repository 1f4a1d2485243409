-- A course's progress as its owner sees it (contract.md b.11, GAP30).

-- name: update_course_progress
-- Sets one step through the function that computes percentage and timestamps.
SELECT update_course_progress($1::uuid, $2::integer, $3::text, $4::text, $5::jsonb);

-- name: read_progress
-- Reads the progress for a direct write, and keeps others from writing meanwhile.
SELECT generation_progress FROM courses WHERE id = $1::uuid FOR NO KEY UPDATE;

-- name: write_progress
-- Writes the progress without the function: the last resort when the function fails (D35).
UPDATE courses SET generation_progress = $2::jsonb WHERE id = $1::uuid;
