# shellcheck shell=bash disable=SC2034
# Which program builds images here, and what they are called. Sourced, never run.

all_targets=(api outbox-relay stage-worker persistence-worker migrate operator)

image_names() { # [TARGET...]: one a line
    [ $# -gt 0 ] || set -- "${all_targets[@]}"
    printf "${IMAGE_PREFIX:-coursegen-}%s:${IMAGE_TAG:-dev}\n" "$@"
}

find_builder() { # docker, podman or buildah, by BUILDER or the first that is there and works
    local candidate
    if [ -n "${BUILDER:-}" ]; then echo "$BUILDER"; return; fi
    if docker info >/dev/null 2>&1; then echo docker; return; fi
    for candidate in podman buildah; do
        if command -v "$candidate" >/dev/null 2>&1; then echo "$candidate"; return; fi
    done
    echo "Nothing here can build images: install docker, podman or buildah, or name one with BUILDER." >&2
    return 1
}
