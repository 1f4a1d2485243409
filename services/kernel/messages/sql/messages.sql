-- name: known_messages
-- Those of the messages $1 that are persisted.
SELECT m.id, m.createdat, m.contentdigest, m.payloadkey FROM messages AS m WHERE m.id = ANY ($1::text[]);

-- name: accept_messages
-- Write messages at once: $2 is a JSON array of envelopes, $1 the hashes of their conversations.
SELECT a.id, a.createdat, a.contentdigest, a.is_new FROM accept_messages($1::integer[], $2::text) AS a;

-- name: find_message
-- The message $1.
SELECT m.id, m.conversationid, m.senderid, m.content, m.payloadkey, m.contenttype, m.clientmessageid, m.recipientids, m.createdat,
       m.persistedat
  FROM messages AS m
 WHERE m.id = $1::text;

-- name: conversation_page
-- At most $3 messages of conversation $1 after position $2, in order; fewer when their contents are long: the page ends with the
-- message that takes it beyond $4 bytes. What lies in the document store counts $5. Only those that the user $6 has sent or was sent,
-- unless that is NULL.
SELECT p.id, p.conversationid, p.senderid, p.content, p.payloadkey, p.contenttype, p.clientmessageid, p.recipientids, p.createdat,
       p.persistedat, p.position
  FROM (
    SELECT m.*,
           sum(CASE WHEN m.content IS NULL THEN $5::integer ELSE octet_length(m.content) END)
               OVER (ORDER BY m.position ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
      FROM (
        SELECT * FROM messages
         WHERE conversationid = $1::text AND position > $2::bigint
           AND ($6::text IS NULL OR senderid = $6::text OR $6::text = ANY (recipientids))
         ORDER BY position
         LIMIT $3::integer
      ) AS m
  ) AS p
 WHERE COALESCE(p.before, 0) <= $4::bigint
 ORDER BY p.position;

-- name: has_after
-- Whether conversation $1 goes on after position $2: with a message that the user $3 has sent or was sent, unless that is NULL.
SELECT EXISTS (
    SELECT FROM messages AS m
     WHERE m.conversationid = $1::text AND m.position > $2::bigint
       AND ($3::text IS NULL OR m.senderid = $3::text OR $3::text = ANY (m.recipientids))
);

-- name: add_receipts
-- The user $2 has the message $1 in each of the states $3. Answers those that are new.
INSERT INTO message_receipts (messageid, userid, state)
SELECT $1::text, $2::text, s.state FROM unnest($3::text[]) AS s (state)
    ON CONFLICT DO NOTHING
RETURNING state, createdat;

-- name: find_receipt
-- Since when the user $2 has the message $1 in state $3.
SELECT r.createdat FROM message_receipts AS r WHERE r.messageid = $1::text AND r.userid = $2::text AND r.state = $3::text;

-- name: receipts_page
-- At most $3 users after $2, in the order of their ids, with the times since when they have received and read the message $1.
SELECT r.userid,
       min(r.createdat) FILTER (WHERE r.state = 'delivered') AS deliveredat,
       min(r.createdat) FILTER (WHERE r.state = 'read') AS readat
  FROM message_receipts AS r
 WHERE r.messageid = $1::text AND r.userid > $2::text
 GROUP BY r.userid
 ORDER BY r.userid
 LIMIT $3::integer;

-- name: put_payloads
-- Keep the long contents $2 under the keys $1; the same key always has the same content. Each is as old as its last acceptance, so that
-- whoever removes old ones without a row leaves it to the row that is to come. Two that keep the same do so in the same order.
INSERT INTO message_payloads AS p (payloadkey, content)
SELECT c.payloadkey, c.content FROM unnest($1::text[], $2::text[]) AS c (payloadkey, content) ORDER BY c.payloadkey
    ON CONFLICT (payloadkey) DO UPDATE SET createdat = now();

-- name: present_payloads
-- Those of the keys $1 that have a long content.
SELECT p.payloadkey FROM message_payloads AS p WHERE p.payloadkey = ANY ($1::text[]);

-- name: payloads
-- The long contents of the keys $1.
SELECT p.payloadkey, p.content FROM message_payloads AS p WHERE p.payloadkey = ANY ($1::text[]);
