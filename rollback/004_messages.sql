-- Title:    Rollback of the messages
-- Effect:   Messages, receipts and the shares of the persistence-workers are gone, with the function that writes messages at once.
--           What waits in the stream stays there.
-- Before:   1. Back up the database. 2. Stop api and persistence-worker. On Kubernetes suspend every DatabaseMigration first.
-- Run:      psql "$DATABASE_URL" -v ON_ERROR_STOP=1 -f rollback/004_messages.sql
-- Return:   Restore the backup, or run `coursegen migrate`, which creates the tables again, empty.

BEGIN;
SET LOCAL lock_timeout = '4s';

DROP FUNCTION IF EXISTS public.accept_messages(integer[], text);
DROP TABLE IF EXISTS public.message_workers;
DROP TABLE IF EXISTS public.message_partitions;
DROP TABLE IF EXISTS public.message_receipts;
DROP TABLE IF EXISTS public.message_payloads;
DROP TABLE IF EXISTS public.messages;

DELETE FROM supabase_migrations.schema_migrations WHERE version = '20251123100000';

COMMIT;
