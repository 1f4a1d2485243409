#!/usr/bin/env bash
# Ten checks of a running deployment: Redis, Database, Migrations, Tables, API, Outbox, FSM, Fallbacks, Pending Jobs, Events.
# It only looks, and may be run as often as you like. It needs bash, python3, curl or kubectl, and a checkout of the release around it.
#
#   scripts/verify-deployment.sh [--json]                             the stack that API_URL names
#   scripts/verify-deployment.sh --url URL [--json]                   an api anywhere
#   scripts/verify-deployment.sh --namespace NAMESPACE [--release NAME] [--json]    on a cluster, through kubectl
#
#   API_URL        default http://localhost:3000
#   DATABASE_URL   optional: without it, or without psql, three of the checks see nothing, which is a warning
#   REDIS_URL      optional: the same for one, with redis-cli
#   REDIS_HOST     with REDIS_PORT and REDIS_PASSWORD, as the api has them, where messages have a Redis of their own
#   REDIS_STREAM_DB  the number of the messages' database, as the api has it; default 1
#
# For the local stack: eval "$(coursegen env)". With --namespace it asks from within a pod and needs none of them.
# With --url another api than API_URL's, or its default's, is meant: then neither DATABASE_URL nor a Redis is looked at.
#
# Exit codes: 0 all passed, 1 one failed, 2 there are warnings only, 64 called wrongly. Colours on a terminal only (NO_COLOR).
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
statements=$root/services/cli/sql/verification.sql
collector=$root/services/cli/verification/collecting.py
named=${API_URL:-http://localhost:3000}
url=$named
namespace=
release=
options=()

wrongly() { # TEXT
    echo "$1 See scripts/verify-deployment.sh --help." >&2
    exit 64
}

need() { # PROGRAM...
    local program
    for program in "$@"; do
        command -v "$program" >/dev/null 2>&1 || wrongly "$program is needed and not on the PATH."
    done
}

while [ $# -gt 0 ]; do
    case $1 in
    -h | --help) sed -n '2,20s/^# \{0,1\}//p' "$0" && exit 0 ;;
    --json) options+=(--json) ;;
    --url | --namespace | --release)
        [ -n "${2:-}" ] || wrongly "$1 needs a value."
        declare "${1#--}=$2"
        shift
        ;;
    *) wrongly "$1 is no option." ;;
    esac
    shift
