-- name: issue_ticket
-- A ticket $1 for user $2 (organisation $3, tier $4, admin $5, token until $6) that is good for $7 seconds; sweeps what is over, and the user's oldest beyond $8.
WITH swept_tickets AS (
  DELETE FROM browser_tickets WHERE expires_at < now() - interval '1 hour'
), swept_sessions AS (
  DELETE FROM browser_sessions WHERE expires_at < now()
), crowded_out AS (
  DELETE FROM browser_tickets
   WHERE ticket_hash IN (SELECT t.ticket_hash
                           FROM browser_tickets AS t
                          WHERE t.user_id = $2::uuid AND t.used_at IS NULL AND t.expires_at >= now()
                          ORDER BY t.created_at DESC
                         OFFSET $8::integer - 1)
)
INSERT INTO browser_tickets (ticket_hash, user_id, organization_id, tier, is_admin, token_expires_at, expires_at)
VALUES ($1::bytea, $2::uuid, $3::uuid, $4::text, $5::boolean, $6::timestamptz,
        LEAST(now() + make_interval(secs => $7::double precision), $6::timestamptz))
RETURNING expires_at;

-- name: redeem_ticket
-- A session $2 of at most $3 seconds for ticket $1, if it is good; it never is again. The user's oldest sessions beyond $4 end.
WITH redeemed AS (
  UPDATE browser_tickets
     SET used_at = now()
   WHERE ticket_hash = $1::bytea AND used_at IS NULL AND expires_at > now()
  RETURNING user_id, organization_id, tier, is_admin, token_expires_at
), crowded_out AS (
  DELETE FROM browser_sessions
   WHERE session_hash IN (SELECT s.session_hash
                            FROM browser_sessions AS s
                            JOIN redeemed ON redeemed.user_id = s.user_id
                           ORDER BY s.created_at DESC
                          OFFSET $4::integer - 1)
)
INSERT INTO browser_sessions (session_hash, user_id, organization_id, tier, is_admin, expires_at)
SELECT $2::bytea, redeemed.user_id, redeemed.organization_id, redeemed.tier, redeemed.is_admin,
       LEAST(now() + make_interval(secs => $3::double precision), redeemed.token_expires_at)
  FROM redeemed
RETURNING user_id, organization_id, tier, is_admin, expires_at,
          GREATEST(0, EXTRACT(epoch FROM expires_at - now()))::double precision AS remaining_seconds;

-- name: refused_ticket
-- Why ticket $1 is not good: whose it was and when it was used; no row when there never was one, or long ago.
SELECT t.user_id, t.used_at
  FROM browser_tickets AS t
 WHERE t.ticket_hash = $1::bytea;

-- name: live_session
-- The session $1, unless it is over.
SELECT s.user_id, s.organization_id, s.tier, s.is_admin, s.expires_at
  FROM browser_sessions AS s
 WHERE s.session_hash = $1::bytea AND s.expires_at > now();

-- name: end_session
-- Sign session $1 out; answers whose it was.
DELETE FROM browser_sessions
 WHERE session_hash = $1::bytea
RETURNING user_id;
