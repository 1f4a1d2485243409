-- Retention: the schedule in cron.job, and how runs are written down (contract.md m).

-- name: scheduled_jobs
-- Everything that is on the schedule, active or not.
SELECT jobid, jobname, schedule, command, active, last_run, last_run_status, last_run_message, scheduled_at
  FROM cron.job
 ORDER BY jobid;

-- name: begin_job
-- The command of job $1, held until the transaction ends; no row when it is off the schedule or somebody else runs it.
SELECT command
  FROM cron.job
 WHERE jobname = $1::text AND active
   FOR UPDATE SKIP LOCKED;

-- name: is_scheduled
-- Whether job $1 is on the schedule at all.
SELECT EXISTS (SELECT FROM cron.job WHERE jobname = $1::text AND active);

-- name: record_run
-- Job $1 ended as $2; $3 says what it did.
SELECT cron.record_run($1::text, $2::text, $3::text);

-- name: schedule
-- Put job $1 on the schedule at $2 with command $3, or change it.
SELECT cron.schedule($1::text, $2::text, $3::text);

-- name: schedule_defaults
-- Put back those of the three cleanup jobs that were taken off.
SELECT cron.schedule_defaults();

-- name: unschedule
-- Take job $1 off the schedule.
SELECT cron.unschedule($1::text);