done
url=${url%/}
[ -f "$statements" ] && [ -f "$collector" ] || wrongly "Run it from a checkout of the release: services/ is not beside scripts/."
[[ $url =~ ^https?://[^@]+$ ]] || wrongly "The address of the api must begin with http:// or https:// and hold no password."
if [ "$url" != "${named%/}" ]; then unset DATABASE_URL REDIS_URL REDIS_HOST; fi
need python3

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

answer() { # NAME FORM COMMAND...: keep what the command prints, or why it failed
    local name=$1 form=$2
    shift 2
    if "$@" >"$folder/said" 2>"$folder/why"; then
        mv "$folder/said" "$folder/$name.$form"
    else
        cat "$folder/why" "$folder/said" >"$folder/$name.fault"
        return 1
    fi
}

# ── An api anywhere, by curl ──────────────────────────────────────────────────────────────────────────────────────────────

request() { # PATH [OPTION OF CURL...]: status and seconds, then the body
    local path=$1
    shift
    curl -sS --max-time 10 -o "$folder/body" -w '%{http_code} %{time_total}\n' "$@" "$url$path" && cat "$folder/body"
}

ask_api() {
    answer api.health http request /api/trpc/metrics.healthCheck || return 0
    answer api.numbers http request /api/trpc/metrics.getAll || true
    answer api.stranger http request /api/trpc/generation.initiate -H 'Content-Type: application/json' -d '{}' || true
}

# ── PostgreSQL and Redis, by their own programs. Passwords go by the environment: arguments can be read by others ─────────

variables() { # of psql and redis-cli, from DATABASE_URL and REDIS_URL: NAME=VALUE, each ended by a zero byte
    python3 -c '
import os
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

known = {}
if os.environ.get("DATABASE_URL"):
    parts = urlsplit(os.environ["DATABASE_URL"])
    account, _, places = parts.netloc.rpartition("@")
    user, _, password = account.partition(":")
    hosts, ports = [], []
    for place in places.split(","):
        host, colon, port = place.rpartition(":")
        bare = not colon or place.endswith("]")
        hosts.append((place if bare else host).strip("[]"))
        ports.append("5432" if bare else port)
    known = {"PGHOST": ",".join(hosts), "PGPORT": ",".join(ports), "PGUSER": unquote(user), "PGPASSWORD": unquote(password),
             "PGDATABASE": unquote(parts.path.lstrip("/")), "PGCONNECT_TIMEOUT": "10", "PGAPPNAME": "coursegen-verify"}
    special = {"connect_timeout": "PGCONNECT_TIMEOUT", "application_name": "PGAPPNAME", "dbname": "PGDATABASE"}
    for name, value in parse_qsl(parts.query):
        known[special.get(name, "PG" + name.upper().replace("_", ""))] = value
if os.environ.get("REDIS_URL"):
    parts = urlsplit(os.environ["REDIS_URL"])
    account, _, place = parts.netloc.rpartition("@")
    user, _, password = account.partition(":")
    known["REDIS_PLACE"] = urlunsplit((parts.scheme, place, parts.path, "", ""))
    known["REDIS_USER"] = unquote(user)
    known["REDIS_WORD"] = unquote(password)
    path = parts.path.strip("/") if parts.scheme != "unix" else ""
    known["REDIS_NUMBER"] = dict(parse_qsl(parts.query)).get("db") or path or "0"
for name, value in known.items():
    if value:
        print(f"{name}={value}", end="\0")'
}

statement() { # NAME: of verification.sql
    awk -v name="$1" '/^-- name:/ { on = ($3 == name); next } on' "$statements"
}

psql_says() { # NAME
    { echo "SET statement_timeout = '10s';" && statement "$1"; } | psql -XqAt -v ON_ERROR_STOP=1 -f -
}

redis_says() ( # COMMAND OF REDIS...: in a shell of its own, since two servers may have two passwords
    command=(redis-cli)
    if command -v timeout >/dev/null 2>&1; then command=(timeout 10 redis-cli); fi
    if [[ $REDIS_PLACE == unix:* ]]; then command+=(-s "${REDIS_PLACE#unix://}"); else command+=(-u "$REDIS_PLACE"); fi
    if [ -n "${REDIS_USER:-}" ]; then command+=(--user "$REDIS_USER"); fi
    if [ -n "${REDIS_WORD:-}" ]; then export REDISCLI_AUTH=$REDIS_WORD; fi
    "${command[@]}" --no-auth-warning "$@"
)

stream_says() { # COMMAND OF REDIS...: of the one that has the messages
    if [ -z "${REDIS_HOST:-}" ]; then
        redis_says "$@"
    else
        local host=$REDIS_HOST
        if [[ $host == *:* ]]; then host=[$host]; fi
        REDIS_PLACE=redis://$host:${REDIS_PORT:-6379} REDIS_USER='' REDIS_WORD=${REDIS_PASSWORD:-} redis_says "$@"
    fi
}

owner_says() { # NUMBER WHO-SAYS: the number of a database, and whose it is, or nothing
    echo "$1" && "$2" -n "$1" GET coursegen:installation
}

kept_by() { # what has a message when it is accepted, as the api's variables say it
    if [ "${MESSAGES_STREAM_PERCENT:-}" = 0 ]; then echo postgres; else echo "${MESSAGES_DURABILITY:-redis}"; fi
}

ask_redis() {
    if [ -n "${REDIS_URL:-}" ]; then answer redis.info info redis_says INFO || true; fi
    if [ -n "${REDIS_HOST:-}" ]; then answer stream.info info stream_says INFO || true; fi
    if [ -n "${REDIS_URL:-}" ]; then answer redis.owner owner owner_says "$REDIS_NUMBER" redis_says || true; fi
    printf '{"by": "%s"}' "$(kept_by)" >"$folder/stream.kept.json"
    if [ "$(kept_by)" = redis ] && [ -n "${REDIS_URL:-}${REDIS_HOST:-}" ]; then
        answer stream.config config stream_says CONFIG GET 'append*' || true
        answer stream.owner owner owner_says "${REDIS_STREAM_DB:-1}" stream_says || true
    fi
}

has() { # PROGRAM NAME: or say that what is called so is not seen for want of it
    command -v "$1" >/dev/null 2>&1 || ! echo "$1" >"$folder/$2.missing"
}

ask_servers() {
    local name
    while IFS= read -r -d '' name; do export "${name?}"; done < <(variables)
    if [ -n "${DATABASE_URL:-}" ] && has psql database.connection && answer database.connection json psql_says connection; then
        for name in migrations tables outbox queues fallbacks events; do
            answer "database.$name" json psql_says "$name" || true
        done
    fi
    if [ -n "${REDIS_URL:-}${REDIS_HOST:-}" ] && has redis-cli redis.info; then ask_redis; fi
}

# ── A cluster, by kubectl: a pod of the release has its addresses, and a Python that knows PostgreSQL and Redis ───────────

kube() { kubectl -n "$namespace" "$@"; }

find_release() { # the only one in the namespace, unless it is named
    local found
    found=$(kube get deployments -l app.kubernetes.io/part-of=coursegen,app.kubernetes.io/component=outbox-relay \
        -o jsonpath='{range .items[*]}{.metadata.labels.app\.kubernetes\.io/instance}{"\n"}{end}' | sort -u) || wrongly "The cluster does not show namespace $namespace."
    [ -n "$found" ] || wrongly "There is no coursegen in namespace $namespace."
    [ "$(wc -l <<<"$found")" -eq 1 ] || wrongly "There are several; name one with --release: ${found//$'\n'/, }."
    release=$found
}

pods() { # COMPONENT: those that run, the ready ones first
    kube get pods -l "app.kubernetes.io/instance=$release,app.kubernetes.io/component=$1" --field-selector=status.phase=Running \
        -o jsonpath='{range .items[*]}{.status.containerStatuses[0].ready}{" "}{.metadata.name}{"\n"}{end}' | sort -r | sed 's/.* //'
}

in_pod() { # POD [api]
    local pod=$1
    shift
    kube exec -i "$pod" -- python - "$(cat "$statements")" "$@" <"$collector"
}

ask_cluster() {
    local component pod
    [ -n "$release" ] || find_release
    # Or else a cluster that does not answer would be a release without pods.
    kube get pods -l "app.kubernetes.io/instance=$release" -o name >/dev/null || wrongly "The cluster does not show the pods of namespace $namespace."
    for component in api outbox-relay persistence-worker worker-analysis; do
        for pod in $(pods "$component"); do
            if [ "$component" = api ]; then set -- api; else set --; fi
            if in_pod "$pod" "$@" >"$folder/pod.facts" 2>"$folder/why"; then break 2; fi
        done
    done
    if [ ! -s "$folder/pod.facts" ]; then
        for component in redis.info database.connection api.health; do
            echo "no pod of the release can be asked: $(cat "$folder/why" 2>/dev/null || echo none runs)" >"$folder/$component.fault"
        done
    elif [ "${1:-}" != api ]; then
        echo "no pod of the api can be asked" >"$folder/api.health.fault"
    fi
}

if [ -n "$namespace" ]; then
    need kubectl
    ask_cluster
    options+=(--place cluster --namespace "$namespace" --release "$release")
else
    need curl
    ask_api
    ask_servers
    if [[ $url =~ ^https?://(localhost|127\.0\.0\.1|\[::1\])(:|/|$) ]]; then options+=(--place local); else options+=(--place elsewhere); fi
    options+=(--url "$url")
fi

export PYTHONPATH=$root PYTHONDONTWRITEBYTECODE=1
code=0
python3 -m services.cli.verification "$folder" "${options[@]}" || code=$?
exit "$code"
