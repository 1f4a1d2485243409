-- Rows that the deployment checklist and the migration guide work on (contract.md b.14); never part of a migration.

-- name: add_user
-- Adds the fixtures' user unless it is there; returns how many rows were added.
WITH added AS (
    INSERT INTO auth.users (id) VALUES ($1) ON CONFLICT (id) DO NOTHING RETURNING id
)
SELECT count(*) FROM added;

-- name: add_course
-- Adds a course that was never initiated, unless it is there; returns how many rows were added.
WITH added AS (
    INSERT INTO public.courses (id, title, slug, user_id, organization_id, generation_status)
    VALUES ($1, $2, $3, $4, $5, NULL)
    ON CONFLICT (id) DO NOTHING
    RETURNING id
)
SELECT count(*) FROM added;
