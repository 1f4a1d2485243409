# shellcheck shell=bash disable=SC2154
# What smoke-test.sh and load-test.sh share: talking to the api, the database and Redis, and counting verdicts.
# Sourced, never run.

API_URL=${API_URL:-http://localhost:3000}
API_URL=${API_URL%/}
failures=0
unseen=()

need() { # PROGRAM...: end unless all are there
    local program
    for program in "$@"; do
        command -v "$program" >/dev/null 2>&1 || {
            echo "$program is needed and not on the PATH. Install it and run this again." >&2
            exit 2
        }
    done
}

need_token() {
    need curl python3
    if [ -z "${API_TOKEN:-}" ]; then
        echo "API_TOKEN is not set. For the local stack: eval \"\$(coursegen env)\"; or export API_TOKEN=\"\$(coursegen token)\"." >&2
        exit 2
    fi
    if ! curl -sS -o /dev/null --max-time 10 "$API_URL/api/trpc/metrics.getAll"; then
        echo "$API_URL does not answer. Start a stack with \`coursegen up\`, or set API_URL." >&2
        exit 2
    fi
}

pass() { printf '  pass  %s\n' "$1"; }

fail() {
    printf '  FAIL  %s\n' "$1"
    failures=$((failures + 1))
}

skip() { # what could not be seen from here
    printf '  ----  %s\n' "$1"
    unseen+=("$1")
}

check() { # TEXT COMMAND...: the verdict is the command's exit code
    local text=$1
    shift
    if "$@"; then pass "$text"; else fail "$text"; fi
}

equal() { # TEXT EXPECTED FOUND
    if [ "$2" = "$3" ]; then pass "$1 ($3)"; else fail "$1: expected $2, found ${3:-nothing}"; fi
}

at_least() { # TEXT LEAST FOUND
    if is_number "$3" && [ "$3" -ge "$2" ]; then pass "$1 ($3)"; else fail "$1: expected at least $2, found ${3:-nothing}"; fi
}

is_number() { [[ ${1:-} =~ ^-?[0-9]+$ ]]; }

is_uuid() { [[ ${1:-} =~ ^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$ ]]; }

random_hex() { # LENGTH
    od -An -N16 -tx1 /dev/urandom | tr -d ' \n' | cut -c "1-$1"
}

api_get() { # PATH
    curl -sS --max-time 20 -H "Authorization: Bearer $API_TOKEN" "$API_URL$1"
}

api_initiate() { # BODY
    curl -sS --max-time 30 -X POST "$API_URL/api/trpc/generation.initiate" \
        -H "Authorization: Bearer $API_TOKEN" -H 'Content-Type: application/json' -d "$1"
}

json() { # PATH: read JSON from standard input and print what lies at a.b.c; nothing when it is not there
    python3 -I -S -c '
import json, sys
try:
    value = json.load(sys.stdin)
    for name in sys.argv[1].split("."):
        value = value[int(name)] if isinstance(value, list) else value[name]
except (ValueError, KeyError, IndexError, TypeError):
    sys.exit(0)
if isinstance(value, bool):
    value = str(value).lower()
elif value is None:
    value = "null"
elif isinstance(value, float) and value == int(value):
    value = int(value)
print(value)' "$1"
}

metrics() { api_get /api/trpc/metrics.getAll; }

grown() { # PATH: how much a counter has grown from $before to $after
    local earlier now
    earlier=$(json "$1" <<<"$before")
    now=$(json "$1" <<<"$after")
    echo $((${now:-0} - ${earlier:-0}))
}

has_database() { [ -n "${DATABASE_URL:-}" ] && command -v psql >/dev/null 2>&1; }

has_redis() { [ -n "${REDIS_URL:-}" ] && command -v redis-cli >/dev/null 2>&1; }

sql() { # STATEMENT: one value or row, columns parted by |
    psql "$DATABASE_URL" -XqAt -c "$1"
}

redis() { # COMMAND...
    redis-cli -u "${REDIS_URL/:\/\/:/://default:}" --no-auth-warning "$@" # older ones take the user before : for a name even if empty
}

wait_until() { # SECONDS COMMAND...: repeat the command until it succeeds
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.2
    done
}

say_what_was_not_seen() {
    has_database || echo "Not seen: the rows themselves. Set DATABASE_URL and put psql on the PATH to check them too."
    has_redis || echo "Not seen: the job in Redis. Set REDIS_URL and put redis-cli on the PATH to check it too."
}

verdict() { # NAME
    echo
    if [ "$failures" -eq 0 ]; then
        echo "$1: passed"
        exit 0
    fi
    echo "$1: $failures checks failed"
    exit 1
}
