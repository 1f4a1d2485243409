-- name: rows_in_order
-- Those of the messages $1 that have a row, in the order of their rows, with what their contents are told by.
SELECT id, contentdigest FROM messages WHERE id = ANY($1::text[]) ORDER BY position;
