-- Title:        Retention of critical events and of what administrators did
-- Purpose:      The job that removes old history removes critical events of 90 days and administrators' actions of a year with it.
-- Phase:        expand
-- Date:         2025-11-22
-- Dependencies: 20251020090000_create_system_metrics, 20251122140000_create_admin_actions
-- Amends:       20251120101000_create_maintenance_schedule (schedule_defaults), 20251122140000_create_admin_actions (comment)
--
-- The schedule keeps its three names: whoever stops, starts or watches a cleanup does so as before.

CREATE OR REPLACE FUNCTION public.cleanup_old_system_metrics(p_keep interval DEFAULT interval '90 days', p_batch integer DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql
VOLATILE
SET search_path = public, pg_temp
AS $$
DECLARE
    v_deleted bigint;
BEGIN
    IF to_regclass('public.system_metrics') IS NULL THEN -- a rollback has taken it away: history is cleaned all the same
        RETURN 0;
    END IF;
    -- All types by name: the index begins with the type.
    WITH expired AS (
        SELECT m.id
        FROM system_metrics AS m
        WHERE m.event_type = ANY (enum_range(NULL::metric_event_type)) AND m.created_at < now() - p_keep
        LIMIT p_batch
    )
    DELETE FROM system_metrics AS m USING expired AS e WHERE m.id = e.id;
    GET DIAGNOSTICS v_deleted = ROW_COUNT;
    RETURN v_deleted;
END
$$;
COMMENT ON FUNCTION public.cleanup_old_system_metrics(interval, integer) IS 'Removes critical events older than 90 days.';
REVOKE EXECUTE ON FUNCTION public.cleanup_old_system_metrics(interval, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.cleanup_old_system_metrics(interval, integer) TO service_role;

-- As the owner, and with a period that nobody can shorten: the application itself cannot remove a line of the record.
CREATE OR REPLACE FUNCTION public.cleanup_old_admin_actions(p_batch integer DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
DECLARE
    v_deleted bigint;
BEGIN
    -- Lines are numbered as they are written, so the oldest come first and a look at one batch of them is enough.
    WITH oldest AS (
        SELECT a.id
        FROM admin_actions AS a
        ORDER BY a.id
        LIMIT p_batch
    )
    DELETE FROM admin_actions AS a USING oldest AS o WHERE a.id = o.id AND a.at < now() - interval '1 year';
    GET DIAGNOSTICS v_deleted = ROW_COUNT;
    RETURN v_deleted;
END
$$;
COMMENT ON FUNCTION public.cleanup_old_admin_actions(integer) IS 'Removes administrators'' actions older than a year; never younger ones.';
REVOKE EXECUTE ON FUNCTION public.cleanup_old_admin_actions(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.cleanup_old_admin_actions(integer) TO service_role;
COMMENT ON TABLE public.admin_actions IS 'What administrators changed. Written in the transaction of the change, or before a change elsewhere; kept for a year, in which the application can remove nothing.';

CREATE OR REPLACE FUNCTION cron.schedule_defaults()
RETURNS integer
LANGUAGE plpgsql
VOLATILE
SET search_path = public, pg_temp
AS $$
DECLARE
    v_added integer;
BEGIN
    INSERT INTO cron.job (jobname, schedule, command)
    VALUES
        ('cleanup_processed_outbox_entries', '0 2 * * *', 'SELECT public.cleanup_processed_outbox_entries(p_batch => 10000)'),
        ('cleanup_expired_idempotency_keys', '0 3 * * *', 'SELECT public.cleanup_expired_idempotency_keys(p_batch => 10000)'),
        (
            'cleanup_old_fsm_events',
            '0 4 * * 0',
            'SELECT public.cleanup_old_fsm_events(p_batch => 10000)'
            || ' + public.cleanup_old_system_metrics(p_batch => 10000) + public.cleanup_old_admin_actions(p_batch => 10000)'
        )
    ON CONFLICT (jobname) DO NOTHING;
    GET DIAGNOSTICS v_added = ROW_COUNT;
    RETURN v_added;
END
$$;
COMMENT ON FUNCTION cron.schedule_defaults() IS 'Puts those of the three jobs on the schedule that are not there; says how many.';

-- A command that an operator has written himself stays as it is.
UPDATE cron.job AS j
SET command = 'SELECT public.cleanup_old_fsm_events(p_batch => 10000)'
    || ' + public.cleanup_old_system_metrics(p_batch => 10000) + public.cleanup_old_admin_actions(p_batch => 10000)'
WHERE j.jobname = 'cleanup_old_fsm_events' AND j.command = 'SELECT public.cleanup_old_fsm_events(p_batch => 10000)';
