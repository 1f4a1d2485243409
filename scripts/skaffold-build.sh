#!/usr/bin/env bash
# What skaffold.yaml calls to build an image: scripts/skaffold-build.sh TARGET. The image is that of scripts/build-images.sh, whose
# settings count here as well (PYTHON_IMAGE, BUILDER, BUILD_FLAGS).
#
# skaffold says what it wants:
#   IMAGE          the image's name
#   PUSH_IMAGE     true: push it; false: leave it in Docker's engine, where skaffold looks for it
#   BUILD_CONTEXT  the repository
#   PLATFORMS      the platform of the cluster's nodes, such as linux/arm64
set -euo pipefail
target=${1:?usage: scripts/skaffold-build.sh TARGET}
cd "${BUILD_CONTEXT:-$(dirname "${BASH_SOURCE[0]}")/..}"

if [ "${PUSH_IMAGE:-false}" != true ]; then
    if [ "${BUILDER:-docker}" != docker ] || ! docker info >/dev/null 2>&1; then
        echo "Without a Docker engine an image reaches the cluster by a registry only. Take the profile that pushes to one on this machine:" >&2
        echo "  skaffold dev -p local --default-repo localhost:5000" >&2
        exit 1
    fi
    export BUILDER=docker
fi
case ${PLATFORMS:-} in
"" | all) ;;
*,*)
    echo "One platform at a time, not $PLATFORMS: skaffold … --platform linux/amd64" >&2
    exit 1
    ;;
*) export BUILD_FLAGS="${BUILD_FLAGS:-} --platform $PLATFORMS" ;;
esac

export IMAGE_NAME=${IMAGE:?skaffold gives the name of the image} IMAGE_PUSH=${PUSH_IMAGE:-false}
if ! scripts/build-images.sh "$target"; then
    case $IMAGE_NAME in
    ghcr.io/*) echo "skaffold was told of no registry of yours: --default-repo localhost:5000, or SKAFFOLD_DEFAULT_REPO." >&2 ;;
    esac
    exit 1
fi
