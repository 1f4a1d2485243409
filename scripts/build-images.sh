#!/usr/bin/env bash
# Build the image of each process, and say how large it is.
#
#   scripts/build-images.sh [TARGET...]          api outbox-relay stage-worker persistence-worker migrate operator; all by default
#
#   IMAGE_PREFIX   before each name (default: coursegen-); localhost/coursegen- for a cluster that is given the images
#   IMAGE_TAG      default: dev
#   IMAGE_NAME     the whole name instead of the two, for one target
#   IMAGE_PUSH     true: push each to the registry that it is named for; without TLS where that is this machine
#   IMAGE_SOURCE   where the source is published, for the label of that name
#   PYTHON_IMAGE   base image (default: the Dockerfile's)
#   BUILDER        docker, podman or buildah (default: the first that is there and works)
#   BUILDX_BUILDER docker's: a builder that `docker buildx create` made instead of the engine's own
#   BUILD_FLAGS    further arguments of the builder
#
# The same tree gives the same layers: every file bears one date. scripts/install-process dates what we bring; podman, buildah and a
# builder of docker buildx date the layers as well. Docker's engine cannot: it refuses (moby/buildkit#4230), or forgets it silently.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/builder.sh

revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-315532800} # 1980-01-01, the first that a zip file knows
export SOURCE_DATE_EPOCH
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml | head -1)

read -ra extra <<<"${BUILD_FLAGS:-}"
labels=("org.opencontainers.image.version=$version" "org.opencontainers.image.revision=$revision")
[ -z "${IMAGE_SOURCE:-}" ] || labels+=("org.opencontainers.image.source=$IMAGE_SOURCE")
arguments=()
for label in "${labels[@]}"; do arguments+=(--label "$label"); done
[ -z "${PYTHON_IMAGE:-}" ] || arguments+=(--build-arg "PYTHON_IMAGE=$PYTHON_IMAGE")
dated=()
[ -z "${BUILDX_BUILDER:-}" ] || dated=(--output "type=docker,rewrite-timestamp=true")

# What is kept of an earlier build has the labels of then, and buildah takes it as it is: an instruction of its own tells them apart.
with_labels() { # TARGET: the Dockerfile, its stage ending with the labels
    awk -v target="$1" -v labels="$(printf ' "%s"' "${labels[@]/=/\"=\"}")" '
        /^FROM / { ours = $4 == target }
        { print }
        ours && /^ENTRYPOINT / { print "LABEL" labels }
    ' Dockerfile
}

build() { # BUILDER TARGET IMAGE
    local file
    file=$(mktemp)
    with_labels "$2" >"$file"
    build_from "$file" "$@" || { rm -f "$file"; return 1; }
    rm -f "$file"
}

build_from() { # DOCKERFILE BUILDER TARGET IMAGE
    local file=$1
    shift
    case $1 in
    docker) docker build --quiet --provenance=false --build-arg SOURCE_DATE_EPOCH "${dated[@]}" "${arguments[@]}" "${extra[@]}" --target "$2" -t "$3" . ;;
    podman) podman build --quiet -f "$file" --layers --timestamp "$SOURCE_DATE_EPOCH" "${arguments[@]}" "${extra[@]}" --target "$2" -t "$3" . ;;
    buildah) buildah bud --quiet -f "$file" --layers --timestamp "$SOURCE_DATE_EPOCH" "${arguments[@]}" "${extra[@]}" --target "$2" -t "$3" . ;;
    *) echo "BUILDER=$1 is not docker, podman or buildah" >&2; exit 2 ;;
    esac
}

size_of() { # BUILDER IMAGE, in MB
    case $1 in
    docker) docker image inspect --format '{{.Size}}' "$2" ;;
    podman) podman image inspect --format '{{.Size}}' "$2" ;;
    buildah) buildah images --format '{{.Size}}' "$2" | head -1 ;; # one line for each of its names
    esac
}

builder=$(find_builder)
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=("${all_targets[@]}")
if [ -n "${IMAGE_NAME:-}" ] && [ ${#targets[@]} -ne 1 ]; then
    echo "IMAGE_NAME=$IMAGE_NAME is the name of one image; name one target." >&2
    exit 2
fi
for target in "${targets[@]}"; do
    image=${IMAGE_NAME:-$(image_names "$target")}
    build "$builder" "$target" "$image" >/dev/null
    [ "${IMAGE_PUSH:-false}" != true ] || BUILDER=$builder scripts/image.sh push "$image" >/dev/null
    echo "$image  $(size_of "$builder" "$image")"
done
