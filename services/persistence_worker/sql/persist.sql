-- name: persist
-- Writes messages, in the order given, for the worker $1 as the owner of the partitions $2 under the epochs $3; those of a partition
-- that is not his (any more) are not written. $4 and $5 are each message's partition and when it was accepted, in milliseconds; $6 is
-- a JSON array of their envelopes. A message whose row is there is passed over.
-- Says which of the partitions are his, and which messages are new. The lock on their rows lets him renew his leases and lets nobody
-- take one before this is committed: whoever is next writes after it.
WITH fence AS (
  SELECT p.partition
    FROM message_partitions AS p
    JOIN unnest($2::int[], $3::bigint[]) AS f (partition, epoch) ON p.partition = f.partition AND p.epoch = f.epoch
   WHERE p.owner = $1::text
     FOR KEY SHARE OF p
), written AS (
  INSERT INTO messages (
    id, conversationid, senderid, content, contenttype, clientmessageid, recipientids, idempotencykey, correlationid, payloadkey,
    contentdigest, createdat
  )
  SELECT e.id, e.conversation, e.sender, e.content, e.content_type, e.client_id, e.recipients, e.key, e.correlation, e.payload,
         e.digest, timestamptz 'epoch' + e.accepted * interval '1 millisecond'
    FROM ROWS FROM (
           json_to_recordset($6::text::json) AS (
             id text, "conversationId" text, "senderId" text, content text, "contentType" text, "clientMessageId" text,
             "recipientIds" text[], key text, "correlationId" text, "payloadKey" text, digest text
           ),
           unnest($4::int[]),
           unnest($5::bigint[])
         ) WITH ORDINALITY AS e (
           id, conversation, sender, content, content_type, client_id, recipients, key, correlation, payload, digest, partition,
           accepted, place
         )
    JOIN fence AS f ON f.partition = e.partition
   ORDER BY e.place
      ON CONFLICT DO NOTHING
  RETURNING id
)
SELECT ARRAY(SELECT partition FROM fence) AS held, ARRAY(SELECT id FROM written) AS new;

-- name: unwritten
-- Those of the messages $1 that have no row, each with the message that has its key; $2 are their keys.
SELECT e.id, m.id AS holder
  FROM unnest($1::text[], $2::text[]) AS e (id, key)
  LEFT JOIN messages AS m ON m.idempotencykey = e.key
 WHERE NOT EXISTS (SELECT FROM messages AS r WHERE r.id = e.id);

-- name: answers
-- Nothing, by a PostgreSQL that answers.
SELECT 1;

-- name: has
-- Whether the row of the message $1 is there.
SELECT EXISTS (SELECT FROM messages WHERE id = $1::text);
