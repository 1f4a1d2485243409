#!/usr/bin/env bash
# The load test: 100 courses initiated at the same moment, against any running stack. May be run again at once.
#
#   API_URL        default http://localhost:3000
#   API_TOKEN      a token whose organisation is set (coursegen token, coursegen env)
#   DATABASE_URL   optional: also count the rows
#   COUNT          how many courses, default 100
#   ADMIN_TOKEN    optional: an administrator's token (coursegen token --role admin); raises the limits of courses at once
#                  for the time of the test, and puts them back
#
# All courses come from one user and run at once, which the product's limits do not allow. Without ADMIN_TOKEN the stack must
# have been started with raised ones: CONCURRENCY_GLOBAL_LIMIT=10000 CONCURRENCY_TIER_LIMITS=PREMIUM=10000 (the token's tier).
# Workers may run: that every course began in stage_4_init is read from the histories, and only the rows of the initiations
# are counted.
set -euo pipefail
# shellcheck source=scripts/checks.sh
source "$(dirname "${BASH_SOURCE[0]}")/checks.sh"

[[ ${1:-} =~ ^(-h|--help)$ ]] && { sed -n '2,15s/^# \{0,1\}//p' "$0"; exit 0; }
need_token
count=${COUNT:-100}

# One prefix for this script's courses (id::text LIKE '10ad7e57-%'), then the run, then the number.
run="10ad7e57-$(random_hex 4)-4$(random_hex 3)-8000"
course_id() { printf '%s-%012d' "$run" "$1"; }
folder=$(mktemp -d)
watcher=
limits=()
leave() {
    [ -z "$watcher" ] || kill "$watcher" 2>/dev/null || true
    for limit in "${limits[@]}"; do set_limit "${limit%=*}" "${limit#*=}"; done
    rm -rf "$folder"
}
trap leave EXIT

set_limit() { # SCOPE SLOTS, null for what is configured
    curl -sS -f -o /dev/null --max-time 20 -X PUT "$API_URL/api/admin/limits/$1" -H "Authorization: Bearer $ADMIN_TOKEN" \
        -H 'Content-Type: application/json' -d "{\"slots\":$2}"
}
raise_limits() {
    local before
    before=$(curl -sS -f --max-time 20 -H "Authorization: Bearer $ADMIN_TOKEN" "$API_URL/api/admin/concurrency" | python3 -c '
import json, sys
for limit in json.load(sys.stdin)["limits"]:
    print(limit["scope"], limit["slots"] if limit["overridden"] else "null", sep="=")')
    for limit in $before; do
        limits+=("$limit")
        set_limit "${limit%=*}" 10000
    done
    sleep 2 # every api looks once a second
}
if [ -n "${ADMIN_TOKEN:-}" ]; then
    echo "0 the limits of courses at once are raised for the time of the test"
    raise_limits
fi

initiate() { # NUMBER
    curl -sS --max-time 60 -X POST "$API_URL/api/trpc/generation.initiate" -o "$folder/$1.json" -w '%{time_total}\n' \
        -H "Authorization: Bearer $API_TOKEN" -H 'Content-Type: application/json' \
        -d "{\"courseId\":\"$(course_id "$1")\",\"title\":\"load-test-course-$1\",\"hasFiles\":false}" >"$folder/$1.time"
}
depth() { api_get /api/health/outbox | json queueDepth; }

before=$(metrics)
depth_before=$(json outbox.health.queueDepth <<<"$before")
watch_depth() {
    while :; do
        depth >>"$folder/depths" 2>/dev/null || true
        sleep 0.3
    done
}
watch_depth &
watcher=$!

echo "1 $count initiations at the same moment"
started=$SECONDS
requests=()
for ((number = 1; number <= count; number++)); do
    initiate "$number" &
    requests+=($!)
done
for request in "${requests[@]}"; do
    wait "$request" || true # a request that failed has no answer, and is counted so
done
succeeded=$(cat "$folder"/*.json 2>/dev/null | { grep -o '"success":true' || true; } | wc -l)
equal "answers with \"success\":true" "$count" "$((succeeded))"
if grep -q '"concurrency_limit"' "$folder"/*.json 2>/dev/null; then
    echo "        Limits of courses at once refused some. Set ADMIN_TOKEN, or start the stack with raised limits; see --help."
fi
sort -n "$folder"/*.time | awk '{ t[NR] = $1 } END {
    printf "        time to the answer: p50 %.0f ms, p95 %.0f ms, slowest %.0f ms\n",
        t[int((NR + 1) * 0.5)] * 1000, t[int(NR * 0.95 + 0.5)] * 1000, t[NR] * 1000 }'

echo "2 all of it leaves the outbox within 30 s"
after=$before
ours() { sql "SELECT count(*) FROM job_outbox WHERE entity_id::text LIKE '$run-%' AND job_type = 'STRUCTURE_ANALYSIS' $1"; }
drained() {
    after=$(metrics)
    [ "$(grown outbox.jobsCreated)" -ge "$count" ] && [ "$(grown fsm.total)" -ge "$count" ] || return 1
    if has_database; then [ "$(ours 'AND processed_at IS NULL')" = 0 ]; fi
}
left=$((30 - (SECONDS - started)))
check "drained" wait_until "$((left > 1 ? left : 1))" drained
if has_database; then
    equal "outbox rows of the initiations" "$count" "$(ours '')"
    equal "pending" 0 "$(ours 'AND processed_at IS NULL')"
fi

echo "3 every course began in the one state stage_4_init"
if has_database; then
    begun() { sql "SELECT $1 FROM fsm_events WHERE entity_id::text LIKE '$run-%' AND triggered_by = 'API_INITIATE'"; }
    equal "states they began in" stage_4_init "$(begun "string_agg(DISTINCT new_state::text, ',')")"
    at_least "events" "$count" "$(sql "SELECT count(*) FROM fsm_events WHERE entity_id::text LIKE '$run-%'")"
    equal "distinct courses in the events" "$count" "$(begun 'count(DISTINCT entity_id)')"
else
    printf -v all '[%012d-%012d]' 1 "$count" # curl asks for one after the other, on one connection
    begun=$(api_get "/api/courses/$run-$all/history?limit=1" | { grep -o '"newState":"stage_4_init"' || true; } | wc -l)
    equal "courses whose history begins with stage_4_init" "$count" "$((begun))"
fi

echo "4 the queue goes back to where it was"
settled() { [ "$(depth)" -le "$depth_before" ]; }
check "outbox.health.queueDepth is at most $depth_before again" wait_until 60 settled
echo "        deepest seen: $(sort -n "$folder/depths" 2>/dev/null | tail -1)"

echo "5 the metrics"
wait_until 10 drained || true # each api's numbers may be a second old
at_least "fsm.total grew" "$count" "$(grown fsm.total)"
equal "fsm.failed did not" 0 "$(grown fsm.failed)"
if [ "$(json fsm.failed <<<"$after")" = 0 ]; then
    equal "fsm.successRate" 100 "$(json fsm.successRate <<<"$after")"
fi
at_least "outbox.jobsCreated grew" "$count" "$(grown outbox.jobsCreated)"
equal "outbox.jobsFailed did not" 0 "$(grown outbox.jobsFailed)"

echo
has_database || echo "Not seen: the rows themselves. Set DATABASE_URL and put psql on the PATH to count them too."
verdict "load test"
