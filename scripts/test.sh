#!/usr/bin/env bash
# The tests, in two parts: what a machine alone can show, several processes side by side; then what needs Kubernetes, Helm or
# an image builder. What runs on a cluster waits most of its time, so it goes side by side: the operator, the application, and after
# the latter charts and images in the time that is left over; then what builds or measures; then what restarts and kills its own pods;
# at the end, with the cluster to itself, what drains the node. Arguments go to pytest.
#
#   PART           local or platform: only that part
#   JOBS           processes of the first part (default: auto)
#   KUBECONFIG     the cluster of the second part; without one what needs a cluster is skipped, or fails where CI=true
#   TEST_CLUSTER   a command that brings a cluster up and prints the exports that name it; run between the parts when
#                  KUBECONFIG is not set
#   SECOND_TRY     1: what failed runs once more, alone, and only what fails again is a failure; both tries are shown. For busy
#                  machines that others use as well. What is marked no_second_try fails for good: it says that nothing is ever lost
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

SOME_FAILED=1
NOTHING_SELECTED=5
platform="helm or cluster or images"
takes_away="rolling or disruptive"
part=${PART:-all}
python=(.venv/bin/python)
status=0
selected=no
sides=$(mktemp -d) # of what goes on beside, by its name: what it says, its process group, and how it has ended

pytest() { # MARKERS PYTEST-ARGUMENTS...: a part without a selected test is no failure, two are
    local code=0
    "${python[@]}" -m pytest -m "$@" || code=$?
    if [ "$code" -eq "$SOME_FAILED" ] && [ "${SECOND_TRY:-}" = 1 ]; then
        code=0
        second_try "$@" || code=$?
    fi
    [ "$code" -eq "$NOTHING_SELECTED" ] || selected=yes
    if [ "$code" -ne 0 ] && [ "$code" -ne "$NOTHING_SELECTED" ]; then status=$code; fi
}

failed_before() { # MARKERS PYTEST-ARGUMENTS...
    "${python[@]}" -m pytest -m "$@" -n 0 --dist no --last-failed --last-failed-no-failures none
}

second_try() { # MARKERS PYTEST-ARGUMENTS...: of what failed; it fails whatever comes of it when some of that must not be tried again
    local markers=$1 for_good=0 again=0 listed
    shift
    listed=$(failed_before "($markers) and no_second_try" "$@" --collect-only --verbosity=-1) || for_good=$?
    if [ "$for_good" -ne "$NOTHING_SELECTED" ]; then
        echo "$(grep -c :: <<<"$listed" || true) of what failed gets no second try, since nothing may be lost even once:"
        echo "$listed"
    fi
    echo "What failed is tried once more, alone:"
    failed_before "($markers) and not no_second_try" "$@" || again=$?
    if [ "$for_good" -ne "$NOTHING_SELECTED" ]; then return "$SOME_FAILED"; fi
    return "$again"
}

find_cluster() {
    if [ -n "${KUBECONFIG:-}" ] || [ -z "${TEST_CLUSTER:-}" ]; then return; fi
    local exports
    if exports=$($TEST_CLUSTER); then
        eval "$exports"
    else
        echo "TEST_CLUSTER ($TEST_CLUSTER) has brought no cluster up; what needs one will say so." >&2
        status=1
    fi
}

build_tools() { # what cannot be built the tests will say
    local names=(actionlint kind-config)
    if [ -z "${TEST_PROGRAMS_COMING:-}" ]; then
        names+=(helm helm3)
        [ -z "${KUBECONFIG:-}" ] || names+=(skaffold)
    fi
    "${python[@]}" scripts/tools.py "${names[@]}" >/dev/null || true
    PATH=$("${python[@]}" scripts/tools.py --bin):$PATH
}

go_beside() { # NAME MARKERS PYTEST-ARGUMENTS...: with the time that is left over, what it says in a file until it is joined
    local name=$1 after=${AFTER:-} file=$sides/$1
    shift
    echo "Beside it: pytest ${*:2} (tail -f $file)"
    set -m # a process group of its own, so that it can be ended as a whole
    (
        python=(nice -n 10 "${python[@]}")
        trap 'echo "$status $selected" >"$file.ended"' EXIT
        while [ -n "$after" ] && [ ! -e "$sides/$after.ended" ]; do sleep 0.5; done
        pytest "$@"
    ) >"$file" 2>&1 &
    echo "$!" >"$sides/$name.group"
    set +m
}

join() { # NAME...: what was found beside counts like the rest
    local name its_status its_selected
    for name in "$@"; do
        its_status=1 its_selected=yes
        wait "$(cat "$sides/$name.group")" || true
        rm "$sides/$name.group"
        cat "$sides/$name"
        read -r its_status its_selected <"$sides/$name.ended" || true
        [ "$its_status" -eq 0 ] || status=$its_status
        [ "$its_selected" = no ] || selected=yes
    done
}

end_beside() {
    local group
    for group in "$sides"/*.group; do
        [ ! -e "$group" ] || kill -- "-$(cat "$group")" 2>/dev/null || true
    done
    rm -rf "$sides"
}
trap end_beside EXIT

if [ -n "${PYTHONDONTWRITEBYTECODE:-}" ]; then # not beside the sources; but hundreds of processes start that would compile everything anew
    unset PYTHONDONTWRITEBYTECODE
    export PYTHONPYCACHEPREFIX=$sides/compiled
fi

on_a_cluster() { # the steps; what has a cache of its own is tried again by itself
    local caches=.pytest_cache
    go_beside application "($platform) and not alone" -n 0 -o cache_dir=$caches/application "${application[@]}"
    AFTER=application go_beside without "$platform" -n 0 -o cache_dir=$caches/without "${without[@]}" # to the end
    pytest "$platform" -n 0 -o cache_dir=$caches/operator "${operator[@]}"
    join application

    go_beside alone "($platform) and alone and not ($takes_away)" -n 0 -o cache_dir=$caches/application tests/e2e/kubernetes
    pytest "($platform) and alone and not ($takes_away)" -n 0 -o cache_dir=$caches/cluster tests/cluster
    join alone

    go_beside leaders "($platform) and ($takes_away) and not drains" -n 0 -o cache_dir=$caches/cluster tests/cluster
    go_beside killing "($platform) and disruptive and not drains" -n 0 -o cache_dir=$caches/killing tests/e2e/kubernetes
    pytest "($platform) and rolling" -n 0 -o cache_dir=$caches/application tests/e2e/kubernetes
    join leaders killing

    pytest "($platform) and drains" -n 0 -o cache_dir=$caches/application "${application[@]}"
    join without
}

operator=(tests/operator tests/e2e/operator)
application=(tests/e2e/kubernetes tests/cluster) # what waits for Prometheus, Helm 3 and skaffold, last
without=(tests/images tests/supply tests/charts)
if [ "$part" != platform ]; then pytest "not ($platform)" -n "${JOBS:-auto}" --dist worksteal "$@"; fi
if [ "$part" != local ]; then
    find_cluster
    build_tools
    if [ $# -gt 0 ]; then
        pytest "$platform" -n 0 "$@"
    elif [ -n "${KUBECONFIG:-}" ]; then
        on_a_cluster
    else
        pytest "$platform" -n 0 "${operator[@]}" "${application[@]}" "${without[@]}"
    fi
fi
if [ "$selected" = no ]; then
    echo "No test is selected." >&2
    exit "$NOTHING_SELECTED"
fi
exit "$status"
