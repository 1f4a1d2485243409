-- The effect ledger: one row per job whose outcome is decided (reliability.md section 3).

-- name: apply_once
-- Records a job's outcome; returns its identifier the first time and no row ever after.
INSERT INTO effect_ledger (effect_id, course_id, job_type, run_number, outcome, detail)
VALUES ($1::uuid, $2::uuid, $3::text, $4::integer, $5::text, $6::jsonb)
ON CONFLICT (effect_id) DO NOTHING
RETURNING effect_id;

-- name: recorded_outcome
-- Reads how a job ended; no row while it is undecided.
SELECT outcome FROM effect_ledger WHERE effect_id = $1::uuid;
