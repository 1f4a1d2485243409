-- name: notify
-- Wakes the relay. A statement of its own, after the commit it tells of.
SELECT pg_catalog.pg_notify($1, '');
