#!/usr/bin/env bash
# Take images out of the builder that made them.
#
#   scripts/image.sh save IMAGE FILE     as an archive, in the form of `docker save`
#   scripts/image.sh push IMAGE...       to the registry that the name begins with
#
#   BUILDER      docker, podman or buildah (default: the first that is there and works)
#   PUSH_FLAGS   further arguments of the push: --tls-verify=false for a registry without TLS (podman, buildah)
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/builder.sh"

usage() { echo "usage: scripts/image.sh save IMAGE FILE | push IMAGE..." >&2; exit 2; }

save() { # IMAGE FILE
    rm -f "$2"
    case $builder in
    docker) docker save --output "$2" "$1" ;;
    podman) podman save --quiet --format docker-archive --output "$2" "$1" ;;
    buildah) buildah push --quiet "$1" "docker-archive:$2:$1" ;;
    esac
}

push() { # IMAGE...
    local image flags
    read -ra flags <<<"${PUSH_FLAGS:-}"
    for image; do
        "$builder" push --quiet "${flags[@]}" "$image" >/dev/null || {
            echo "$image was not pushed. Log in to its registry first: $builder login ${image%%/*}" >&2
            exit 1
        }
        echo "pushed $image"
    done
}

[ $# -ge 2 ] || usage
builder=$(find_builder)
case $1 in
save) [ $# -eq 3 ] || usage; save "$2" "$3" ;;
push) shift; push "$@" ;;
*) usage ;;
esac
