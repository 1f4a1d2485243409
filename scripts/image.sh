#!/usr/bin/env bash
# Take images out of the builder that made them.
#
#   scripts/image.sh names [TARGET...]   what scripts/build-images.sh calls them, by IMAGE_PREFIX and IMAGE_TAG
#   scripts/image.sh save IMAGE FILE     as an archive, in the form of `docker save`
#   scripts/image.sh push IMAGE...       to the registry that the name begins with; prints the digest that it has there
#
#   BUILDER      docker, podman or buildah (default: the first that is there and works)
#   PUSH_FLAGS   further arguments of the push; a registry on this machine is spoken to without TLS
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/builder.sh"

usage() { echo "usage: scripts/image.sh names [TARGET...] | save IMAGE FILE | push IMAGE..." >&2; exit 2; }

save() { # IMAGE FILE
    rm -f "$2"
    case $builder in
    docker) docker save --output "$2" "$1" ;;
    podman) podman save --quiet --format docker-archive --output "$2" "$1" ;;
    buildah) buildah push --quiet "$1" "docker-archive:$2:$1" ;;
    esac
}

push() { # IMAGE...
    local image flags digest
    for image; do
        read -ra flags <<<"${PUSH_FLAGS:-}"
        # docker knows by itself that a registry on loopback speaks plain HTTP
        if [ "$builder" != docker ] && [[ $image =~ ^(localhost|127\.[0-9.]+|\[::1\])(:[0-9]+)?/ ]]; then flags+=(--tls-verify=false); fi
        digest=$(push_one "$image") || {
            echo "$image was not pushed. Log in to its registry first: $builder login ${image%%/*}" >&2
            exit 1
        }
        echo "pushed $image@$digest"
    done
}

push_one() { # IMAGE: its digest
    case $builder in
    docker)
        docker push --quiet "${flags[@]}" "$1" >/dev/null || return
        docker image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$1" | sed -n "s|^${1%:*}@||p" | head -1
        ;;
    *)
        local file
        file=$(mktemp)
        "$builder" push --quiet --digestfile "$file" "${flags[@]}" "$1" >/dev/null || return
        cat "$file"
        rm -f "$file"
        ;;
    esac
}

[ $# -ge 1 ] || usage
command=$1
shift
if [ "$command" = names ]; then
    image_names "$@"
    exit
fi
builder=$(find_builder)
case $command in
save) [ $# -eq 2 ] || usage; save "$1" "$2" ;;
push) [ $# -ge 1 ] || usage; push "$@" ;;
*) usage ;;
esac
