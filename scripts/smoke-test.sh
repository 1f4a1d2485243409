#!/usr/bin/env bash
# The seven smoke tests, against any running stack. They leave one course behind per run and may be run again at once.
#
#   API_URL        default http://localhost:3000
#   API_TOKEN      a token whose organisation is set (coursegen token, coursegen env)
#   DATABASE_URL   optional: also look at the rows
#   REDIS_URL      optional: also look at the job
#
# Workers may run: the state right after initiation is read from the course's history, and only the rows and counts of the
# initiation are compared, before and after.
set -euo pipefail
# shellcheck source=scripts/checks.sh
source "$(dirname "${BASH_SOURCE[0]}")/checks.sh"

[[ ${1:-} =~ ^(-h|--help)$ ]] && { sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 0; }
need_token

# One prefix for this script's courses, so that SQL finds them with id::text LIKE '5a0ce7e5-%'.
course_id="5a0ce7e5-$(random_hex 4)-4$(random_hex 3)-8000-$(random_hex 12)"
body="{\"courseId\":\"$course_id\",\"title\":\"test-course-deployment-1\",\"hasFiles\":false}"
before=$(metrics)

echo "1 create a title-only course"
answer=$(api_initiate "$body")
job_id=$(json jobId <<<"$answer")
if ! grep -q '"success":true' <<<"$answer"; then
    fail "the answer is compact JSON with \"success\":true: $answer"
    verdict "smoke test" # nothing was begun, so there is nothing more to look at
fi
pass "the answer is compact JSON with \"success\":true"
check "jobId is a UUID" is_uuid "$job_id"
equal "courseId is echoed" "$course_id" "$(json courseId <<<"$answer")"

echo "2 the outbox row"
rows() { sql "SELECT count(*) FROM job_outbox WHERE entity_id = '$course_id' AND job_type = 'STRUCTURE_ANALYSIS'"; }
row_processed() { [ -n "$(sql "SELECT processed_at FROM job_outbox WHERE outbox_id = '$job_id'")" ]; }
jobs_created() { metrics | json outbox.jobsCreated; }
job_counted() { [ "$(jobs_created)" -gt "$(json outbox.jobsCreated <<<"$before")" ]; }
if has_database; then
    equal "one row of this type" 1 "$(rows)"
    equal "queue and type" "course-generation|STRUCTURE_ANALYSIS" \
        "$(sql "SELECT queue_name, job_type FROM job_outbox WHERE outbox_id = '$job_id'")"
    check "processed within 10 s" wait_until 10 row_processed
else
    check "a job was created within 10 s" wait_until 10 job_counted
fi

echo "3 the course is in stage_4_init at once"
first_event=$(api_get "/api/courses/$course_id/history?limit=1")
equal "its first state" stage_4_init "$(json events.0.newState <<<"$first_event")"
check "the course can be read" grep -q "\"id\":\"$course_id\"" <<<"$(api_get "/api/courses/$course_id")"

echo "4 the event"
old_state=$(json events.0.oldState <<<"$first_event")
check "oldState is pending or null ($old_state)" grep -qxE 'pending|null' <<<"$old_state"
equal "triggeredBy" API_INITIATE "$(json events.0.triggeredBy <<<"$first_event")"
if has_database; then
    equal "the same in fsm_events" "stage_4_init|API_INITIATE" \
        "$(sql "SELECT new_state, triggered_by FROM fsm_events WHERE entity_id = '$course_id' ORDER BY created_at, position LIMIT 1")"
fi

echo "5 the job in Redis"
job_in_redis() { [ "$(redis EXISTS "saq:job:course-generation:analysis:$job_id")" = 1 ]; }
if has_redis; then
    check "saq:job:course-generation:analysis:$job_id exists" wait_until 10 job_in_redis
else
    skip "the job in Redis"
fi

echo "6 the same request again"
again=$(api_initiate "$body")
check "the same success" grep -q '"success":true' <<<"$again"
equal "the same jobId" "$job_id" "$(json jobId <<<"$again")"
if has_database; then
    equal "still one row of this type" 1 "$(rows)"
else
    initiations=$(api_get "/api/courses/$course_id/history?limit=100" | { grep -o '"triggeredBy":"API_INITIATE"' || true; } | wc -l)
    equal "still one initiation in the history" 1 "$((initiations))"
fi

echo "7 the metrics"
all_counted() {
    after=$(metrics)
    [ "$(grown fsm.total)" -ge 1 ] && [ "$(grown fsm.cacheHits)" -ge 1 ] && [ "$(grown outbox.jobsCreated)" -ge 1 ] &&
        [ "$(grown outbox.batchesProcessed)" -ge 1 ] &&
        [ "$(json outbox.health.queueDepth <<<"$after")" -le "$(json outbox.health.queueDepth <<<"$before")" ]
}
wait_until 15 all_counted || true
at_least "fsm.total grew" 1 "$(grown fsm.total)"
at_least "fsm.success grew" 1 "$(grown fsm.success)"
equal "fsm.failed did not" 0 "$(grown fsm.failed)"
at_least "fsm.cacheHits grew" 1 "$(grown fsm.cacheHits)"
at_least "fsm.cacheMisses grew" 1 "$(grown fsm.cacheMisses)"
if [ "$(json fsm.failed <<<"$after")" = 0 ]; then
    equal "fsm.successRate" 100 "$(json fsm.successRate <<<"$after")"
fi
at_least "outbox.batchesProcessed grew" 1 "$(grown outbox.batchesProcessed)"
at_least "outbox.jobsCreated grew" 1 "$(grown outbox.jobsCreated)"
equal "outbox.jobsFailed did not" 0 "$(grown outbox.jobsFailed)"
equal "outbox.health.alive" true "$(json outbox.health.alive <<<"$after")"
check "outbox.health.queueDepth is where it was" \
    test "$(json outbox.health.queueDepth <<<"$after")" -le "$(json outbox.health.queueDepth <<<"$before")"

echo
say_what_was_not_seen
verdict "smoke test"
